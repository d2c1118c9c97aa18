"""JSON bodies of requests and responses."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from order_system.application import Recorded
from order_system.domain import OrderLine, Remark, Text
from order_system.projections import Day, OrderSummary
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Order(_RequestBody):
    customer_id: Text
    city: Remark = ""
    country: Text
    placed_at: AwareDatetime
    is_cancellation: bool = False


class NewLine(_Order):
    """Line with the data of its order."""

    line: OrderLine


class NewOrder(_Order):
    """Order to place with all of its lines."""

    order_id: Text
    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=100)]


class Shipment(_RequestBody):
    """Shipment of an order."""

    shipped_at: AwareDatetime


class LineAnswer(BaseModel):
    """Result of adding a line."""

    order_id: str
    line_id: str
    result: Recorded


class OrderAnswer(BaseModel):
    """Id of a placed or shipped order."""

    order_id: str


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str


class Page(BaseModel):
    """Page of the order list."""

    orders: list[OrderSummary]
    next: str | None
    """Link to the next page; None on the last page."""


class Customer(_Row):
    """Totals of one customer."""

    orders: int
    revenue: Decimal


class Country(Customer):
    """Totals of one country, or of all countries."""

    cancellations: int
    lines: int
    customers: int
    late_orders: int


class Sales(BaseModel):
    """Sales report."""

    model_config = ConfigDict(from_attributes=True)

    totals: Country
    late_orders: list[OrderSummary]
    top_customers: list[Customer]
    countries: list[Country]
    days: list[Day]
