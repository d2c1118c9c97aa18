"""Orders, cancellations and their lines."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, ValueObject
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError

Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
"""PostgreSQL keeps any character but NUL."""
Remark = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Moment = Annotated[
    AwareDatetime,
    Field(
        ge=datetime(1900, 1, 1, tzinfo=timezone.utc), lt=datetime(3000, 1, 1, tzinfo=timezone.utc)
    ),
]
MAX_LINES = 1_000
"""Of an order, which is loaded and saved as a whole."""


class OrderLine(ValueObject):
    """So many units of a product; a cancellation takes back, so its quantities are negative.

    ``id`` tells a line from the others of its order, ``discount`` is a share of the price.
    """

    id: Text
    product_id: Text
    product: Remark
    quantity: int = Field(ge=-100_000, le=100_000)
    unit_price: Decimal = Field(gt=0, lt=100_000, decimal_places=3)
    discount: Decimal = Field(default=Decimal(0), ge=0, le=1, decimal_places=2)

    @property
    def amount(self) -> Decimal:
        """Exact, with up to five digits behind the point; only what is printed is rounded."""
        return self.quantity * self.unit_price * (1 - self.discount)


events = EventTypeRegistry()


@events.register
class OrderPlaced(DomainEvent):
    customer_id: str
    city: str
    country: str
    placed_at: Moment
    is_cancellation: bool


@events.register
class LineAdded(DomainEvent):
    """It tells whose order it is, and of when: who follows the events need not look it up."""

    customer_id: str
    country: str
    placed_at: Moment
    line: OrderLine


@events.register
class OrderShipped(DomainEvent):
    country: str
    placed_at: Moment
    shipped_at: Moment

    @property
    def days(self) -> int:
        """From the order to the shipment."""
        return (self.shipped_at - self.placed_at).days


class Order(AggregateRoot[str]):
    """Takes lines until it is shipped; a cancellation is an order that takes goods back."""

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

    def refuse_another_buyer(self, *, customer_id: str, city: str, country: str) -> None:
        """Raises ``BusinessRuleError`` unless the order is theirs."""
        for name, held, told in (
            ("customer", self.customer_id, customer_id),
            ("city", self.city, city),
            ("country", self.country, country),
        ):
            if held != told:
                raise BusinessRuleError(
                    f"order {self.id} has another {name} than {told or 'none'}; use another order"
                )

    def add_line(self, line: OrderLine) -> None:
        """A line that is there already changes nothing."""
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
