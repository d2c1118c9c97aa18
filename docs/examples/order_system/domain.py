"""Orders and their lines."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field

from cqrs_ddd_core import AggregateRoot, DomainEvent, ValueObject
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError

Text = Annotated[str, Field(min_length=1)]


class OrderLine(ValueObject):
    """So many units of a product; ``discount`` is a share of the price, 0 to 1."""

    product_id: Text
    product: Text
    quantity: int = Field(gt=0)
    unit_price: Decimal = Field(ge=0)
    discount: Decimal = Field(default=Decimal(0), ge=0, le=1)

    @property
    def amount(self) -> Decimal:
        """Exact; only what is printed is rounded."""
        return self.quantity * self.unit_price * (1 - self.discount)


class OrderPlaced(DomainEvent):
    customer_id: str
    city: str
    country: str
    placed_at: AwareDatetime


class LineAdded(DomainEvent):
    line: OrderLine


class OrderShipped(DomainEvent):
    shipped_at: AwareDatetime


class Order(AggregateRoot[str]):
    """Takes lines until it is shipped."""

    customer_id: str
    city: str
    country: str
    placed_at: AwareDatetime
    shipped_at: AwareDatetime | None = None
    lines: dict[str, OrderLine] = Field(default_factory=dict)

    @classmethod
    def place(
        cls, order_id: str, *, customer_id: str, city: str, country: str, placed_at: datetime
    ) -> Order:
        order = cls.blank(order_id)
        order.add_event(
            OrderPlaced(customer_id=customer_id, city=city, country=country, placed_at=placed_at)
        )
        return order

    @property
    def amount(self) -> Decimal:
        return sum((line.amount for line in self.lines.values()), Decimal(0))

    def add_line(self, line: OrderLine) -> None:
        """A line that is there already changes nothing, so a file can be imported again."""
        present = self.lines.get(line.product_id)
        if present == line:
            return
        if present is not None:
            raise BusinessRuleError(
                f"order {self.id} has {present.quantity} of {present.product} already; "
                "change that line instead of adding another"
            )
        if self.shipped_at is not None:
            raise BusinessRuleError(
                f"order {self.id} was shipped at {self.shipped_at:%Y-%m-%d}; place a new order "
                f"for {line.product}"
            )
        self.add_event(LineAdded(line=line))

    def ship(self, at: datetime) -> None:
        if self.shipped_at == at:
            return
        if self.shipped_at is not None or not self.lines:
            reason = f"was shipped at {self.shipped_at:%Y-%m-%d}" if self.lines else "has no lines"
            raise BusinessRuleError(f"order {self.id} {reason} and cannot be shipped")
        self.add_event(OrderShipped(shipped_at=at))

    def apply_OrderPlaced(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id
        self.city, self.country = event.city, event.country
        self.placed_at = event.placed_at

    def apply_LineAdded(self, event: LineAdded) -> None:
        self.lines[event.line.product_id] = event.line

    def apply_OrderShipped(self, event: OrderShipped) -> None:
        self.shipped_at = event.shipped_at
