"""What can be asked of the system."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pydantic import AwareDatetime

from cqrs_ddd_core import Command, HandlerRegistry, IRepository, Query
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError, EntityNotFoundError

from .domain import Order, OrderLine, Text


class IOrderRepository(IRepository[Order, str], Protocol):
    """The orders."""


class PlaceOrder(Command[str]):
    order_id: Text
    customer_id: Text
    city: Text
    country: Text
    placed_at: AwareDatetime


class AddLine(Command[str]):
    order_id: str
    line: OrderLine


class ShipOrder(Command[str]):
    order_id: str
    shipped_at: AwareDatetime


@dataclass
class SalesReport:
    orders: int = 0
    lines: int = 0
    customers: set[str] = field(default_factory=set)
    revenue: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """By country."""


class AskForSales(Query[SalesReport]):
    pass


class OrderHandlers:
    """Every command of an order, over any repository."""

    def __init__(self, orders: IOrderRepository) -> None:
        self._orders = orders

    def register(self, handlers: HandlerRegistry) -> None:
        handlers.register_command_handler(PlaceOrder, self.place)
        handlers.register_command_handler(AddLine, self.add_line)
        handlers.register_command_handler(ShipOrder, self.ship)
        handlers.register_query_handler(AskForSales, self.sales)

    async def place(self, command: PlaceOrder) -> str:
        """An order that was placed with the same facts is left as it is."""
        facts = command.model_dump(include={"customer_id", "city", "country", "placed_at"})
        placed = await self._orders.get(command.order_id)
        if placed is None:
            return await self._orders.add(Order.place(command.order_id, **facts))
        if placed.model_dump(include=set(facts)) != facts:
            raise BusinessRuleError(
                f"order {command.order_id} is placed already, by {placed.customer_id} at "
                f"{placed.placed_at:%Y-%m-%d}; use another id"
            )
        return placed.id

    async def add_line(self, command: AddLine) -> str:
        order = await self._existing(command.order_id)
        order.add_line(command.line)
        return await self._save(order)

    async def ship(self, command: ShipOrder) -> str:
        order = await self._existing(command.order_id)
        order.ship(command.shipped_at)
        return await self._save(order)

    async def sales(self, query: AskForSales) -> SalesReport:
        report = SalesReport()
        for order in await self._orders.list_all():
            report.orders += 1
            report.lines += len(order.lines)
            report.customers.add(order.customer_id)
            report.revenue[order.country] += order.amount
        return report

    async def _existing(self, order_id: str) -> Order:
        order = await self._orders.get(order_id)
        if order is None:
            raise EntityNotFoundError(
                f"there is no order {order_id}; place it first",
                entity_type="Order",
                entity_id=order_id,
            )
        return order

    async def _save(self, order: Order) -> str:
        return await self._orders.add(order) if order.pending_events else order.id
