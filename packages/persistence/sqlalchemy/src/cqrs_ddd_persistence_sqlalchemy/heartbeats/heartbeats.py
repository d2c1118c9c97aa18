"""Store of heartbeats in a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core import Heartbeat, IHeartbeatStore, StoredHeartbeat

from ..engine import Connections, SessionFactory, driver
from ..schema.column_types import UtcDateTime
from ..schema.tables import TABLES, Tables


class SQLAlchemyHeartbeatStore(IHeartbeatStore):
    """Heartbeats in a table, with one row for each service in each process.

    Each call is a transaction of its own. Times come from the database, so the clocks of the hosts
    may differ.

    Args:
        session_factory: creates the transactions.
        tables: tables of the toolkit.
    """

    def __init__(self, session_factory: SessionFactory, *, tables: Tables = TABLES) -> None:
        self._connections = Connections(session_factory)
        self._table = tables.heartbeats

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Insert or update a row for each heartbeat, by one statement."""
        if not heartbeats:
            return
        table = self._table
        # In one order for all writers: another order could deadlock.
        rows = [vars(each) for each in sorted(heartbeats, key=_get_key)]
        async with self._connections.new_transaction("store heartbeats") as new:
            connection = await new.connection()
            insert = driver.upsert_statement(connection, table)
            now = driver.get_database_time(connection)
            key = [table.c.service, table.c.instance_id]
            changed = {c.name: insert.excluded[c.name] for c in table.c if c not in key}
            await connection.execute(
                insert.values(beat_at=now).on_conflict_do_update(index_elements=key, set_=changed),
                rows,
            )

    async def list_heartbeats(self) -> list[StoredHeartbeat]:
        """Return all rows with their ages, by service and instance."""
        async with self._connections.autocommit_connection("read heartbeats") as connection:
            now = sa.type_coerce(driver.get_database_time(connection), UtcDateTime)
            rows = await connection.execute(sa.select(self._table, now.label("read_at")))
            found = [_read_heartbeat(row) for row in rows]
        return sorted(found, key=_get_key)

    async def remove(self, instance_id: str) -> None:
        """Delete the rows of a process."""
        async with self._connections.new_transaction("remove heartbeats") as new:
            connection = await new.connection()
            await connection.execute(
                sa.delete(self._table).where(self._table.c.instance_id == instance_id)
            )

    async def purge(self, min_age: float) -> int:
        """Delete the rows that are at least ``min_age`` seconds old; return their number."""
        async with self._connections.new_transaction("purge heartbeats") as new:
            connection = await new.connection()
            latest = driver.get_database_time(connection) - timedelta(seconds=min_age)
            result = await connection.execute(
                sa.delete(self._table).where(self._table.c.beat_at <= latest)
            )
            return result.rowcount


def _get_key(heartbeat: Heartbeat) -> tuple[str, str]:
    return heartbeat.service, heartbeat.instance_id


def _read_heartbeat(row: sa.Row[Any]) -> StoredHeartbeat:
    fields = dict(row._mapping)
    age = fields.pop("read_at") - fields["beat_at"]
    return StoredHeartbeat(**fields, age_seconds=age.total_seconds())
