"""Rows that an import leaves in the database, without values that differ between runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from .order_statements import DAYS, SUMMARIES, TOOLKIT, get_table

_RUN_VALUES = {"position", "seq", "occurred_at", "created_at", "registered_at", "published_at"}
"""Columns of times, and of numbers in which a rollback leaves gaps."""

TOOLKIT_TABLES = (TOOLKIT.events, TOOLKIT.outbox, TOOLKIT.outbox_leases, TOOLKIT.inbox)
APPLICATION_TABLES = tuple(
    get_table(name) for name in ("orders", "customer_sales", "country_sales")
)
DOCUMENTS = (DAYS, SUMMARIES)

Contents = Mapping[str, list[dict[str, Any]]]


async def read_contents(engine: AsyncEngine) -> Contents:
    """Return the rows of all tables; the random id of an event is replaced by its place."""
    events, outbox, leases, inbox = TOOLKIT_TABLES
    statements = {
        events.name: select(events).order_by(events.c.position),
        outbox.name: select(outbox).order_by(outbox.c.seq),
        leases.name: select(leases),
        inbox.name: select(inbox),
        **{table.name: select(table).order_by(table.c.id) for table in APPLICATION_TABLES},
        **{table.name: select(table).order_by(table.c.doc_id) for table in DOCUMENTS},
    }
    async with engine.connect() as connection:
        found = {
            name: (await connection.execute(statement)).mappings().all()
            for name, statement in statements.items()
        }
    places = {row["event_id"]: place for place, row in enumerate(found[events.name])}
    rows = {
        name: [_drop_run_values(dict(row), places) for row in rows] for name, rows in found.items()
    }
    rows[inbox.name].sort(key=lambda row: (row["consumer"], str(row["message_id"])))
    return rows


def find_differences(one: Contents, other: Contents) -> list[str]:
    """Return a sentence for each table that differs."""
    found: list[str] = []
    for name, rows in one.items():
        others = other[name]
        if len(rows) != len(others):
            found.append(f"{name} has {len(rows)} rows and {len(others)}")
        elif unlike := [pair for pair in zip(rows, others, strict=True) if pair[0] != pair[1]]:
            first, second = unlike[0]
            found.append(f"{name} has {len(unlike)} other rows: {first} and {second}")
    return found


def _drop_run_values(row: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in _RUN_VALUES}
    for name in ("event_id", "message_id"):
        if name in kept:
            kept[name] = places.get(kept[name], kept[name])
    if "published_at" in row:
        kept["is_published"] = row["published_at"] is not None
    if "metadata" in row:
        kept["metadata"] = {k: v for k, v in row["metadata"].items() if k not in _RUN_VALUES}
    return kept
