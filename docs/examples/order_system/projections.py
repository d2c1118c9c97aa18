"""Projections: the order list by a worker, the revenue by day inline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from typing import ClassVar

from pydantic import AwareDatetime, BaseModel

from cqrs_ddd_advanced_core.ports.projections import Fields
from cqrs_ddd_advanced_core.projections import ProjectionDocuments, ProjectionHandler
from cqrs_ddd_core import DomainEvent

from .domain import LineAdded, OrderPlaced, OrderShipped, events


class OrderSummary(BaseModel):
    """Row of the order list; ``amount`` is negative for a cancellation."""

    id: str
    customer_id: str
    country: str
    placed_at: AwareDatetime
    is_cancellation: bool
    lines: int = 0
    amount: Decimal = Decimal(0)
    days_to_ship: int | None = None


class OrderSummaries(ProjectionHandler):
    """Projection of the order list; a worker runs it, because no command waits for the list."""

    collection = "order_summaries"
    fields: ClassVar[Fields] = {"placed_at": datetime, "days_to_ship": int}
    event_registry = events

    def apply_OrderPlaced(self, event: OrderPlaced, documents: ProjectionDocuments) -> None:
        """Add the order to the list."""
        order = OrderSummary(
            id=str(event.aggregate_id),
            customer_id=event.customer_id,
            country=event.country,
            placed_at=event.placed_at,
            is_cancellation=event.is_cancellation,
        )
        documents.upsert(order.id, order.model_dump())

    def apply_LineAdded(self, event: LineAdded, documents: ProjectionDocuments) -> None:
        """Add the amount of the line to the order."""
        order = OrderSummary.model_validate(documents.get(str(event.aggregate_id)))
        order.lines += 1
        order.amount += event.line.amount
        documents.upsert(order.id, order.model_dump())

    def apply_OrderShipped(self, event: OrderShipped, documents: ProjectionDocuments) -> None:
        """Set the number of days until the shipment."""
        order = OrderSummary.model_validate(documents.get(str(event.aggregate_id)))
        order.days_to_ship = event.days
        documents.upsert(order.id, order.model_dump())


class Day(BaseModel):
    """Revenue of one day; ``id`` is the date in UTC."""

    id: str
    lines: int = 0
    revenue: Decimal = Decimal(0)


class DailyRevenue(ProjectionHandler):
    """Inline projection of the revenue by day.

    Commands for the same day wait for each other, or are retried after a conflict.
    """

    collection = "daily_revenue"
    event_registry = events

    def document_ids(self, event: DomainEvent) -> Iterable[str]:
        """Return the day of a line; other events affect no document."""
        return (_day_of(event),) if isinstance(event, LineAdded) else ()

    def apply_LineAdded(self, event: LineAdded, documents: ProjectionDocuments) -> None:
        """Add the amount of the line to its day."""
        day_id = _day_of(event)
        day = Day.model_validate(documents.get(day_id) or {"id": day_id})
        day.lines += 1
        day.revenue += event.line.amount
        documents.upsert(day.id, day.model_dump())


def _day_of(event: LineAdded) -> str:
    return event.placed_at.astimezone(timezone.utc).date().isoformat()
