"""Worker that is frozen between the read and the write of a table and wakes up too late."""

from __future__ import annotations

import asyncio
import os
import signal

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.ports.positions import Checkpoint
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from tests.faults.crashing import Place

PROJECTION = "orders"
LEASE = 0.3
FREEZE_AT = 4


class View:
    """Table of the processed events in order; a repeated event has two rows."""

    def __init__(self, schema: str | None) -> None:
        self.metadata = MetaData(schema=schema)
        number = BigInteger().with_variant(Integer(), "sqlite")
        self.table = Table(
            "frozen_view",
            self.metadata,
            Column("seq", number, primary_key=True, autoincrement=True),
            Column("position", BigInteger, nullable=False),
            Column("worker", Text, nullable=False),
        )

    async def create(self, engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(self.metadata.create_all)

    async def read_rows(self, engine: AsyncEngine) -> list[tuple[int, str]]:
        query = select(self.table.c.position, self.table.c.worker).order_by(self.table.c.seq)
        async with engine.connect() as connection:
            return [(row.position, row.worker) for row in await connection.execute(query)]


class Worker:
    """Worker that processes one event a step."""

    def __init__(self, positions: SQLAlchemyPositionStore, name: str, place: Place) -> None:
        self._positions = positions
        self._name = name
        self._place = place
        self._view = View(place.schema)
        self.checkpoint: Checkpoint | None = None

    async def claim(self) -> bool:
        self.checkpoint = await self._positions.claim(PROJECTION, self._name, lease=LEASE)
        return self.checkpoint is not None

    async def step(self, engine: AsyncEngine, *, freeze: bool = False) -> None:
        assert self.checkpoint is not None
        position = self.checkpoint.position + 1
        table = self._view.table
        async with SQLAlchemyUnitOfWork(
            session_factory=async_sessionmaker(engine), tables=self._place.tables
        ) as uow:
            connection = await uow.connection()
            await connection.execute(select(table.c.position))
            if freeze:
                self.note("frozen")
                os.kill(os.getpid(), signal.SIGSTOP)
            checkpoint = await self._positions.advance(
                self.checkpoint, position, lease=LEASE, uow=uow
            )
            await connection.execute(insert(table).values(position=position, worker=self._name))
        self.checkpoint = checkpoint

    def note(self, fact: str) -> None:
        (self._place.folder / f"{self._name}-{fact}").touch()


async def freeze(place: Place, kind: type[SQLAlchemyPositionStore]) -> None:
    async with place.engine() as engine:
        positions = kind(async_sessionmaker(engine), tables=place.tables)
        worker = Worker(positions, "one", place)
        assert await worker.claim()
        for number in range(1, FREEZE_AT + 1):
            try:
                await worker.step(engine, freeze=number == FREEZE_AT)
            except LeaseLostError:
                worker.note("lost-lease")


def run_freeze(place: Place, kind: type[SQLAlchemyPositionStore]) -> None:
    asyncio.run(freeze(place, kind))
