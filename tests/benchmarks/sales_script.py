"""The read tables of the order system by hand: from the outbox, a message in each transaction."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from order_system.sales import LATE_AFTER_DAYS
from sqlalchemy.ext.asyncio import AsyncConnection

from .order_script import Facts, amount_of, inbox_row, now, time_of
from .order_statements import OrderStatements

READ = 100
"""Messages that are read at once."""
MARKED = 4
"""Messages that are marked at once: about as many as the relay marks."""

_NOTHING: Facts = {
    **dict.fromkeys(("orders", "cancellations", "lines", "customers", "late_orders"), 0),
    "revenue": Decimal(0),
}


class SalesScript:
    """On one connection, and without leases: no other may run at the same time."""

    def __init__(self, connection: AsyncConnection, sql: OrderStatements) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._sql = sql

    async def tell(self) -> None:
        """Every message to the tables that are read."""
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
            row = inbox_row("sales", message.message_id, content)
            if not (await self._execute(self._sql.register, row)).rowcount:
                return
            if message.event_type == "OrderPlaced":
                await self._order_placed(payload)
            elif message.event_type == "LineAdded":
                await self._line_added(payload)
            else:
                await self._order_shipped(payload)

    async def _order_placed(self, payload: Mapping[str, Any]) -> None:
        of_customer = {"id": payload["customer_id"], "orders": 1, "revenue": Decimal(0)}
        version = (await self._execute(self._sql.customer, of_customer)).scalar_one()
        await self._add_to(payload["country"], orders=1, customers=int(version == 1))

    async def _line_added(self, payload: Mapping[str, Any]) -> None:
        amount = amount_of(payload["line"])
        of_customer = {"id": payload["customer_id"], "orders": 0, "revenue": amount}
        await self._execute(self._sql.customer, of_customer)
        await self._add_to(payload["country"], lines=1, revenue=amount)

    async def _order_shipped(self, payload: Mapping[str, Any]) -> None:
        took = time_of(payload["shipped_at"]) - time_of(payload["placed_at"])
        if took.days > LATE_AFTER_DAYS:
            await self._add_to(payload["country"], late_orders=1)

    async def _add_to(self, country: str, **sums: Any) -> None:
        await self._execute(self._sql.country, {"id": country, **_NOTHING, **sums})
