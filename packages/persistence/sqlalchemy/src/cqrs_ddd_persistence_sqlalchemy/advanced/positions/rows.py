"""Statements on the rows of projections."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from ...engine import AsyncConnection, driver
from ...schema.installation import lock_key, scope_lock
from ...schema.tables import Tables


class PositionRows:
    """Statements on the table of projections, in the transaction of a connection.

    Args:
        tables: tables of the toolkit.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._projections = tables.advanced.projections

    async def find(self, connection: AsyncConnection, projection: str) -> sa.Row[Any] | None:
        """Return the row of a projection in the form of ``select``, or None."""
        query = self.select(connection).where(self._projections.c.projection == projection)
        found: sa.Row[Any] | None = (await connection.execute(query)).one_or_none()
        return found

    def select(self, connection: AsyncConnection) -> sa.Select[Any]:
        """Select the rows, with the worker that holds the lease as ``holder``."""
        table = self._projections
        holder = sa.case(
            (table.c.leased_until > driver.get_database_time(connection), table.c.worker_id)
        )
        return sa.select(table, holder.label("holder"))

    async def remove_free(
        self, connection: AsyncConnection, epoch: int, worker_id: str
    ) -> int | None:
        """Delete the row if no other worker holds or locks it, and return its position."""
        table = self._projections
        is_free = sa.or_(
            table.c.leased_until.is_(None),
            table.c.leased_until <= driver.get_database_time(connection),
            table.c.worker_id == worker_id,
        )
        # SKIP LOCKED: a worker frozen in a transaction must not block workers that claim the lease.
        free = sa.select(table.c.epoch).where(table.c.epoch == epoch, is_free)
        taken = await connection.execute(
            sa.delete(table)
            .where(table.c.epoch == free.with_for_update(skip_locked=True).scalar_subquery())
            .returning(table.c.position)
        )
        position: int | None = taken.scalar_one_or_none()
        return position

    async def insert(
        self,
        connection: AsyncConnection,
        projection: str,
        version: int,
        position: int | None,
        **lease: object,
    ) -> int | None:
        """Insert a row and return its epoch, or return None if the projection already has a row.

        Args:
            connection: connection of the transaction.
            projection: name of the projection.
            version: version of the projection.
            position: last processed position; None for an inline projection.
            lease: columns of the lease.
        """
        table = self._projections
        row = {"projection": projection, "version": version, "position": position, **lease}
        result = await connection.execute(
            driver.upsert_statement(connection, table)
            .values(row)
            .on_conflict_do_nothing()
            .returning(table.c.epoch)
        )
        epoch: int | None = result.scalar_one_or_none()
        return epoch

    async def can_begin(self, connection: AsyncConnection, projection: str) -> bool:
        """Return False while another transaction has locked a projection without a row."""
        if not driver.is_postgres(connection):
            return True
        return bool(await self._lock(connection, "pg_try_advisory_xact_lock_shared", projection))

    async def read_shared(
        self, connection: AsyncConnection, projection: str
    ) -> tuple[int, int | None] | None:
        """Return version and position, under a lock shared with other inline writers.

        The statements go directly to the driver, since each command executes them.
        """
        table = connection.dialect.identifier_preparer.format_table(self._projections)
        read = f"SELECT version, position FROM {table} WHERE projection = "
        if driver.is_postgres(connection):
            key = lock_key(self._tables, "projections", projection)
            is_fixed = (await driver.fetch(connection, _JOIN, key, table))[0][0]
            # Under REPEATABLE READ, only a row lock detects a newer version of the row.
            read += "$1 FOR KEY SHARE" if is_fixed else "$1"
        else:
            read += "?"
            await driver.take_write_lock(connection)
        rows = await driver.fetch(connection, read, projection)
        return (rows[0][0], rows[0][1]) if rows else None

    async def lock_exclusive(self, connection: AsyncConnection, projection: str) -> None:
        """Block ``read_shared`` and ``can_begin`` until the transaction ends; PostgreSQL only."""
        if driver.is_postgres(connection):
            await self._lock(connection, "pg_advisory_xact_lock", projection)

    async def _lock(self, connection: AsyncConnection, function: str, projection: str) -> Any:
        key = lock_key(self._tables, "projections", projection)
        table = connection.dialect.identifier_preparer.format_table(self._projections)
        lock = sa.text(f"SELECT {function}({scope_lock(':key', ':table')})")
        return await connection.scalar(lock, {"key": key, "table": table})


_JOIN = (
    "SELECT current_setting('transaction_isolation') <> 'read committed' "
    f"FROM pg_advisory_xact_lock_shared({scope_lock('$1', '$2')})"
)


def find_lease_end(connection: AsyncConnection, seconds: float) -> Any:
    """Return the end of a lease of ``seconds``, by the clock that leases are compared with."""
    return driver.get_database_time(connection) + timedelta(seconds=seconds)
