"""Commands of orders and their handlers."""

from __future__ import annotations

from typing import Literal

from cqrs_ddd_core import Command, HandlerRegistry, IRepository
from cqrs_ddd_core.primitives.exceptions import EntityNotFoundError

from .domain import Moment, Order, OrderLine, Remark, Text

Recorded = Literal["added", "duplicate"]


class AddLine(Command[Recorded]):
    """Command that adds a line to an order; the first line places the order."""

    order_id: Text
    customer_id: Text
    city: Remark = ""
    country: Text
    placed_at: Moment
    is_cancellation: bool = False
    line: OrderLine


class ShipOrder(Command[str]):
    """Command that ships an order and returns its id."""

    order_id: Text
    shipped_at: Moment


class OrderHandlers:
    """Handlers of all commands of an order, over any repository."""

    def __init__(self, orders: IRepository[Order, str]) -> None:
        self._orders = orders

    def register(self, handlers: HandlerRegistry) -> None:
        """Register the handlers."""
        handlers.register_command_handler(AddLine, self.add_line)
        handlers.register_command_handler(ShipOrder, self.ship)

    async def add_line(self, command: AddLine) -> Recorded:
        """Add a line; report whether it was added or is a duplicate."""
        buyer = {
            "customer_id": command.customer_id,
            "city": command.city,
            "country": command.country,
        }
        order = await self._orders.get(command.order_id)
        if order is None:
            order = Order.place(
                command.order_id,
                placed_at=command.placed_at,
                is_cancellation=command.is_cancellation,
                **buyer,
            )
        order.ensure_same_buyer(**buyer)
        order.add_line(command.line)
        if not order.pending_events:
            return "duplicate"
        await self._orders.add(order)
        return "added"

    async def ship(self, command: ShipOrder) -> str:
        """Ship the order; do nothing if it was shipped at the same time before."""
        order = await self._orders.get(command.order_id)
        if order is None:
            raise EntityNotFoundError(
                f"there is no order {command.order_id}; add a line to it first",
                entity_type="Order",
                entity_id=command.order_id,
            )
        order.ship(command.shipped_at)
        return await self._orders.add(order) if order.pending_events else order.id
