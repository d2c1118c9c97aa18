"""SQL that saves and counts messages, and SQL of a relay on PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ..engine import driver
from ..schema.tables import Tables
from ..schema.tenants import is_visible

COLUMNS = {
    "message_id": "text",
    "lease_key": "text",
    "partition_key": "text",
    "event_type": "text",
    "payload": "text",
    "metadata": "text",
    "created_at": "timestamptz",
    "published_at": "timestamptz",
    "error": "text",
    "retry_count": "int",
    "correlation_id": "text",
    "causation_id": "text",
    "tenant_id": "text",
}
"""Columns of an insert, with the SQL types of the arrays on PostgreSQL."""

_BLOCKS = (
    "(held.dead_letter_id IS NOT NULL OR coalesce(held.leased_until > clock_timestamp(), false) "
    "OR coalesce(held.due > clock_timestamp(), false))"
)


class OutboxStatements:
    """SQL of a relay on PostgreSQL, for one set of tables; lists are array parameters.

    Each text is therefore prepared once for any number of values.
    """

    def __init__(self, tables: Tables) -> None:
        outbox = driver.quote_table(tables.outbox, True)
        leases = driver.quote_table(tables.outbox_leases, True)
        # NULL covers the rows of all tenants.
        visible = "(CAST($4 AS text) IS NULL OR tenant_id = $4)"
        # Lease the keys of the oldest messages; SKIP LOCKED gives two relays different keys. ORDER
        # BY lease_key makes relays with the same keys lock them in the same order.
        self.lease = f"""
            WITH due AS (
                SELECT tenant_id, lease_key FROM {outbox} AS waiting
                WHERE published_at IS NULL AND {visible} AND NOT EXISTS (
                    SELECT FROM {leases} AS held WHERE held.lease_key = waiting.lease_key
                    AND held.tenant_id = waiting.tenant_id AND {_BLOCKS})
                ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
            )
            INSERT INTO {leases} AS held (tenant_id, lease_key, relay_id, leased_until)
            SELECT tenant_id, lease_key, $2::text, clock_timestamp() + $3::interval
            FROM (SELECT DISTINCT tenant_id, lease_key FROM due) AS keys
            ORDER BY lease_key, tenant_id
            ON CONFLICT (lease_key, tenant_id) DO UPDATE SET epoch = DEFAULT,
                relay_id = excluded.relay_id, leased_until = excluded.leased_until, due = NULL
            WHERE NOT {_BLOCKS}
            RETURNING tenant_id, lease_key, epoch"""
        self.waiting = f"""
            SELECT tenant_id, lease_key, message_id, event_type, CAST(payload AS text),
                CAST(metadata AS text), created_at, published_at, error, retry_count,
                correlation_id, causation_id, partition_key
            FROM {outbox} WHERE published_at IS NULL AND lease_key = ANY($2::text[])
            AND (tenant_id, lease_key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
            ORDER BY seq LIMIT $3"""
        self.release = f"DELETE FROM {leases} WHERE epoch = ANY($1::bigint[])"
        # Messages before leases, as in a claim: another order could deadlock with it. The count
        # forces PostgreSQL to lock the messages before it reads the first lease.
        self.complete = f"""
            WITH ours AS MATERIALIZED (
                SELECT seq FROM {outbox} WHERE message_id = ANY($3::text[])
                AND (tenant_id, message_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
                ORDER BY seq FOR UPDATE
            ), held AS (
                DELETE FROM {leases}
                WHERE epoch = ANY($1::bigint[]) AND leased_until > clock_timestamp()
                AND (SELECT count(*) FROM ours) >= 0
                RETURNING tenant_id, lease_key, epoch
            ), published AS (
                UPDATE {outbox} AS waiting SET published_at = clock_timestamp(), error = NULL
                FROM ours, held WHERE waiting.seq = ours.seq
                AND waiting.tenant_id = held.tenant_id AND waiting.lease_key = held.lease_key
                AND published_at IS NULL
            )
            SELECT epoch FROM held"""


@lru_cache(maxsize=64)
def outbox_statements(tables: Tables) -> OutboxStatements:
    """Return the statements, built once per set of tables."""
    return OutboxStatements(tables)


@lru_cache(maxsize=64)
def insert_arrays(tables: Tables) -> str:
    """Return an INSERT for PostgreSQL that takes one array per column."""
    name = driver.quote_table(tables.outbox, True)
    return driver.insert_arrays(name, COLUMNS, "message_id")


@lru_cache(maxsize=256)
def insert_values(tables: Tables, rows: int) -> str:
    """Return an INSERT for SQLite that takes the values of ``rows`` rows."""
    name = driver.quote_table(tables.outbox, False)
    return driver.insert_values(name, COLUMNS, "message_id", rows)


def select_backlog(
    tables: Tables, now: datetime | sa.ColumnElement[datetime], tenant_id: str | None
) -> sa.Select[Any]:
    """Select the columns of an ``OutboxBacklog`` in one pass over the unpublished messages.

    Args:
        tables: tables of the toolkit.
        now: time of the database.
        tenant_id: tenant of the messages, None for all tenants.
    """
    outbox, leases = tables.outbox, tables.outbox_leases
    blocks = leases.c.dead_letter_id.is_not(None) | (leases.c.due > now)
    # NULL in the rows of keys that are not blocked.
    blocked_key, dead_letter = leases.c.lease_key, leases.c.dead_letter_id
    is_dead_letter = outbox.c.message_id == dead_letter
    is_no_dead_letter = outbox.c.message_id.is_distinct_from(dead_letter)
    count = sa.func.count()
    numbers = {
        "waiting": count.filter(blocked_key.is_(None)),
        "blocked": count.filter(blocked_key.is_not(None), is_no_dead_letter),
        "dead_letters": count.filter(is_dead_letter),
        "oldest_at": sa.func.min(outbox.c.created_at).filter(is_no_dead_letter),
    }
    return (
        sa.select(*(number.label(name) for name, number in numbers.items()))
        .select_from(outbox.outerjoin(leases, is_same_key(tables) & blocks))
        .where(outbox.c.published_at.is_(None), is_visible(outbox.c.tenant_id, tenant_id))
    )


def is_same_key(tables: Tables) -> sa.ColumnElement[bool]:
    """Return the condition that joins messages with the row of their key among the leases."""
    outbox, leases = tables.outbox, tables.outbox_leases
    return (leases.c.lease_key == outbox.c.lease_key) & (leases.c.tenant_id == outbox.c.tenant_id)
