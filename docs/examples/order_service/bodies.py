"""JSON bodies of requests and responses."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from order_system.application import Recorded
from order_system.domain import OrderLine, Remark, Text
from order_system.projections import Day, OrderSummary
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Order(_Sent):
    customer_id: Text
    city: Remark = ""
    country: Text
    placed_at: AwareDatetime
    is_cancellation: bool = False


class NewLine(_Order):
    """Line with the data of its order."""

    line: OrderLine


class NewOrder(_Order):
    order_id: Text
    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=100)]


class Shipment(_Sent):
    shipped_at: AwareDatetime


class LineAnswer(BaseModel):
    order_id: str
    line_id: str
    result: Recorded


class OrderAnswer(BaseModel):
    order_id: str


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str


class Page(BaseModel):
    orders: list[OrderSummary]
    next: str | None
    """Link to the next page; None on the last page."""


class Customer(_Row):
    orders: int
    revenue: Decimal


class Country(Customer):
    cancellations: int
    lines: int
    customers: int
    late_orders: int


class Sales(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    totals: Country
    late_orders: list[OrderSummary]
    top_customers: list[Customer]
    countries: list[Country]
    days: list[Day]
