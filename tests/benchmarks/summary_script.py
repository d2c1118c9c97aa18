"""The order list of the order system by hand: from the events, a batch in each transaction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from .order_script import Facts, amount_of, time_of
from .order_statements import OrderStatements

BATCH = 100


class SummaryScript:
    """On one connection, and without leases: no other may run at the same time."""

    def __init__(self, connection: AsyncConnection, sql: OrderStatements) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._sql = sql

    async def catch_up(self) -> None:
        """A document for each order, of all events there are."""
        position = 0
        while True:
            async with self._connection.begin():
                given = {"position": position, "limit": BATCH}
                events = (await self._execute(self._sql.events_after, given)).all()
                if not events:
                    return
                ids = sorted({event.aggregate_id for event in events})
                found = (await self._execute(self._sql.summaries, {"ids": ids})).all()
                orders: dict[str, Facts] = {row.doc_id: row.doc for row in found}
                for event in events:
                    _apply(event, orders)
                await self._execute(self._sql.keep_summaries, [_row(orders[each]) for each in ids])
                position = events[-1].position
                await self._execute(self._sql.checkpoint, {"position": position})


def _apply(event: Any, orders: dict[str, Facts]) -> None:
    order_id, payload = event.aggregate_id, event.payload
    if event.event_type == "OrderPlaced":
        told = ("customer_id", "country", "placed_at", "is_cancellation")
        facts = {name: payload[name] for name in told}
        sums = {"lines": 0, "amount": "0", "days_to_ship": None}
        orders[order_id] = {"id": order_id, **facts, **sums}
        return
    order = orders[order_id]
    if event.event_type == "LineAdded":
        order["lines"] += 1
        order["amount"] = str(Decimal(order["amount"]) + amount_of(payload["line"]))
    else:
        took = time_of(payload["shipped_at"]) - time_of(payload["placed_at"])
        order["days_to_ship"] = took.days


def _row(order: Facts) -> Facts:
    columns = {"placed_at": time_of(order["placed_at"]), "days_to_ship": order["days_to_ship"]}
    return {"doc_id": order["id"], "doc": order, **columns}
