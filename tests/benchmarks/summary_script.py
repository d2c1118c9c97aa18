"""Order list of the order system by hand: from the events, with one transaction per batch."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from .order_script import Facts, compute_amount, parse_time
from .order_statements import OrderStatements

BATCH = 100


class SummaryScript:
    """Script for the order list, on one connection.

    It takes no leases, so only one may run at a time.
    """

    def __init__(self, connection: AsyncConnection, sql: OrderStatements) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._sql = sql

    async def catch_up(self) -> None:
        """Write a document for each order, from all events."""
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
                await self._execute(
                    self._sql.keep_summaries, [_build_row(orders[each]) for each in ids]
                )
                position = events[-1].position
                await self._execute(self._sql.checkpoint, {"position": position})


def _apply(event: Any, orders: dict[str, Facts]) -> None:
    order_id, payload = event.aggregate_id, event.payload
    if event.event_type == "OrderPlaced":
        names = ("customer_id", "country", "placed_at", "is_cancellation")
        facts = {name: payload[name] for name in names}
        sums = {"lines": 0, "amount": "0", "days_to_ship": None}
        orders[order_id] = {"id": order_id, **facts, **sums}
        return
    order = orders[order_id]
    if event.event_type == "LineAdded":
        order["lines"] += 1
        order["amount"] = str(Decimal(order["amount"]) + compute_amount(payload["line"]))
    else:
        took = parse_time(payload["shipped_at"]) - parse_time(payload["placed_at"])
        order["days_to_ship"] = took.days


def _build_row(order: Facts) -> Facts:
    columns = {"placed_at": parse_time(order["placed_at"]), "days_to_ship": order["days_to_ship"]}
    return {"doc_id": order["id"], "doc": order, **columns}
