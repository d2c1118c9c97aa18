"""The rows of projections, as statements see and change them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import (
    DateTime,
    Row,
    Select,
    case,
    delete,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from ...engine.driver import driver_of, fetch, is_postgres, upsert_statement
from ...schema.installation import lock_key
from ...schema.tables import Tables


class PositionRows:
    """Statements on the table of projections, in the transaction of the connection given."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._projections = tables.advanced.projections

    async def find(self, connection: AsyncConnection, projection: str) -> Row[Any] | None:
        query = self.query(connection).where(self._projections.c.projection == projection)
        found: Row[Any] | None = (await connection.execute(query)).one_or_none()
        return found

    def query(self, connection: AsyncConnection) -> Select[Any]:
        """With the worker that has the lease as ``holder``."""
        table = self._projections
        holder = case((table.c.leased_until > _now(connection), table.c.worker_id))
        return select(table, holder.label("holder"))

    async def take_out(self, connection: AsyncConnection, epoch: int, worker_id: str) -> int | None:
        """Its position, unless somebody has it or is just about to change it."""
        table = self._projections
        is_free = or_(
            table.c.leased_until.is_(None),
            table.c.leased_until <= _now(connection),
            table.c.worker_id == worker_id,
        )
        # Who was frozen in a transaction must not keep those waiting who ask for the lease.
        free = select(table.c.epoch).where(table.c.epoch == epoch, is_free)
        taken = await connection.execute(
            delete(table)
            .where(table.c.epoch == free.with_for_update(skip_locked=True).scalar_subquery())
            .returning(table.c.position)
        )
        position: int | None = taken.scalar_one_or_none()
        return position

    async def put(
        self,
        connection: AsyncConnection,
        projection: str,
        version: int,
        position: int | None,
        **lease: object,
    ) -> int | None:
        """The epoch of the new row; None where somebody else has put one."""
        table = self._projections
        row = {"projection": projection, "version": version, "position": position, **lease}
        put = await connection.execute(
            upsert_statement(connection, table)
            .values(row)
            .on_conflict_do_nothing()
            .returning(table.c.epoch)
        )
        epoch: int | None = put.scalar_one_or_none()
        return epoch

    async def may_begin(self, connection: AsyncConnection, projection: str) -> bool:
        """Not while somebody holds a projection that is new to him."""
        if not is_postgres(connection):
            return True
        return bool(await self._lock(connection, "pg_try_advisory_xact_lock_shared", projection))

    async def join(
        self, connection: AsyncConnection, projection: str
    ) -> tuple[int, int | None] | None:
        """Version and position, with others who join; who holds it keeps them waiting.

        Straight to the driver, since each command does it.
        """
        table = connection.dialect.identifier_preparer.format_table(self._projections)
        read = f"SELECT version, position FROM {table} WHERE projection = "
        if is_postgres(connection):
            key = lock_key(self._tables, "projections", projection)
            is_fixed = (await fetch(connection, _JOIN, key))[0][0]
            # Where a transaction sees for ever what it saw first, the lock of the row tells.
            read += "$1 FOR KEY SHARE" if is_fixed else "$1"
        else:
            read += "?"
            if not driver_of(connection).in_transaction:
                await fetch(connection, "BEGIN IMMEDIATE")
        rows = await fetch(connection, read, projection)
        return (rows[0][0], rows[0][1]) if rows else None

    async def lock(self, connection: AsyncConnection, projection: str) -> None:
        """On PostgreSQL, from all who ``join`` and ``may_begin``; until the end."""
        if is_postgres(connection):
            await self._lock(connection, "pg_advisory_xact_lock", projection)

    async def _lock(self, connection: AsyncConnection, function: str, projection: str) -> Any:
        key = lock_key(self._tables, "projections", projection)
        return await connection.scalar(text(f"SELECT {function}(:key)"), {"key": key})


_JOIN = (
    "SELECT current_setting('transaction_isolation') <> 'read committed' "
    "FROM pg_advisory_xact_lock_shared($1)"
)


def _now(connection: AsyncConnection) -> Any:
    """For a statement."""
    if is_postgres(connection):
        return func.clock_timestamp(type_=DateTime(timezone=True))
    return datetime.now(timezone.utc)  # All who share a file share a clock.


def after(connection: AsyncConnection, seconds: float) -> Any:
    """For a statement, by the clock that leases are judged by."""
    return _now(connection) + timedelta(seconds=seconds)
