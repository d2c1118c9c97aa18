"""Tests of two processes that run one projection, one of which was frozen."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.ports.positions import Checkpoint
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from tests.faults.crashing import Place
from tests.faults.freezing import View, Worker, run_freeze
from tests.forking import process


class PositionOnlyStore(SQLAlchemyPositionStore):
    """Wrong store in which the old holder can advance while the new holder is idle."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        table = self._projections
        async with self._connections.join_transaction(uow, "advance a projection") as active:
            result = await (await active.connection()).execute(
                update(table)
                .where(
                    table.c.projection == checkpoint.projection,
                    table.c.position == checkpoint.position,
                )
                .values(position=position)
            )
            if not result.rowcount:
                raise checkpoint.lease_ended()
        return replace(checkpoint, position=position)


@pytest.fixture
def place(database_url: str, tables: Tables, tmp_path: Path) -> Place:
    return Place(database_url, tables.schema, tmp_path)


async def test_frozen_worker_without_its_lease_writes_nothing_after_it_wakes_up(
    place: Place, engine: AsyncEngine
) -> None:
    rows = await _run_with_a_freeze(place, engine, SQLAlchemyPositionStore)

    assert rows == [(1, "one"), (2, "one"), (3, "one"), (4, "two"), (5, "two")]
    assert (place.folder / "one-lost-lease").exists()


async def test_freeze_check_catches_a_position_store_that_does_not_check_the_epoch(
    place: Place, engine: AsyncEngine
) -> None:
    rows = await _run_with_a_freeze(place, engine, PositionOnlyStore)

    assert (4, "one") in rows
    assert not (place.folder / "one-lost-lease").exists()


async def _run_with_a_freeze(
    place: Place, engine: AsyncEngine, kind: type[SQLAlchemyPositionStore]
) -> list[tuple[int, str]]:
    """Return the rows after the second worker took over and the first one woke up."""
    documents = View(place.schema)
    await documents.create(engine)
    two = Worker(kind(async_sessionmaker(engine), tables=place.tables), "two", place)
    with process(run_freeze, place, kind) as one:
        while not (place.folder / "one-frozen").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while not await two.claim():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        # The second worker has claimed the projection, but not advanced it yet.
        assert one.pid is not None
        os.kill(one.pid, signal.SIGCONT)
        await asyncio.to_thread(one.join, 30)
        assert one.exitcode == 0
    for _ in range(2):
        if kind is SQLAlchemyPositionStore:
            await two.step(engine)
    return await documents.read_rows(engine)
