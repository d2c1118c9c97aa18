"""Wrong position stores, each with one typical fault."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sqlalchemy import update

from cqrs_ddd_advanced_core.ports.positions import Checkpoint, ProjectionPosition
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore

Kind = type[SQLAlchemyPositionStore]

PAUSE = 0.05
"""Seconds between two commits, or between a check and the write that depends on it."""


class EarlyCheckpointStore(SQLAlchemyPositionStore):
    """Store that commits the checkpoint before the documents."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async with self._create_uow() as own:
            advanced = await super().advance(checkpoint, position, lease=lease, uow=own)
        await asyncio.sleep(PAUSE)
        return advanced

    def _create_uow(self) -> SQLAlchemyUnitOfWork:
        session_factory = self._connections.session_factory
        return SQLAlchemyUnitOfWork(session_factory=session_factory, tables=self._tables)


class LateCheckpointStore(EarlyCheckpointStore):
    """Store that commits the checkpoint after the documents."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async def later() -> None:
            await asyncio.sleep(PAUSE)
            async with self._create_uow() as own:
                await super(EarlyCheckpointStore, self).advance(
                    checkpoint, position, lease=lease, uow=own
                )

        uow.on_commit(later)
        return replace(checkpoint, position=position)


class UnfencedCheckpointStore(SQLAlchemyPositionStore):
    """Store that sets the position without a check of the lease."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        table = self._projections
        async with self._connections.join_transaction(uow, "advance a projection") as active:
            await (await active.connection()).execute(
                update(table)
                .where(table.c.projection == checkpoint.projection)
                .values(position=position)
            )
        return replace(checkpoint, position=position)


class NonLockingStore(SQLAlchemyPositionStore):
    """Store with an exclusive lock that does not block other transactions."""

    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        found = await self.list_positions([projection])
        return found[0] if found else None

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        await asyncio.sleep(
            PAUSE
        )  # Other transactions can commit after the last read of the events.
        return await super().advance(checkpoint, position, lease=lease, uow=uow)
