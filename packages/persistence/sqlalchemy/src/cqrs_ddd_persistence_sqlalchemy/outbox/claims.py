"""Claims of partitions of the outbox: leases, and the messages that wait under the leased keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from cqrs_ddd_core import OutboxLease, OutboxMessage

from ..engine import AsyncConnection, driver
from ..schema.tables import Tables
from ..schema.tenants import is_visible
from . import message_rows
from .statements import is_same_key, outbox_statements

Key = tuple[str, str]
"""Tenant and lease key."""


async def claim_leases(
    connection: AsyncConnection,
    tables: Tables,
    relay_id: str,
    *,
    limit: int,
    lease: float,
    tenant_id: str | None,
) -> list[OutboxLease]:
    """Lease the free keys with the oldest messages, and return the leases.

    Args:
        connection: connection of the transaction.
        tables: tables of the toolkit.
        relay_id: name of the relay, for operators.
        limit: largest number of messages to claim.
        lease: seconds until the leases expire.
        tenant_id: tenant of the messages, None for all tenants.
    """
    # The keys and their messages in two statements: the second sees which messages another relay
    # has published since the first.
    claim = _claim_on_postgres if driver.is_postgres(connection) else _claim_on_sqlite
    return await claim(connection, tables, relay_id, limit, timedelta(seconds=lease), tenant_id)


async def _claim_on_postgres(
    connection: AsyncConnection,
    tables: Tables,
    relay_id: str,
    limit: int,
    lease: timedelta,
    tenant_id: str | None,
) -> list[OutboxLease]:
    sql = outbox_statements(tables)
    leased = await driver.fetch(connection, sql.lease, limit, relay_id, lease, tenant_id)
    epochs: dict[Key, int] = {(row[0], row[1]): row[2] for row in leased}
    if not epochs:
        return []
    rows = await driver.fetch(connection, sql.waiting, *zip(*epochs, strict=True), limit)
    found = _group_by_key(((row[0], row[1]), message_rows.read_driver_row(row)) for row in rows)
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await driver.fetch(connection, sql.release, empty)
    return _build_leases(found, epochs)


async def _claim_on_sqlite(
    connection: AsyncConnection,
    tables: Tables,
    relay_id: str,
    limit: int,
    lease: timedelta,
    tenant_id: str | None,
) -> list[OutboxLease]:
    outbox, leases, now = tables.outbox, tables.outbox_leases, driver.get_database_time(connection)
    is_blocked = _is_blocked(tables, now)
    blocked = sa.exists().where(is_same_key(tables), is_blocked)
    waits = outbox.c.published_at.is_(None)
    due = sa.select(outbox.c.tenant_id, outbox.c.lease_key).where(
        waits, is_visible(outbox.c.tenant_id, tenant_id), ~blocked
    )
    found_keys = await connection.execute(due.order_by(outbox.c.seq).limit(limit))
    keys = list(dict.fromkeys((row.tenant_id, row.lease_key) for row in found_keys))
    if not keys:
        return []  # Before the first change, which takes the write lock.
    await connection.execute(sa.delete(leases).where(_is_among(leases, keys), ~is_blocked))
    insert = (
        driver.upsert_statement(connection, leases)
        .on_conflict_do_nothing()
        .returning(leases.c.tenant_id, leases.c.lease_key, leases.c.epoch)
    )
    facts = {"relay_id": relay_id, "leased_until": now + lease}
    rows = [{"tenant_id": owner, "lease_key": key, **facts} for owner, key in keys]
    inserted = await connection.execute(insert, rows)
    epochs: dict[Key, int] = {(r.tenant_id, r.lease_key): r.epoch for r in inserted}
    waiting = (
        sa.select(*(column for column in outbox.c if column.name != "seq"))
        .where(waits, _is_among(outbox, epochs))
        .order_by(outbox.c.seq)
        .limit(limit)
    )
    found = _group_by_key(
        ((r.tenant_id, r.lease_key), message_rows.read_message(r))
        for r in await connection.execute(waiting)
    )
    if empty := [epoch for key, epoch in epochs.items() if key not in found]:
        await connection.execute(sa.delete(leases).where(leases.c.epoch.in_(empty)))
    return _build_leases(found, epochs)


def _is_among(table: sa.Table, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
    return sa.tuple_(table.c.tenant_id, table.c.lease_key).in_(list(keys))


def _build_leases(
    found: Mapping[Key, Sequence[OutboxMessage]], epochs: Mapping[Key, int]
) -> list[OutboxLease]:
    return [OutboxLease(key[1], epochs[key], each, key[0]) for key, each in found.items()]


def _is_blocked(
    tables: Tables, now: datetime | sa.ColumnElement[datetime]
) -> sa.ColumnElement[bool]:
    leases = tables.outbox_leases
    return sa.or_(
        leases.c.dead_letter_id.is_not(None),
        sa.func.coalesce(leases.c.leased_until > now, False),
        sa.func.coalesce(leases.c.due > now, False),
    )


def _group_by_key(messages: Iterable[tuple[Key, OutboxMessage]]) -> dict[Key, list[OutboxMessage]]:
    found: dict[Key, list[OutboxMessage]] = {}
    for key, message in messages:
        found.setdefault(key, []).append(message)
    return found
