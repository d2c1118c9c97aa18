"""Tests that the page about performance counts the statements that databases really execute."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import (
    ConflictRetryMiddleware,
    EventSourcedRepository,
    ProjectionHandler,
    Projections,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    DomainEvent,
    EventStorePersistenceMiddleware,
    IdempotencyMiddleware,
    LockingMiddleware,
    LoggingMiddleware,
    OutboxMiddleware,
    Query,
    TimeoutMiddleware,
    ValidatorMiddleware,
)
from cqrs_ddd_core.adapters.memory import InMemoryLockStrategy, InMemoryMessageBus
from cqrs_ddd_core.validation import PydanticValidator
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyBackend,
    VersionMixin,
    configure_sqlite,
)
from tests.databases import new_database
from tests.docs.blocks import ROOT
from tests.docs.glossary import without_links
from tests.docs.statement_counts import Counts, count, count_postgres, count_sqlite

PAGE = without_links((ROOT / "docs/guides/performance.md").read_text("utf-8"))
ROWS = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| [^|]+ \|$", PAGE, re.M)
BATCH = [f"m-{number}" for number in range(100)]


class Base(DeclarativeBase):
    pass


class Stamped(DomainEvent):
    pages: int


class Passport(AggregateRoot[str]):
    pages: int = 0

    def apply_Stamped(self, event: Stamped) -> None:
        self.pages += event.pages


class PassportModel(VersionMixin, Base):
    __tablename__ = "passports"

    id: Mapped[str] = mapped_column(primary_key=True)
    pages: Mapped[int]


class Stamp(Command[int]):
    passport_id: str


class CountPages(Query[int]):
    passport_id: str = "p-1"
    times: int = 1


class Pages(ProjectionHandler):
    collection = "pages"

    def apply_Stamped(self, event: Stamped, documents: Any) -> None:
        document = documents.get(event.aggregate_id) or {"pages": 0}
        documents.upsert(event.aggregate_id, {"pages": document["pages"] + event.pages})


def create_application(backend: SQLAlchemyBackend, repository: Any, **options: Any) -> Application:
    app = Application(backend, **{"middlewares": [], **options})

    @app.command_handler
    async def stamp(command: Stamp) -> int:
        passport = await repository.get(command.passport_id) or Passport(id=command.passport_id)
        passport.add_event(Stamped(pages=1))
        await repository.add(passport)
        return int(passport.pages)

    @app.query_handler
    async def count_pages(query: CountPages) -> int:
        return sum([(await repository.get(query.passport_id)).pages for _ in range(query.times)])

    return app


async def measure(backend: SQLAlchemyBackend, counts: Counts) -> Mapping[str, tuple[int, int]]:
    """Return the statements and round trips of each row of the page, by its first column."""
    rows = backend.repository(Passport, PassportModel)
    streams = EventSourcedRepository[Passport, str](Passport)

    async def send(repository: Any, stamped: str = "p-1", **options: Any) -> tuple[int, int]:
        app = create_application(backend, repository, **options)
        async with app.open(services=False):
            return await count(counts, lambda: app.send(Stamp(passport_id=stamped)))

    async def ask(query: CountPages) -> tuple[int, int]:
        app = create_application(backend, rows)
        async with app.open(services=False):
            return await count(counts, lambda: app.query(query))

    async def add(*middlewares: Any, **options: Any) -> tuple[int, int]:
        total = await send(rows, middlewares=list(middlewares), **options)
        return total[0] - base[0], total[1] - base[1]

    async def call(repository_call: Any) -> tuple[int, int]:
        async def work(times: int) -> None:
            async with backend.unit_of_work() as uow:
                for _ in range(times):
                    await repository_call(uow)

        once, twice = [await count(counts, partial(work, times)) for times in (1, 2)]
        return twice[0] - once[0], twice[1] - once[1]

    base = await send(rows)
    new = iter(range(1_000_000))
    inline = await send(
        rows,
        middlewares=[EventStorePersistenceMiddleware()],
        services=[Projections([], inline=[Pages()])],
    )
    appended = await add(EventStorePersistenceMiddleware())
    await _fill(rows, backend)
    return {
        "an aggregate in a row": base,
        "an event-sourced aggregate": await send(streams, "p-2"),
        "a query with one `get`": await ask(CountPages()),
        "a query with three `get`": await ask(CountPages(times=3)),
        "`standard_middlewares()` and `publisher=`": await send(
            rows, middlewares=None, publisher=InMemoryMessageBus()
        ),
        "`LoggingMiddleware`, `ConflictRetryMiddleware`, `TimeoutMiddleware`": await add(
            LoggingMiddleware(), ConflictRetryMiddleware(), TimeoutMiddleware(60.0)
        ),
        "`ValidatorMiddleware`, `LockingMiddleware`": await add(
            ValidatorMiddleware(PydanticValidator(_Anything)),
            LockingMiddleware(InMemoryLockStrategy()),
        ),
        "`IdempotencyMiddleware`": await add(IdempotencyMiddleware()),
        "`EventStorePersistenceMiddleware`": appended,
        "`OutboxMiddleware`": await add(OutboxMiddleware(backend.signal)),
        "`InlineProjectionMiddleware`, one projection": (
            inline[0] - base[0] - appended[0],
            inline[1] - base[1] - appended[1],
        ),
        "`get`": await call(lambda uow: rows.get("m-1", uow)),
        "`list_all` of 100 ids": await call(lambda uow: rows.list_all(BATCH, uow)),
        "`add` of a new aggregate": await call(
            lambda uow: rows.add(Passport(id=f"n-{next(new)}"), uow)
        ),
        "`add_many` of 100 new aggregates": await call(
            lambda uow: rows.add_many([Passport(id=f"n-{next(new)}") for _ in BATCH], uow)
        ),
    }


class _Anything(pydantic.BaseModel):
    pass


async def _fill(rows: Any, backend: SQLAlchemyBackend) -> None:
    async with backend.unit_of_work() as uow:
        await rows.add_many([Passport(id=each) for each in BATCH], uow)


def read_column(column: int) -> dict[str, int]:
    return {row[0]: int(row[column]) for row in ROWS}


async def test_page_counts_statements_on_sqlite(tmp_path: Path) -> None:
    engine = configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/count.db"))
    counts = count_sqlite(engine)
    backend = SQLAlchemyBackend(engine, create_schema=True)
    try:
        measured = await measure(backend, counts)
    finally:
        await engine.dispose()

    assert {name: found[0] for name, found in measured.items()} == read_column(1)


async def test_page_counts_statements_on_postgresql(postgres_url: str) -> None:
    async with count_postgres(await _create_database(postgres_url)) as (url, counts):
        backend = SQLAlchemyBackend(url, create_schema=True)
        try:
            measured = await measure(backend, counts)
        finally:
            await backend.close()

    assert {name: found[0] for name, found in measured.items()} == read_column(2)
    assert all(statements == round_trips for statements, round_trips in measured.values())


async def _create_database(postgres_url: str) -> str:
    return await asyncio.to_thread(new_database, postgres_url)
