"""The memory that a worker needs at its worst, to take a projection to the end of the events.

``python -m tests.projection_memory URL SCHEMA [KEPT]`` does it in an interpreter of its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sqlalchemy import Column, column, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.projections import ProjectionDocuments, ProjectionHandler
from cqrs_ddd_core import StoredEvent
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore
from tests.advanced.till_domain import ItemSold, new_till, till_events, to_stored
from tests.faults.crashing import Place
from tests.faults.selling import create_environment
from tests.peak_memory import peak_memory

ROOT = Path(__file__).parents[1]
BATCH = 500
SALES = 10
"""Of each till: ten times as many events are ten times as many documents."""
MAY_GROW = 6 * 2**20
"""The page cache of SQLite, 2 MB, and what the allocator leaves unused. That is 1 to 3 MiB; who
keeps 18,000 events needs more than 15."""


class Takings(ProjectionHandler):
    """One small document a till."""

    collection = "takings"
    fields: ClassVar = {"cents": int}
    event_registry = till_events

    def apply_ItemSold(self, event: ItemSold, documents: ProjectionDocuments) -> None:
        taken = documents.get(str(event.aggregate_id)) or {"cents": 0}
        documents.upsert(str(event.aggregate_id), {"cents": taken["cents"] + event.cents})


class Keeps(SQLAlchemyEventStore):
    """Naive: what was read is there to the end."""

    kept: ClassVar[list[StoredEvent]] = []

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        found = await super().get_events_after(position, limit)
        self.kept.extend(found)
        return found


@dataclass(frozen=True)
class Peaks:
    """In bytes: for few events, and for many."""

    few: int
    many: int

    @property
    def growth(self) -> int:
        return self.many - self.few

    def __str__(self) -> str:
        few, many, growth = (
            f"{size / 2**20:.1f} MiB" for size in (self.few, self.many, self.growth)
        )
        return f"at most {few}, and {many} for more events: {growth} more"


async def peaks(place: Place, events: Sequence[int], *, is_naive: bool = False) -> Peaks:
    """A worker for the first events, and one that begins anew with all of them."""
    found: list[int] = []
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        for number in events:
            await _fill(place, engine, number)
            async with engine.begin() as connection:
                await connection.execute(place.tables.advanced.projections.delete())
            async with environment.uow_factory() as uow:
                await environment.store.drop_collection(Takings.collection, uow=uow)
            found.append(await asyncio.to_thread(_peak_of, place, is_naive))
            (reached,) = await environment.positions.list_positions([Takings.collection])
            assert reached.position == await environment.events.latest_position()
    return Peaks(*found)


async def _fill(place: Place, engine: AsyncEngine, number: int) -> None:
    """Copies of one event, in the database: a store would take longer than the worker."""
    table = place.tables.events
    store = SQLAlchemyEventStore(async_sessionmaker(engine), tables=place.tables)
    if not await store.latest_position():
        await store.append_batch(to_stored(new_till(), [ItemSold(cents=5)]))
    there = await store.latest_position()
    others = {
        "event_id": "'copy-' || n",
        "aggregate_id": f"'till of copies ' || (n / {SALES})",
        "version": f"n % {SALES} + 1",
    }
    columns = [each for each in table.c if each is not table.c.position]
    values = [others.get(each.name, f"first.{_quoted(engine, each)}") for each in columns]
    name = engine.dialect.identifier_preparer.format_table(table)
    statement = (
        f"INSERT INTO {name} ({', '.join(_quoted(engine, each) for each in columns)}) "
        f"WITH RECURSIVE numbers(n) AS (SELECT {there + SALES} UNION ALL "
        f"SELECT n + 1 FROM numbers WHERE n < {number + SALES - 1}) "
        f"SELECT {', '.join(values)} FROM numbers, {name} AS first WHERE first.position = 1 "
        "ORDER BY n"
    )
    async with engine.begin() as connection:
        await connection.execute(text(statement))


def _quoted(engine: AsyncEngine, each: Column[object]) -> str:
    return engine.dialect.identifier_preparer.format_column(column(each.name))


def _peak_of(place: Place, is_naive: bool) -> int:
    kept = ["kept"] if is_naive else []
    path = os.pathsep.join(str(each) for each in (ROOT, ROOT / "docs/examples"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.projection_memory", place.url, place.schema or "", *kept],
        cwd=place.folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


async def _project(url: str, schema: str, *kept: str) -> None:
    place = Place(url, schema or None, Path())
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        if kept:
            environment.events = Keeps(async_sessionmaker(engine), tables=place.tables)
        await environment.worker(Takings(), batch=BATCH).drain()
    print(peak_memory())  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_project(*sys.argv[1:]))
