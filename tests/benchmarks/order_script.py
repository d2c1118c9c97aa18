"""Commands of the order system by hand: a script on SQLAlchemy Core.

It writes the same rows in the same transactions, can be run again after a crash, and rejects
concurrent changes. It reads files of one format only, and stops at the first invalid line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from .order_statements import OrderStatements

Facts = dict[str, Any]

_NO_DISCOUNT = "discount", "0"


def build_inbox_row(
    consumer: str, message_id: str, content: object, outcome: str | None = None
) -> Facts:
    return {
        "consumer": consumer,
        "message_id": message_id,
        "fingerprint": sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        "outcome": outcome,
        "registered_at": now(),
    }


def now() -> datetime:
    return datetime.now(timezone.utc)


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def compute_amount(line: Facts) -> Decimal:
    return int(line["quantity"]) * Decimal(line["unit_price"]) * (1 - Decimal(line["discount"]))


class OrderScript:
    """Script for the commands, on one connection."""

    def __init__(self, connection: AsyncConnection, sql: OrderStatements) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._sql = sql

    async def send(self, file: Path) -> None:
        """Add every line, and ship each shipped order after its last line."""
        last: Facts | None = None
        for number, cells in _read_lines(file):
            line = _parse_line(number, cells)
            if last is not None and last["order_id"] != line["order_id"]:
                await self._ship(last)
                last = None
            await self._add_line(line)
            if line["shipped_at"] is not None:
                last = line
        if last is not None:
            await self._ship(last)

    async def _add_line(self, line: Facts) -> None:
        order_id, command_id, given = line["order_id"], line["command_id"], line["line"]
        placed = {
            "customer_id": line["customer_id"],
            "city": line["city"],
            "country": line["country"],
            "placed_at": _format_time(line["placed_at"]),
            "is_cancellation": False,
        }
        # Without the values that equal the defaults of the command.
        set_ = {name: value for name, value in placed.items() if value not in ("", False)}
        line_set = {name: value for name, value in given.items() if (name, value) != _NO_DISCOUNT}
        content = {"order_id": order_id, **set_, "line": line_set}
        known = ("customer_id", "country", "placed_at")
        added = "LineAdded", {**{name: placed[name] for name in known}, "line": given}
        name = "AddLine"
        async with self._connection.begin():
            if not await self._is_new(command_id, [name, content], "added"):
                return
            order = (await self._execute(self._sql.order, {"order_id": order_id})).first()
            if order is None:
                row = {**placed, "placed_at": line["placed_at"], "shipped_at": None}
                lines = {given["id"]: given}
                await self._execute(
                    self._sql.add_order, {"id": order_id, **row, "lines": lines, "version": 2}
                )
                events = [("OrderPlaced", placed), added]
                await self._store_events(order_id, 0, events, command_id)
                await self._add_to_day(line["placed_at"], given)
                return
            theirs = (order.customer_id, order.city, order.country)
            if theirs != (line["customer_id"], line["city"], line["country"]):
                raise ValueError(f"order {order_id} belongs to another customer")
            if order.shipped_at is not None or given["id"] in order.lines:
                raise ValueError(f"order {order_id} does not accept the line")
            await self._change(order, lines={**order.lines, given["id"]: given})
            await self._store_events(order_id, order.version, [added], command_id)
            await self._add_to_day(line["placed_at"], given)

    async def _ship(self, line: Facts) -> None:
        order_id, shipped_at = line["order_id"], line["shipped_at"]
        command_id = f"ship-{order_id}-{shipped_at.isoformat()}"
        event = {"shipped_at": _format_time(shipped_at)}
        name = "ShipOrder"
        content = [name, {"order_id": order_id, **event}]
        async with self._connection.begin():
            if not await self._is_new(command_id, content, order_id):
                return
            order = (await self._execute(self._sql.order, {"order_id": order_id})).one()
            if order.shipped_at is not None or shipped_at < order.placed_at:
                raise ValueError(f"order {order_id} cannot be shipped at {shipped_at}")
            await self._change(order, shipped_at=shipped_at)
            known = {"country": line["country"], "placed_at": _format_time(line["placed_at"])}
            events = [("OrderShipped", {**known, **event})]
            await self._store_events(order_id, order.version, events, command_id)

    async def _add_to_day(self, placed_at: datetime, line: Facts) -> None:
        day = placed_at.date().isoformat()
        found = (await self._execute(self._sql.day, {"day": day})).scalar()
        sums = found or {"lines": 0, "revenue": "0"}
        revenue = Decimal(sums["revenue"]) + compute_amount(line)
        doc = {"id": day, "lines": sums["lines"] + 1, "revenue": str(revenue)}
        await self._execute(self._sql.keep_day, {"doc_id": day, "doc": doc})

    async def _change(self, order: Any, **changed: Any) -> None:
        row = {"shipped_at": order.shipped_at, "lines": order.lines, **changed}
        known = {"order_id": order.id, "known_version": order.version}
        written = {**row, "version": order.version + 1, **known}
        if not (await self._execute(self._sql.change_order, written)).rowcount:
            raise RuntimeError(f"order {order.id} has changed since it was read")

    async def _is_new(self, command_id: str, content: object, outcome: str) -> bool:
        row = build_inbox_row("commands", command_id, content, outcome)
        return bool((await self._execute(self._sql.register, row)).rowcount)

    async def _store_events(
        self,
        order_id: str,
        version: int,
        events: Sequence[tuple[str, Facts]],
        command_id: str,
    ) -> None:
        """Insert events and the messages for them."""
        stored: list[Facts] = []
        messages: list[Facts] = []
        for number, (event_type, payload) in enumerate(events, version + 1):
            event_id, at = str(uuid4()), now()
            both = {"event_type": event_type, "payload": payload}
            both |= {"correlation_id": command_id, "causation_id": command_id}
            facts = {"aggregate_id": order_id, "aggregate_type": "Order", "schema_version": 1}
            event = {"event_id": event_id, "version": number, "occurred_at": at, "metadata": {}}
            stored.append({**both, **facts, **event})
            metadata = {**facts, "aggregate_version": number, "occurred_at": at.isoformat()}
            key = f"Order:{order_id}"
            message = {"message_id": event_id, "lease_key": key, "partition_key": key}
            messages.append(
                {**both, **message, "metadata": metadata, "created_at": at, "retry_count": 0}
            )
        await self._execute(self._sql.add_events, stored)
        await self._execute(self._sql.add_messages, messages)


def _read_lines(file: Path) -> Iterable[tuple[int, list[str]]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.reader(opened, strict=True)
        next(rows)
        before = rows.line_num
        for cells in rows:
            yield before + 1, cells
            before = rows.line_num


def _parse_line(number: int, cells: Sequence[str]) -> Facts:
    """Parse a line; raise ``ValueError`` for invalid cells."""
    order_id, customer, placed, shipped, city, country, product_id, product, *figures = cells
    quantity, price, discount = figures
    if not (order_id and customer and country and product_id and 0 < int(quantity) <= 100_000):
        raise ValueError(f"line {number} is not valid")
    if not (0 < Decimal(price) < 100_000 and 0 <= Decimal(discount) <= 1):
        raise ValueError(f"line {number} does not have a valid price")
    text = "".join(f"{len(cell)}:{cell}" for cell in cells)
    line_id = blake2b(text.encode(), digest_size=16).hexdigest()
    return {
        "command_id": f"line-{number}-{line_id}",
        "order_id": order_id,
        "customer_id": customer,
        "city": city,
        "country": country,
        "placed_at": _parse_date(placed),
        "shipped_at": _parse_date(shipped) if shipped else None,
        "line": {
            "id": line_id,
            "product_id": product_id,
            "product": product,
            "quantity": int(quantity),
            "unit_price": price,
            "discount": discount,
        },
    }


def _parse_date(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)


def _format_time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
