"""How keys of the outbox are leased, with the messages that wait under them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.ports.outbox import OutboxLease, OutboxMessage

from ..engine.driver import fetch, is_postgres, upsert_statement
from ..schema.tables import Tables
from .message_rows import message_of, message_of_postgres
from .statements import outbox_statements


async def claim_leases(
    connection: AsyncConnection, tables: Tables, relay_id: str, *, limit: int, lease: float
) -> list[OutboxLease]:
    """The leases of the oldest due keys, in the transaction of the connection."""
    # Two statements: what another relay published before its lease ended is seen by the second,
    # and was not when the first one chose the keys.
    on = _claimed_on_postgres if is_postgres(connection) else _claimed_on_sqlite
    return await on(connection, tables, relay_id, limit, timedelta(seconds=lease))


def database_time(connection: AsyncConnection) -> Any:
    """For a statement."""
    if is_postgres(connection):
        return func.clock_timestamp()
    return datetime.now(timezone.utc)  # All who share a file share a clock.


async def _claimed_on_postgres(
    connection: AsyncConnection, tables: Tables, relay_id: str, limit: int, lease: timedelta
) -> list[OutboxLease]:
    sql = outbox_statements(tables)
    epochs: dict[str, int] = dict(await fetch(connection, sql.lease, limit, relay_id, lease))
    if not epochs:
        return []
    rows = await fetch(connection, sql.waiting, list(epochs), limit)
    found = _by_key((row[0], message_of_postgres(row)) for row in rows)
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await fetch(connection, sql.give_back, empty)
    return [OutboxLease(key, epochs[key], messages) for key, messages in found.items()]


async def _claimed_on_sqlite(
    connection: AsyncConnection, tables: Tables, relay_id: str, limit: int, lease: timedelta
) -> list[OutboxLease]:
    outbox, leases, now = tables.outbox, tables.outbox_leases, database_time(connection)
    is_blocked = _is_blocked(tables, now)
    blocked = exists().where(leases.c.lease_key == outbox.c.lease_key, is_blocked)
    waits = outbox.c.published_at.is_(None)
    due = select(outbox.c.lease_key).where(waits, ~blocked).order_by(outbox.c.seq).limit(limit)
    keys = list(dict.fromkeys(await connection.scalars(due)))
    if not keys:
        return []  # Without the write lock, which only the first change takes.
    await connection.execute(delete(leases).where(leases.c.lease_key.in_(keys), ~is_blocked))
    insert = (
        upsert_statement(connection, leases)
        .on_conflict_do_nothing()
        .returning(leases.c.lease_key, leases.c.epoch)
    )
    rows = [{"lease_key": k, "relay_id": relay_id, "leased_until": now + lease} for k in keys]
    epochs = {r.lease_key: r.epoch for r in await connection.execute(insert, rows)}
    waiting = (
        select(*(column for column in outbox.c if column.name != "seq"))
        .where(waits, outbox.c.lease_key.in_(list(epochs)))
        .order_by(outbox.c.seq)
        .limit(limit)
    )
    found = _by_key((r.lease_key, message_of(r)) for r in await connection.execute(waiting))
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await connection.execute(delete(leases).where(leases.c.epoch.in_(empty)))
    return [OutboxLease(key, epochs[key], messages) for key, messages in found.items()]


def _is_blocked(tables: Tables, now: Any) -> ColumnElement[bool]:
    leases = tables.outbox_leases
    return or_(
        leases.c.parked_message_id.is_not(None),
        func.coalesce(leases.c.leased_until > now, False),
        func.coalesce(leases.c.due > now, False),
    )


def _by_key(messages: Iterable[tuple[str, OutboxMessage]]) -> dict[str, list[OutboxMessage]]:
    found: dict[str, list[OutboxMessage]] = {}
    for key, message in messages:
        found.setdefault(key, []).append(message)
    return found
