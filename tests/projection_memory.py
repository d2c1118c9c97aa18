"""Peak memory of a projection worker that processes all events.

``python -m tests.projection_memory URL SCHEMA [KEPT]`` runs the worker and prints the peak.
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
"""Sales of each till; ten times as many events are ten times as many documents."""
MAX_GROWTH = 6 * 2**20
"""Bytes; the page cache of SQLite with 2 MB, and memory that the allocator leaves unused. They
need 1 to 3 MiB; a worker that keeps 18,000 events needs more than 15 MiB."""


class Takings(ProjectionHandler):
    """Projection with one small document a till."""

    collection = "takings"
    fields: ClassVar = {"cents": int}
    event_registry = till_events

    def apply_ItemSold(self, event: ItemSold, documents: ProjectionDocuments) -> None:
        taken = documents.get(str(event.aggregate_id)) or {"cents": 0}
        documents.upsert(str(event.aggregate_id), {"cents": taken["cents"] + event.cents})


class KeepingEventStore(SQLAlchemyEventStore):
    """Wrong event store that keeps every event it read."""

    kept: ClassVar[list[StoredEvent]] = []

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        found = await super().get_events_after(position, limit)
        self.kept.extend(found)
        return found


@dataclass(frozen=True)
class Peaks:
    """Peaks in bytes, for few events and for many."""

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


async def measure_peaks(place: Place, events: Sequence[int], *, is_naive: bool = False) -> Peaks:
    """Measure a worker for each number of events, which always starts at position 0."""
    found: list[int] = []
    async with place.engine() as engine:
        environment = create_environment(place, engine)
        for number in events:
            await _fill(place, engine, number)
            async with engine.begin() as connection:
                await connection.execute(place.tables.advanced.projections.delete())
            async with environment.uow_factory() as uow:
                await environment.store.drop_collection(Takings.collection, uow=uow)
            found.append(await asyncio.to_thread(_measure_peak, place, is_naive))
            (reached,) = await environment.positions.list_positions([Takings.collection])
            assert reached.position == await environment.events.latest_position()
    return Peaks(*found)


async def _fill(place: Place, engine: AsyncEngine, number: int) -> None:
    """Copy one event in the database, as appending would take longer than the worker."""
    table = place.tables.events
    store = SQLAlchemyEventStore(async_sessionmaker(engine), tables=place.tables)
    if not await store.latest_position():
        await store.append_batch(to_stored(new_till(), [ItemSold(cents=5)]))
    last = await store.latest_position()
    others = {
        "event_id": "'copy-' || n",
        "aggregate_id": f"'till of copies ' || (n / {SALES})",
        "version": f"n % {SALES} + 1",
    }
    columns = [each for each in table.c if each is not table.c.position]
    values = [others.get(each.name, f"first.{_quote(engine, each)}") for each in columns]
    name = engine.dialect.identifier_preparer.format_table(table)
    statement = (
        f"INSERT INTO {name} ({', '.join(_quote(engine, each) for each in columns)}) "
        f"WITH RECURSIVE numbers(n) AS (SELECT {last + SALES} UNION ALL "
        f"SELECT n + 1 FROM numbers WHERE n < {number + SALES - 1}) "
        f"SELECT {', '.join(values)} FROM numbers, {name} AS first WHERE first.position = 1 "
        "ORDER BY n"
    )
    async with engine.begin() as connection:
        await connection.execute(text(statement))


def _quote(engine: AsyncEngine, each: Column[object]) -> str:
    return engine.dialect.identifier_preparer.format_column(column(each.name))


def _measure_peak(place: Place, is_naive: bool) -> int:
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
            environment.events = KeepingEventStore(async_sessionmaker(engine), tables=place.tables)
        await environment.worker(Takings(), batch=BATCH).drain()
    print(peak_memory())  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_project(*sys.argv[1:]))
