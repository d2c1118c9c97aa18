"""Snapshots of aggregates in a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic_core import to_json

from cqrs_ddd_advanced_core import ISnapshotStore, Snapshot, SnapshotError
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.spi.tenancy import get_row_tenant

from ..engine import Connections, SessionFactory, driver, fetch, is_postgres, upsert_statement
from ..schema.tables import TABLES, Tables


class SQLAlchemySnapshotStore(ISnapshotStore):
    """Snapshots in a table with one row for each aggregate of a tenant.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
    """

    def __init__(self, session_factory: SessionFactory, *, tables: Tables = TABLES) -> None:
        super().__init__()
        self._connections = Connections(session_factory, SnapshotError)
        self._snapshots: sa.Table = tables.advanced.snapshots

    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        """Insert a snapshot, or replace an older one."""
        await self.save_many([snapshot], uow)

    async def save_many(
        self,
        snapshots: Collection[Snapshot],
        uow: UnitOfWork | None = None,
        *,
        instead_of: Mapping[StreamId, int] | None = None,
    ) -> None:
        """Insert snapshots or replace older ones, comparing the versions in the same statement.

        Args:
            snapshots: snapshots to save.
            uow: unit of work to write in.
            instead_of: versions of stored snapshots to replace even by an older snapshot, by
                stream.
        """
        if not snapshots:
            return
        table, replaced = self._snapshots, instead_of or {}
        tenant_id = get_row_tenant("save snapshots")
        # All writers use the same order, or two could deadlock.
        rows = [
            {
                **_to_row(snapshot),
                "tenant_id": tenant_id,
                "instead_of": replaced.get(snapshot.stream),
            }
            for snapshot in sorted(snapshots, key=lambda each: each.stream)
        ]
        async with self._connections.join_transaction(uow, "save snapshots") as active:
            connection = await active.connection()
            insert = upsert_statement(connection, table)
            key = list(table.primary_key)
            await connection.execute(
                insert.on_conflict_do_update(
                    index_elements=key,
                    set_={c.name: insert.excluded[c.name] for c in table.c if c not in key},
                    # An equal version replaces an unreadable snapshot.
                    where=(insert.excluded.version >= table.c.version)
                    | (table.c.version == sa.bindparam("instead_of", type_=sa.BigInteger)),
                ),
                rows,
            )

    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> dict[StreamId, Snapshot]:
        """Return the snapshots of many streams by one statement, unreadable ones included."""
        wanted, tenant_id = list(streams), get_row_tenant("load snapshots")
        if not wanted:
            return {}
        async with self._connections.read_connection(uow, "load snapshots") as connection:
            sql = _statements(self._snapshots, is_postgres(connection))
            if len(wanted) == 1:
                rows = await fetch(connection, sql.one, tenant_id, *wanted[0])
            elif is_postgres(connection):
                rows = await fetch(connection, sql.many, tenant_id, *zip(*wanted, strict=True))
            else:
                rows = await fetch(connection, sql.many, tenant_id, to_json(wanted).decode())
        return {snapshot.stream: snapshot for snapshot in map(_read_snapshot, rows)}

    async def delete(self, stream: StreamId, uow: UnitOfWork | None = None) -> None:
        """Delete the snapshot of a stream."""
        table, tenant_id = self._snapshots, get_row_tenant("delete a snapshot")
        async with self._connections.join_transaction(uow, "delete a snapshot") as active:
            connection = await active.connection()
            await connection.execute(
                sa.delete(table).where(
                    table.c.tenant_id == tenant_id,
                    table.c.aggregate_type == stream.aggregate_type,
                    table.c.aggregate_id == stream.aggregate_id,
                )
            )


class _Statements(NamedTuple):
    """SQL for the driver, since the result of SQLAlchemy would cost more than the row."""

    one: str
    many: str


@lru_cache(maxsize=64)
def _statements(table: sa.Table, is_postgres: bool) -> _Statements:
    read = (
        "SELECT aggregate_type, aggregate_id, version, schema_hash, state, taken_at "
        f"FROM {driver.quote_table(table, is_postgres)} WHERE tenant_id = "
    )
    if is_postgres:
        return _Statements(
            f"{read} $1 AND aggregate_type = $2 AND aggregate_id = $3",
            f"{read} $1 AND (aggregate_type, aggregate_id) IN "
            "(SELECT * FROM unnest($2::text[], $3::text[]))",
        )
    return _Statements(
        f"{read} ? AND aggregate_type = ? AND aggregate_id = ?",
        f"{read} ? AND (aggregate_type, aggregate_id) IN "
        "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))",
    )


def _to_row(snapshot: Snapshot) -> dict[str, Any]:
    row = {**vars(snapshot), **snapshot.stream._asdict()}
    del row["stream"]
    return row


def _read_snapshot(row: Sequence[Any]) -> Snapshot:
    """Return the snapshot of a row without validation; its reader detects unreadable ones."""
    snapshot = Snapshot.__new__(Snapshot)
    snapshot.__dict__.update(
        stream=StreamId(row[0], row[1]),
        version=row[2] if isinstance(row[2], int) else 0,
        schema_hash=row[3],
        state=row[4],
        taken_at=_read_time(row[5]),
    )
    return snapshot


def _read_time(value: Any) -> datetime:
    """Parse the time; return the epoch for an unreadable time, since nothing depends on it."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _EPOCH
    return _EPOCH if time.tzinfo is None else time


_EPOCH = datetime.fromtimestamp(0, timezone.utc)
