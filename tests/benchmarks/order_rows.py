"""What an import leaves in the database, apart from what differs from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from .order_statements import DAYS, SUMMARIES, TOOLKIT, table_of

_OF_A_RUN = {"position", "seq", "occurred_at", "created_at", "registered_at", "published_at"}
"""Times, and numbers that a rollback leaves gaps in."""

OF_THE_TOOLKIT = (TOOLKIT.events, TOOLKIT.outbox, TOOLKIT.outbox_leases, TOOLKIT.inbox)
OF_THE_APPLICATION = tuple(table_of(name) for name in ("orders", "customer_sales", "country_sales"))
DOCUMENTS = (DAYS, SUMMARIES)

Contents = Mapping[str, list[dict[str, Any]]]


async def contents(engine: AsyncEngine) -> Contents:
    """The rows of all tables; an event's random id is replaced by its place among the events."""
    events, outbox, leases, inbox = OF_THE_TOOLKIT
    statements = {
        events.name: select(events).order_by(events.c.position),
        outbox.name: select(outbox).order_by(outbox.c.seq),
        leases.name: select(leases),
        inbox.name: select(inbox),
        **{table.name: select(table).order_by(table.c.id) for table in OF_THE_APPLICATION},
        **{table.name: select(table).order_by(table.c.doc_id) for table in DOCUMENTS},
    }
    async with engine.connect() as connection:
        found = {
            name: (await connection.execute(statement)).mappings().all()
            for name, statement in statements.items()
        }
    places = {row["event_id"]: place for place, row in enumerate(found[events.name])}
    rows = {name: [_lasting(dict(row), places) for row in rows] for name, rows in found.items()}
    rows[inbox.name].sort(key=lambda row: (row["consumer"], str(row["message_id"])))
    return rows


def differences(one: Contents, other: Contents) -> list[str]:
    """A sentence for each table that differs."""
    told: list[str] = []
    for name, rows in one.items():
        others = other[name]
        if len(rows) != len(others):
            told.append(f"{name} has {len(rows)} rows and {len(others)}")
        elif unlike := [pair for pair in zip(rows, others, strict=True) if pair[0] != pair[1]]:
            first, second = unlike[0]
            told.append(f"{name} has {len(unlike)} other rows: {first} and {second}")
    return told


def _lasting(row: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    lasting = {name: value for name, value in row.items() if name not in _OF_A_RUN}
    for name in ("event_id", "message_id"):
        if name in lasting:
            lasting[name] = places.get(lasting[name], lasting[name])
    if "published_at" in row:
        lasting["is_published"] = row["published_at"] is not None
    if "metadata" in row:
        lasting["metadata"] = {k: v for k, v in row["metadata"].items() if k not in _OF_A_RUN}
    return lasting
