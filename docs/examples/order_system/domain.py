"""Orders, cancellations and their lines."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, ValueObject
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError

Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
"""Text without NUL, which PostgreSQL cannot store."""
Remark = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Moment = Annotated[
    AwareDatetime,
    Field(
        ge=datetime(1900, 1, 1, tzinfo=timezone.utc), lt=datetime(3000, 1, 1, tzinfo=timezone.utc)
    ),
]
MAX_LINES = 1_000
"""Lines of an order, which is loaded and saved as a whole."""


class OrderLine(ValueObject):
    """Quantity of a product, negative in a cancellation.

    ``id`` is unique within the order, ``discount`` is a fraction of the price.
    """

    id: Text
    product_id: Text
    product: Remark
    quantity: int = Field(ge=-100_000, le=100_000)
    unit_price: Decimal = Field(gt=0, lt=100_000, decimal_places=3)
    discount: Decimal = Field(default=Decimal(0), ge=0, le=1, decimal_places=2)

    @property
    def amount(self) -> Decimal:
        """Exact amount with up to five decimal places; only printed amounts are rounded."""
        return self.quantity * self.unit_price * (1 - self.discount)


events = EventTypeRegistry()


@events.register
class OrderPlaced(DomainEvent):
    """Event of a new order or cancellation."""

    customer_id: str
    city: str
    country: str
    placed_at: Moment
    is_cancellation: bool


@events.register
class LineAdded(DomainEvent):
    """Event that repeats customer, country and time, so that projections need not look them up."""

    customer_id: str
    country: str
    placed_at: Moment
    line: OrderLine


@events.register
class OrderShipped(DomainEvent):
    """Event of the shipment of an order."""

    country: str
    placed_at: Moment
    shipped_at: Moment

    @property
    def days(self) -> int:
        """Days from the order to the shipment."""
        return (self.shipped_at - self.placed_at).days


class Order(AggregateRoot[str]):
    """Order that accepts lines until it is shipped; a cancellation contains returned goods."""

    customer_id: str
    city: str
    country: str
    placed_at: Moment
    is_cancellation: bool
    shipped_at: Moment | None = None
    lines: dict[str, OrderLine] = Field(default_factory=dict)

    @classmethod
    def place(
        cls,
        order_id: str,
        *,
        customer_id: str,
        city: str,
        country: str,
        placed_at: datetime,
        is_cancellation: bool = False,
    ) -> Order:
        """Create an order without lines."""
        order = cls.create_empty(order_id)
        order.add_event(
            OrderPlaced(
                customer_id=customer_id,
                city=city,
                country=country,
                placed_at=placed_at,
                is_cancellation=is_cancellation,
            )
        )
        return order

    def ensure_same_buyer(self, *, customer_id: str, city: str, country: str) -> None:
        """Raise ``BusinessRuleError`` if the order has another customer, city or country."""
        for name, expected, actual in (
            ("customer", self.customer_id, customer_id),
            ("city", self.city, city),
            ("country", self.country, country),
        ):
            if expected != actual:
                raise BusinessRuleError(
                    f"order {self.id} has another {name} than {actual or 'none'}; use another order"
                )

    def add_line(self, line: OrderLine) -> None:
        """Add a line; do nothing if the order has a line with this id."""
        if line.id in self.lines:
            return
        if self.shipped_at is not None:
            raise BusinessRuleError(
                f"order {self.id} was shipped at {self.shipped_at:%Y-%m-%d}; place a new order "
                f"for {line.product or line.product_id}"
            )
        if line.quantity == 0 or (line.quantity < 0) is not self.is_cancellation:
            kind, sign = ("cancellation", "<") if self.is_cancellation else ("order", ">")
            raise BusinessRuleError(
                f"the quantity is {line.quantity}; in {kind} {self.id} it must be {sign} 0"
            )
        if len(self.lines) == MAX_LINES:
            raise BusinessRuleError(f"order {self.id} has {MAX_LINES:,} lines; place another one")
        self.add_event(
            LineAdded(
                customer_id=self.customer_id,
                country=self.country,
                placed_at=self.placed_at,
                line=line,
            )
        )

    def ship(self, at: datetime) -> None:
        """Ship the order; do nothing if it was shipped at the same time before."""
        if self.shipped_at == at:
            return
        if self.shipped_at is not None or not self.lines:
            reason = f"was shipped at {self.shipped_at:%Y-%m-%d}" if self.lines else "has no lines"
            raise BusinessRuleError(f"order {self.id} {reason} and cannot be shipped")
        if at < self.placed_at:
            raise BusinessRuleError(
                f"order {self.id} was placed at {self.placed_at:%Y-%m-%d} and cannot be shipped "
                f"before, at {at:%Y-%m-%d}"
            )
        self.add_event(OrderShipped(country=self.country, placed_at=self.placed_at, shipped_at=at))

    def apply_OrderPlaced(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id
        self.city, self.country = event.city, event.country
        self.placed_at = event.placed_at
        self.is_cancellation = event.is_cancellation

    def apply_LineAdded(self, event: LineAdded) -> None:
        self.lines[event.line.id] = event.line

    def apply_OrderShipped(self, event: OrderShipped) -> None:
        self.shipped_at = event.shipped_at
