"""Positions of projections as one would keep them at first."""

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
"""Seconds between two commits, or between a look and what follows from it."""


class MovesBefore(SQLAlchemyPositionStore):
    """The checkpoint is committed, and then the view."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async with self._alone() as own:
            advanced = await super().advance(checkpoint, position, lease=lease, uow=own)
        await asyncio.sleep(PAUSE)
        return advanced

    def _alone(self) -> SQLAlchemyUnitOfWork:
        session_factory = self._connections.session_factory
        return SQLAlchemyUnitOfWork(session_factory=session_factory, tables=self._tables)


class MovesAfter(MovesBefore):
    """The view is committed, and then the checkpoint."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async def later() -> None:
            await asyncio.sleep(PAUSE)
            async with self._alone() as own:
                await super(MovesBefore, self).advance(checkpoint, position, lease=lease, uow=own)

        uow.on_commit(later)
        return replace(checkpoint, position=position)


class MovesWhoeverAsks(SQLAlchemyPositionStore):
    """Sets the position without a look at whose it is."""

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


class HoldsNothing(SQLAlchemyPositionStore):
    """Looks where the live one stands, and lets everybody go on."""

    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        found = await self.list_positions([projection])
        return found[0] if found else None

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        await asyncio.sleep(PAUSE)  # After the look at the events.
        return await super().advance(checkpoint, position, lease=lease, uow=uow)
