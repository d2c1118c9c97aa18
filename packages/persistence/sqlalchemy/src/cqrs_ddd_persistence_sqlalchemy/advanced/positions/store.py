"""Positions of projections in a table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import Row, Table, delete, update

from cqrs_ddd_advanced_core.exceptions import ProjectionVersionError, UnknownProjectionError
from cqrs_ddd_advanced_core.ports.positions import (
    PROJECTIONS_CHANNEL,
    Checkpoint,
    IPositionStore,
    ProjectionPosition,
)
from cqrs_ddd_advanced_core.spi.checks import (
    ensure_forward,
    ensure_live_version,
    ensure_name_list,
    ensure_usable_lease,
)
from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_core.primitives.shielding import run_to_completion

from ...engine.connections import Connections
from ...engine.engines import SessionFactory
from ...engine.lock_timeout import lock_timeout
from ...engine.transaction import SQLAlchemyTransaction
from ...schema.tables import TABLES, Tables
from .rows import PositionRows, after

_PATIENCE = 5.0
"""Seconds that a look may go on after its caller was cancelled."""


logger = logging.getLogger(__name__)


class SQLAlchemyPositionStore(IPositionStore):
    """The table of projections. Times are the database's on PostgreSQL, the machine's on SQLite.

    A claim and a replacement write the row anew, under the next epoch. On PostgreSQL those who
    write inline share an advisory lock, and who holds has it alone; on SQLite all of them take the
    write lock, so that a command has it from its first ``join`` on and not from its first change.

    Args:
        signal: told of positions that were committed, and wakes ``wait_until`` early.
        poll_interval: seconds between the looks of ``wait_until``.
    """

    hold_timeout: ClassVar[float] = 2.0
    """Seconds for which ``hold`` waits on PostgreSQL for commands under way; new ones wait too."""

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
        self._projections: Table = tables.advanced.projections
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
        ensure_usable_lease(lease)
        async with self._connections.new_transaction("claim a projection") as new:
            connection = await new.connection()
            position, found = 0, await self._rows.find(connection, projection)
            if found is not None:
                if found.position is None:
                    raise ProjectionVersionError.written_inline(projection, version, found.version)
                if not restart:
                    ensure_live_version(projection, version, found.version)
                if found.holder not in (None, worker_id):
                    return None  # Without a lock: who stands by asks again and again.
                last = await self._rows.take_out(connection, found.epoch, worker_id)
                if last is None:
                    return None
                position = 0 if restart else last
            elif not await self._rows.may_begin(connection, projection):
                return None
            epoch = await self._rows.put(
                connection,
                projection,
                version,
                position,
                worker_id=worker_id,
                leased_until=after(connection, lease),
            )
        if epoch is None:
            return None
        return Checkpoint(projection=projection, version=version, position=position, epoch=epoch)

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        ensure_usable_lease(lease)
        ensure_forward(checkpoint, position)
        table = self._projections
        async with self._connections.join_transaction(uow, "advance a projection") as active:
            connection = await active.connection()
            # Who waits for the row compares with what was committed meanwhile.
            result = await connection.execute(
                update(table)
                .where(
                    table.c.epoch == checkpoint.epoch,
                    table.c.position == checkpoint.position,
                    table.c.worker_id.is_not(None),
                )
                .values(position=position, leased_until=after(connection, lease))
            )
            if not result.rowcount:
                raise checkpoint.lease_ended()
            self._tell(active)
        return replace(checkpoint, position=position)

    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        ensure_usable_lease(lease)
        table = self._projections
        async with self._connections.new_transaction("renew the lease of a projection") as new:
            connection = await new.connection()
            result = await connection.execute(
                update(table)
                .where(table.c.epoch == checkpoint.epoch, table.c.worker_id.is_not(None))
                .values(leased_until=after(connection, lease))
            )
            if not result.rowcount:
                raise checkpoint.lease_ended()

    async def release(self, checkpoint: Checkpoint) -> None:
        table = self._projections
        async with self._connections.new_transaction("release a projection") as new:
            connection = await new.connection()
            await connection.execute(
                update(table)
                .where(table.c.epoch == checkpoint.epoch)
                .values(worker_id=None, leased_until=None)
            )

    async def positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        operation = "read positions of projections"
        async with self._connections.autocommit_connection(operation) as connection:
            query = self._rows.query(connection)
            if projections is not None:
                query = query.where(self._projections.c.projection.in_(list(projections)))
            rows = (await connection.execute(query)).all()
        return sorted(map(_told, rows), key=lambda each: each.projection)

    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> None:
        async with self._connections.join_transaction(uow, "write a projection inline") as active:
            connection = await active.driver_connection()
            found = await self._rows.join(connection, projection)
            if found is None:
                # Of those that begin it at once the others wait, and find it then.
                connection = await active.connection()
                if await self._rows.put(connection, projection, version, None) is not None:
                    return
                found = await self._rows.join(connection, projection)
                if found is None:
                    raise ConcurrencyError.changed_meanwhile(f"projection {projection}")
            live, position = found
            if position is not None:
                raise ProjectionVersionError.run_by_workers(projection, version, live)
            ensure_live_version(projection, version, live)

    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        table = self._projections
        async with self._connections.join_transaction(uow, "hold a projection") as active:
            connection = await active.connection()
            async with lock_timeout(self.hold_timeout, connection, f"hold {projection}"):
                await self._rows.lock(connection, projection)
                # Takes the row, and on SQLite the write lock, whether it is there or not.
                await connection.execute(
                    update(table)
                    .where(table.c.projection == projection)
                    .values(version=table.c.version)
                )
            found = await self._rows.find(connection, projection)
        return None if found is None else _told(found)

    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        table = self._projections
        found = await self.lock_exclusive(projection, uow=uow)
        async with self._connections.join_transaction(uow, "replace a projection") as active:
            connection = await active.connection()
            theirs = await connection.execute(
                delete(table).where(
                    table.c.epoch == by.epoch,
                    table.c.position == by.position,
                    table.c.worker_id.is_not(None),
                )
            )
            if not theirs.rowcount:
                raise by.lease_ended()
            await connection.execute(delete(table).where(table.c.projection == projection))
            is_inline = found is not None and found.position is None
            position = None if is_inline else by.position
            if await self._rows.put(connection, projection, by.version, position) is None:
                raise ConcurrencyError.changed_meanwhile(f"projection {projection}")
            self._tell(active)

    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        ensure_name_list(projections)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        wanted = set(projections)
        while True:
            found = await self._look(wanted)
            is_there = all(e.position is None or e.position >= position for e in found)
            missing = wanted - {each.projection for each in found}
            if is_there and not missing:
                return True
            remaining = deadline - loop.time()
            if remaining <= 0:
                if missing:
                    known = [each.projection for each in await self.positions()]
                    raise UnknownProjectionError.never_run(missing, known)
                return False
            await self._pause(min(self._poll_interval, remaining))

    async def _pause(self, seconds: float) -> None:
        if self._signal is not None:
            try:
                await self._signal.wait(PROJECTIONS_CHANNEL, seconds)
                return
            except Exception as error:
                logger.warning("positions: %r from the signal; polling goes on", error)
        await asyncio.sleep(seconds)

    async def _look(self, projections: Collection[str]) -> list[ProjectionPosition]:
        """To its end even when cancelled: a query that is given up leaves tasks of the driver."""
        found: list[ProjectionPosition] = []

        async def look() -> None:
            found.extend(await self.positions(projections))

        looking = await run_to_completion(look(), grace=_PATIENCE)
        if (error := looking.interruption or looking.error) is not None:
            raise error
        return found

    def _tell(self, uow: SQLAlchemyTransaction) -> None:
        if self._signal is not None:
            uow.on_commit(partial(self._signal.notify, PROJECTIONS_CHANNEL))


def _told(row: Row[Any]) -> ProjectionPosition:
    return ProjectionPosition(
        projection=row.projection,
        version=row.version,
        position=row.position,
        worker_id=row.holder,
    )
