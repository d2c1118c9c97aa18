"""Read tables of the order system by hand: from the outbox, with one transaction per message."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from order_system.sales import LATE_AFTER_DAYS
from sqlalchemy.ext.asyncio import AsyncConnection

from .order_script import Facts, build_inbox_row, compute_amount, now, parse_time
from .order_statements import OrderStatements

READ = 100
"""Messages read by one statement."""
MARKED = 4
"""Messages marked by one statement, about as many as the relay marks."""

_NOTHING: Facts = {
    **dict.fromkeys(("orders", "cancellations", "lines", "customers", "late_orders"), 0),
    "revenue": Decimal(0),
}


class SalesScript:
    """Script for the read tables, on one connection.

    It takes no leases, so only one may run at a time.
    """

    def __init__(self, connection: AsyncConnection, sql: OrderStatements) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._sql = sql

    async def update_read_tables(self) -> None:
        """Apply every message to the read tables."""
        while True:
            async with self._connection.begin():
                messages = (await self._execute(self._sql.waiting, {"limit": READ})).all()
            if not messages:
                return
            for start in range(0, len(messages), MARKED):
                some = messages[start : start + MARKED]
                for message in some:
                    await self._handle(message)
                async with self._connection.begin():
                    seqs = [message.seq for message in some]
                    await self._execute(self._sql.mark, {"seqs": seqs, "now": now()})

    async def _handle(self, message: Any) -> None:
        payload = message.payload
        content = [message.event_type, payload]
        async with self._connection.begin():
            row = build_inbox_row("sales", message.message_id, content)
            if not (await self._execute(self._sql.register, row)).rowcount:
                return
            if message.event_type == "OrderPlaced":
                await self._handle_order_placed(payload)
            elif message.event_type == "LineAdded":
                await self._handle_line_added(payload)
            else:
                await self._handle_order_shipped(payload)

    async def _handle_order_placed(self, payload: Mapping[str, Any]) -> None:
        customer = {"id": payload["customer_id"], "orders": 1, "revenue": Decimal(0)}
        version = (await self._execute(self._sql.customer, customer)).scalar_one()
        await self._add_to(payload["country"], orders=1, customers=int(version == 1))

    async def _handle_line_added(self, payload: Mapping[str, Any]) -> None:
        amount = compute_amount(payload["line"])
        customer = {"id": payload["customer_id"], "orders": 0, "revenue": amount}
        await self._execute(self._sql.customer, customer)
        await self._add_to(payload["country"], lines=1, revenue=amount)

    async def _handle_order_shipped(self, payload: Mapping[str, Any]) -> None:
        took = parse_time(payload["shipped_at"]) - parse_time(payload["placed_at"])
        if took.days > LATE_AFTER_DAYS:
            await self._add_to(payload["country"], late_orders=1)

    async def _add_to(self, country: str, **sums: Any) -> None:
        await self._execute(self._sql.country, {"id": country, **_NOTHING, **sums})
