"""Positions of projections in a table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import sqlalchemy as sa

import cqrs_ddd_advanced_core as advanced
from cqrs_ddd_advanced_core import Checkpoint, ProjectionPosition
from cqrs_ddd_advanced_core.spi import checks
from cqrs_ddd_core import ConcurrencyError, IQueueSignal, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import describe_error
from cqrs_ddd_core.primitives.shielding import run_to_completion

from ...engine import Connections, SessionFactory, SQLAlchemyTransaction, driver
from ...schema.tables import TABLES, Tables
from .rows import PositionRows, find_lease_end

_GRACE = 5.0
"""Seconds for which a query may continue after the cancellation of its caller."""

logger = logging.getLogger(__name__)


class SQLAlchemyPositionStore(advanced.IPositionStore):
    """Positions of projections in a table with one row for each projection.

    Times come from the database on PostgreSQL, and from the local clock on SQLite. A claim and a
    replacement insert the row again, under the next epoch. On PostgreSQL inline writers share an
    advisory lock, which ``lock_exclusive`` takes exclusively. On SQLite all writers take the write
    lock, so a command holds it from its first ``lock_shared`` instead of its first change.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
        signal: notified of committed positions; it wakes ``wait_until`` early.
        poll_interval: seconds between two queries of ``wait_until``.
    """

    lock_timeout: ClassVar[float] = 2.0
    """Seconds for which ``lock_exclusive`` waits on PostgreSQL for running commands; new commands
    wait too."""

    def __init__(
        self,
        session_factory: SessionFactory,
        *,
        tables: Tables = TABLES,
        signal: IQueueSignal | None = None,
        poll_interval: float = 0.05,
    ) -> None:
        super().__init__()
        self._connections = Connections(session_factory)
        self._tables = tables
        self._projections: sa.Table = tables.advanced.projections
        self._rows = PositionRows(tables)
        self._signal = signal
        self._poll_interval = poll_interval

    async def claim(
        self,
        projection: str,
        worker_id: str,
        *,
        version: int = 1,
        lease: float = 30.0,
        restart: bool = False,
    ) -> Checkpoint | None:
        """Claim the lease by replacing the row; return its checkpoint, or None while it is leased.

        Args:
            projection: name of the projection.
            worker_id: name of the worker, for operators.
            version: version of the projection that the worker runs.
            lease: seconds until the lease expires.
            restart: True to begin again at position 0, even from another version.

        Raises:
            ProjectionVersionError: the projection is inline, or another version is live.
        """
        checks.ensure_usable_lease(lease)
        async with self._connections.new_transaction("claim a projection") as new:
            connection = await new.connection()
            position, found = 0, await self._rows.find(connection, projection)
            if found is not None:
                if found.position is None:
                    raise advanced.ProjectionVersionError.written_inline(
                        projection, version, found.version
                    )
                if not restart:
                    checks.ensure_live_version(projection, version, found.version)
                if found.holder not in (None, worker_id):
                    return None  # Before any lock, since waiting workers repeat this call.
                last = await self._rows.remove_free(connection, found.epoch, worker_id)
                if last is None:
                    return None
                position = 0 if restart else last
            elif not await self._rows.can_begin(connection, projection):
                return None
            epoch = await self._rows.insert(
                connection,
                projection,
                version,
                position,
                worker_id=worker_id,
                leased_until=find_lease_end(connection, lease),
            )
        if epoch is None:
            return None
        return Checkpoint(projection=projection, version=version, position=position, epoch=epoch)

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        """Update position and lease of the row that the checkpoint describes; return a new one.

        Args:
            checkpoint: lease and position of the worker.
            position: new position.
            lease: seconds until the lease expires.
            uow: unit of work in which the projection has written its documents.

        Raises:
            LeaseLostError: another worker holds the lease, or it was released.
        """
        checks.ensure_usable_lease(lease)
        checks.ensure_forward(checkpoint, position)
        table = self._projections
        async with self._connections.join_transaction(uow, "advance a projection") as active:
            connection = await active.connection()
            # After waiting for a row lock, UPDATE compares with the newly committed values.
            result = await connection.execute(
                sa.update(table)
                .where(
                    table.c.epoch == checkpoint.epoch,
                    table.c.position == checkpoint.position,
                    table.c.worker_id.is_not(None),
                )
                .values(position=position, leased_until=find_lease_end(connection, lease))
            )
            if not result.rowcount:
                raise checkpoint.lease_ended()
            self._notify_on_commit(active)
        return replace(checkpoint, position=position)

    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        """Extend the lease by ``lease`` seconds from now, in its own transaction.

        Raises:
            LeaseLostError: another worker holds the lease, or it was released.
        """
        checks.ensure_usable_lease(lease)
        table = self._projections
        async with self._connections.new_transaction("renew the lease of a projection") as new:
            connection = await new.connection()
            result = await connection.execute(
                sa.update(table)
                .where(table.c.epoch == checkpoint.epoch, table.c.worker_id.is_not(None))
                .values(leased_until=find_lease_end(connection, lease))
            )
            if not result.rowcount:
                raise checkpoint.lease_ended()

    async def release(self, checkpoint: Checkpoint) -> None:
        """End the lease; the row keeps its position."""
        table = self._projections
        async with self._connections.new_transaction("release a projection") as new:
            connection = await new.connection()
            await connection.execute(
                sa.update(table)
                .where(table.c.epoch == checkpoint.epoch)
                .values(worker_id=None, leased_until=None)
            )

    async def list_positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        """Return the committed positions by name, without a lock."""
        operation = "read positions of projections"
        async with self._connections.autocommit_connection(operation) as connection:
            query = self._rows.select(connection)
            if projections is not None:
                query = query.where(self._projections.c.projection.in_(list(projections)))
            rows = (await connection.execute(query)).all()
        return sorted(map(_to_position, rows), key=lambda each: each.projection)

    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> int:
        """Lock and return the version of an inline projection until the transaction ends.

        The lock is shared. The first call for a projection inserts its row.

        Raises:
            ProjectionVersionError: workers run the projection.
            ConcurrencyError: the projection changed at the same time.
        """
        async with self._connections.join_transaction(uow, "write a projection inline") as active:
            connection = await active.driver_connection()
            found = await self._rows.read_shared(connection, projection)
            if found is None:
                # If several transactions insert the row at once, all but one wait and then find it.
                connection = await active.connection()
                if await self._rows.insert(connection, projection, version, None) is not None:
                    return version
                found = await self._rows.read_shared(connection, projection)
                if found is None:
                    raise ConcurrencyError.changed_concurrently(f"projection {projection}")
            live, position = found
            if position is not None:
                raise advanced.ProjectionVersionError.run_by_workers(projection, version, live)
            return live

    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        """Block inline writers and claims until the transaction ends, and return the position.

        Raises:
            ConcurrencyError: running commands held the shared lock for ``lock_timeout`` seconds.
        """
        table = self._projections
        async with self._connections.join_transaction(uow, "lock a projection") as active:
            connection = await active.connection()
            async with driver.lock_timeout(self.lock_timeout, connection, f"lock {projection}"):
                await self._rows.lock_exclusive(connection, projection)
                # UPDATE locks the row, and on SQLite the file even without a row.
                await connection.execute(
                    sa.update(table)
                    .where(table.c.projection == projection)
                    .values(version=table.c.version)
                )
            found = await self._rows.find(connection, projection)
        return None if found is None else _to_position(found)

    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        """Delete the rows of both projections, and insert the row of ``by`` under the other name.

        Raises:
            LeaseLostError: the lease ``by`` is lost.
            ConcurrencyError: the projection changed at the same time, or is locked.
        """
        table = self._projections
        found = await self.lock_exclusive(projection, uow=uow)
        async with self._connections.join_transaction(uow, "replace a projection") as active:
            connection = await active.connection()
            theirs = await connection.execute(
                sa.delete(table).where(
                    table.c.epoch == by.epoch,
                    table.c.position == by.position,
                    table.c.worker_id.is_not(None),
                )
            )
            if not theirs.rowcount:
                raise by.lease_ended()
            await connection.execute(sa.delete(table).where(table.c.projection == projection))
            is_inline = found is not None and found.position is None
            position = None if is_inline else by.position
            if await self._rows.insert(connection, projection, by.version, position) is None:
                raise ConcurrencyError.changed_concurrently(f"projection {projection}")
            self._notify_on_commit(active)

    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        """Poll until all projections have reached the position; the signal ends a pause early.

        Args:
            position: position to wait for.
            projections: names of the projections.
            timeout: seconds to wait; then False is returned.

        Raises:
            UnknownProjectionError: a projection has never run, at the end of the timeout.
        """
        checks.ensure_name_list(projections)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        wanted = set(projections)
        while True:
            found = await self._read_positions(wanted)
            is_there = all(e.position is None or e.position >= position for e in found)
            missing = wanted - {each.projection for each in found}
            if is_there and not missing:
                return True
            remaining = deadline - loop.time()
            if remaining <= 0:
                if missing:
                    known = [each.projection for each in await self.list_positions()]
                    raise advanced.UnknownProjectionError.never_run(missing, known)
                return False
            await self._pause(min(self._poll_interval, remaining))

    async def _pause(self, seconds: float) -> None:
        if self._signal is not None:
            try:
                await self._signal.wait(advanced.PROJECTIONS_CHANNEL, seconds)
                return
            except Exception as error:
                logger.warning("the signal has failed with %s; polling", describe_error(error))
        await asyncio.sleep(seconds)

    async def _read_positions(self, projections: Collection[str]) -> list[ProjectionPosition]:
        """Read to the end even when cancelled: an abandoned query leaves driver tasks behind."""
        found: list[ProjectionPosition] = []

        async def read() -> None:
            found.extend(await self.list_positions(projections))

        ended = await run_to_completion(read(), grace=_GRACE)
        if (error := ended.interruption or ended.error) is not None:
            raise error
        return found

    def _notify_on_commit(self, uow: SQLAlchemyTransaction) -> None:
        if self._signal is not None:
            uow.on_commit(partial(self._signal.notify, advanced.PROJECTIONS_CHANNEL))


def _to_position(row: sa.Row[Any]) -> ProjectionPosition:
    return ProjectionPosition(
        projection=row.projection, version=row.version, position=row.position, worker_id=row.holder
    )
