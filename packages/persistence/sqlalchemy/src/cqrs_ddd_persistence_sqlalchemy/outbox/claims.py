"""Claims of partitions of the outbox: leases, and the messages that wait under the leased keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa

from cqrs_ddd_core import OutboxLease, OutboxMessage

from ..engine import AsyncConnection, driver
from ..schema.tables import Tables
from . import message_rows
from .statements import outbox_statements


async def claim_leases(
    connection: AsyncConnection, tables: Tables, relay_id: str, *, limit: int, lease: float
) -> list[OutboxLease]:
    """Lease the free keys with the oldest messages, and return the leases."""
    # The keys and their messages in two statements: the second sees which messages another relay
    # has published since the first.
    claim = _claim_on_postgres if driver.is_postgres(connection) else _claim_on_sqlite
    return await claim(connection, tables, relay_id, limit, timedelta(seconds=lease))


async def _claim_on_postgres(
    connection: AsyncConnection, tables: Tables, relay_id: str, limit: int, lease: timedelta
) -> list[OutboxLease]:
    sql = outbox_statements(tables)
    epochs: dict[str, int] = dict(await driver.fetch(connection, sql.lease, limit, relay_id, lease))
    if not epochs:
        return []
    rows = await driver.fetch(connection, sql.waiting, list(epochs), limit)
    found = _group_by_key((row[0], message_rows.read_driver_row(row)) for row in rows)
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await driver.fetch(connection, sql.release, empty)
    return [OutboxLease(key, epochs[key], messages) for key, messages in found.items()]


async def _claim_on_sqlite(
    connection: AsyncConnection, tables: Tables, relay_id: str, limit: int, lease: timedelta
) -> list[OutboxLease]:
    outbox, leases, now = tables.outbox, tables.outbox_leases, driver.get_database_time(connection)
    is_blocked = _is_blocked(tables, now)
    blocked = sa.exists().where(leases.c.lease_key == outbox.c.lease_key, is_blocked)
    waits = outbox.c.published_at.is_(None)
    due = sa.select(outbox.c.lease_key).where(waits, ~blocked).order_by(outbox.c.seq).limit(limit)
    keys = list(dict.fromkeys(await connection.scalars(due)))
    if not keys:
        return []  # Before the first change, which takes the write lock.
    await connection.execute(sa.delete(leases).where(leases.c.lease_key.in_(keys), ~is_blocked))
    insert = (
        driver.upsert_statement(connection, leases)
        .on_conflict_do_nothing()
        .returning(leases.c.lease_key, leases.c.epoch)
    )
    rows = [{"lease_key": k, "relay_id": relay_id, "leased_until": now + lease} for k in keys]
    epochs = {r.lease_key: r.epoch for r in await connection.execute(insert, rows)}
    waiting = (
        sa.select(*(column for column in outbox.c if column.name != "seq"))
        .where(waits, outbox.c.lease_key.in_(list(epochs)))
        .order_by(outbox.c.seq)
        .limit(limit)
    )
    found = _group_by_key(
        (r.lease_key, message_rows.read_message(r)) for r in await connection.execute(waiting)
    )
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await connection.execute(sa.delete(leases).where(leases.c.epoch.in_(empty)))
    return [OutboxLease(key, epochs[key], messages) for key, messages in found.items()]


def _is_blocked(
    tables: Tables, now: datetime | sa.ColumnElement[datetime]
) -> sa.ColumnElement[bool]:
    leases = tables.outbox_leases
    return sa.or_(
        leases.c.dead_letter_id.is_not(None),
        sa.func.coalesce(leases.c.leased_until > now, False),
        sa.func.coalesce(leases.c.due > now, False),
    )


def _group_by_key(messages: Iterable[tuple[str, OutboxMessage]]) -> dict[str, list[OutboxMessage]]:
    found: dict[str, list[OutboxMessage]] = {}
    for key, message in messages:
        found.setdefault(key, []).append(message)
    return found
