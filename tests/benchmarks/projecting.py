"""Projections beside loops written by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import aiosqlite
from pydantic_core import from_json, to_json

from cqrs_ddd_advanced_core.projections import (
    ProjectionDocuments,
    ProjectionHandler,
    ProjectionWorker,
)
from cqrs_ddd_core import DomainEvent, EventTypeRegistry, StoredEvent
from cqrs_ddd_persistence_sqlalchemy import (
    PostgresQueueSignal,
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)

from .databases import Databases, Store, installed
from .measuring import Opening, Row, Side
from .persistence import late

EVENTS = 5_000
BATCH = 500
CHANNEL = "bench_lag"


def rows(databases: Databases) -> list[Row]:
    """The floor decodes the same events, and commits the same documents with its position."""

    def side(opening: Callable[[str], Opening], dialect: str) -> Opening:
        return late(lambda: opening(databases.url(dialect)))

    return [
        Row(
            f"PostgreSQL: project {EVENTS:,} events, {BATCH} a transaction",
            "asyncpg: fetch, validate, executemany of the upsert, UPDATE",
            side(projecting, "postgresql"),
            side(upserting_on_postgres, "postgresql"),
            1 / 0.5,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            f"SQLite: project {EVENTS:,} events, {BATCH} a transaction",
            "aiosqlite: fetch, validate, executemany of the upsert, UPDATE",
            side(projecting, "sqlite"),
            side(upserting_on_sqlite, "sqlite"),
            1 / 0.5,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "PostgreSQL: from an append to its view, of 100 the 95th",
            "asyncpg: NOTIFY, LISTEN, fetch, upsert, UPDATE",
            side(following, "postgresql"),
            side(listening, "postgresql"),
            3.0,
            rounds=10,
            seconds=1.0,
        ),
    ]


bench_events = EventTypeRegistry()


@bench_events.register
class StockCounted(DomainEvent):
    place: str
    count: int
    note: str


class Stock(ProjectionHandler):
    collection = "stock"
    fields: ClassVar = {"place": str}
    event_registry = bench_events

    def apply_StockCounted(self, event: StockCounted, documents: ProjectionDocuments) -> None:
        document = {"place": event.place, "count": event.count, "note": event.note}
        documents.upsert(str(event.aggregate_id), document)


def _counted(number: int) -> StoredEvent:
    event = StockCounted(place=f"shelf {number % 90}", count=number, note="." * 120)
    return StoredEvent(
        event_id=event.event_id,
        event_type=event.event_type,
        aggregate_id=f"article-{number}",
        aggregate_type="Article",
        version=1,
        payload=event.payload(),
    )


def _worker(store: Store, **options: Any) -> ProjectionWorker:
    return ProjectionWorker(
        [Stock()],
        events=SQLAlchemyEventStore(store.sessions, tables=store.tables),
        positions=SQLAlchemyPositionStore(store.sessions, tables=store.tables),
        dead_letters=SQLAlchemyDeadLetterStore(store.sessions, tables=store.tables),
        uow_factory=lambda: SQLAlchemyUnitOfWork(
            session_factory=store.sessions, tables=store.tables
        ),
        batch=BATCH,
        **options,
    )


@asynccontextmanager
async def filled(url: str, events: int = EVENTS) -> AsyncIterator[Store]:
    async with installed(url) as store:
        kept = SQLAlchemyEventStore(store.sessions, tables=store.tables)
        for begin in range(0, events, 1_000):
            numbers = range(begin, min(begin + 1_000, events))
            await kept.append_batch([_counted(number) for number in numbers])
        await store.tidy()
        views = SQLAlchemyProjectionStore(store.sessions, tables=store.tables)
        await views.ensure_collection(Stock.collection, Stock.fields)
        try:
            yield store
        finally:
            async with SQLAlchemyUnitOfWork(
                session_factory=store.sessions, tables=store.tables
            ) as uow:
                await views.drop_collection(Stock.collection, uow=uow)


async def _emptied(store: Store) -> None:
    views = SQLAlchemyProjectionStore(store.sessions, tables=store.tables)
    await views.truncate_collection(Stock.collection)
    async with store.engine.begin() as connection:
        await connection.execute(store.tables.advanced.projections.delete())


@asynccontextmanager
async def projecting(url: str) -> AsyncIterator[Side]:
    async with filled(url) as store:

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _emptied(store)
                worker = _worker(store)
                started = time.perf_counter()
                taken = await worker.drain()
                seconds += time.perf_counter() - started
                assert taken == EVENTS
            return seconds

        yield side


def _upsert(store: Store, place: Callable[[int], str]) -> str:
    name = f"{store.tables.prefix}view_{Stock.collection}"
    return (
        f"INSERT INTO {name} (doc_id, doc, place) VALUES ({place(1)}, {place(2)}, {place(3)}) "
        "ON CONFLICT (doc_id) DO UPDATE SET doc = excluded.doc, place = excluded.place"
    )


def _select(store: Store, place: Callable[[int], str]) -> str:
    return (
        "SELECT position, event_id, aggregate_id, aggregate_type, version, payload, occurred_at "
        f"FROM {store.tables.events.name} WHERE position > {place(1)} "
        f"ORDER BY position LIMIT {place(2)}"
    )


def _document(row: Any) -> tuple[str, str, str]:
    event = StockCounted.model_validate(
        {
            **from_json(row[5]),
            "event_id": row[1],
            "aggregate_id": row[2],
            "aggregate_type": row[3],
            "aggregate_version": row[4],
            "occurred_at": row[6],
        }
    )
    document = {"place": event.place, "count": event.count, "note": event.note}
    return str(event.aggregate_id), to_json(document).decode(), event.place


@asynccontextmanager
async def upserting_on_postgres(url: str) -> AsyncIterator[Side]:
    async with filled(url) as store:
        connection = await store.connect()
        positions = f"{store.tables.prefix}bench_position"
        await connection.execute(f"CREATE TABLE {positions} (position bigint)")
        fetch = await connection.prepare(_select(store, lambda n: f"${n}"))
        upsert = await connection.prepare(_upsert(store, lambda n: f"${n}"))

        async def loop() -> int:
            position, taken = 0, 0
            while True:
                rows = await fetch.fetch(position, BATCH)
                if not rows:
                    return taken
                async with connection.transaction():
                    await upsert.executemany([_document(row) for row in rows])
                    last = rows[-1][0]
                    moved = f"UPDATE {positions} SET position = $1 WHERE position = $2"
                    await connection.execute(moved, last, position)
                position, taken = last, taken + len(rows)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _emptied(store)
                await connection.execute(f"DELETE FROM {positions}")
                await connection.execute(f"INSERT INTO {positions} VALUES (0)")
                started = time.perf_counter()
                taken = await loop()
                seconds += time.perf_counter() - started
                assert taken == EVENTS
            return seconds

        try:
            yield side
        finally:
            await connection.execute(f"DROP TABLE {positions}")
            await connection.close()


@asynccontextmanager
async def upserting_on_sqlite(url: str) -> AsyncIterator[Side]:
    async with (
        filled(url) as store,
        aiosqlite.connect(str(store.engine.url.database), isolation_level=None) as connection,
    ):
        await connection.execute("PRAGMA synchronous = FULL")
        await connection.execute("CREATE TABLE bench_position (position INTEGER)")
        select = _select(store, lambda n: f"?{n}")
        upsert = _upsert(store, lambda n: f"?{n}")

        async def loop() -> int:
            position, taken = 0, 0
            while True:
                rows = list(await connection.execute_fetchall(select, (position, BATCH)))
                if not rows:
                    return taken
                last = rows[-1][0]
                await connection.execute("BEGIN IMMEDIATE")
                await connection.executemany(upsert, [_document(row) for row in rows])
                moved = "UPDATE bench_position SET position = ? WHERE position = ?"
                await connection.execute(moved, (last, position))
                await connection.commit()
                position, taken = last, taken + len(rows)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _emptied(store)
                await connection.execute("DELETE FROM bench_position")
                await connection.execute("INSERT INTO bench_position VALUES (0)")
                started = time.perf_counter()
                taken = await loop()
                seconds += time.perf_counter() - started
                assert taken == EVENTS
            return seconds

        yield side


def _p95(lags: list[float]) -> float:
    return sorted(lags)[int(len(lags) * 0.95)]


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Side]:
    """Our worker, woken by a signal."""
    async with filled(url, events=1) as store, PostgresQueueSignal(store.engine) as signal:
        seen: asyncio.Queue[None] = asyncio.Queue()

        async def on_change(collection: str, ids: Any) -> None:
            seen.put_nowait(None)

        async with _worker(store, signal=signal, on_change=on_change):
            await seen.get()
            number = 10

            async def side(times: int) -> float:
                nonlocal number
                lags = []
                for _ in range(100):
                    number += 1
                    uow = SQLAlchemyUnitOfWork(
                        session_factory=store.sessions, tables=store.tables, signal=signal
                    )
                    async with uow:
                        await uow.event_store.append(_counted(number))
                        started = time.perf_counter()
                    await seen.get()
                    lags.append(time.perf_counter() - started)
                return _p95(lags) * times

            yield side


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Side]:
    """The same by hand, on connections of its own."""
    async with filled(url, events=1) as store:
        appender, reader, listener = [await store.connect() for _ in range(3)]
        positions = f"{store.tables.prefix}bench_position"
        await reader.execute(f"CREATE TABLE {positions} (position bigint)")
        await reader.execute(f"INSERT INTO {positions} VALUES (1)")
        woken = asyncio.Event()
        await listener.add_listener(CHANNEL, lambda *_: woken.set())
        fetch = await reader.prepare(_select(store, lambda n: f"${n}"))
        upsert = await reader.prepare(_upsert(store, lambda n: f"${n}"))
        number, position = 10, 1

        async def append() -> float:
            event = _counted(number)
            async with appender.transaction():
                await appender.execute(
                    f"INSERT INTO {store.tables.events.name} (event_id, event_type, aggregate_id, "
                    "aggregate_type, version, schema_version, payload, metadata, occurred_at) "
                    "VALUES ($1, $2, $3, $4, $5, 1, $6, '{}', $7)",
                    *(event.event_id, event.event_type, event.aggregate_id, event.aggregate_type),
                    *(event.version, to_json(event.payload).decode(), event.occurred_at),
                )
                await appender.execute(f"NOTIFY {CHANNEL}")
                return time.perf_counter()

        async def project() -> None:
            nonlocal position
            rows = await fetch.fetch(position, BATCH)
            async with reader.transaction():
                for row in rows:
                    await upsert.fetch(*_document(row))
                moved = f"UPDATE {positions} SET position = $1 WHERE position = $2"
                await reader.execute(moved, rows[-1][0], position)
            position = rows[-1][0]

        async def side(times: int) -> float:
            nonlocal number
            lags = []
            for _ in range(100):
                number += 1
                woken.clear()
                started = await append()
                await woken.wait()
                await project()
                lags.append(time.perf_counter() - started)
            return _p95(lags) * times

        try:
            yield side
        finally:
            await reader.execute(f"DROP TABLE {positions}")
            for each in (appender, reader, listener):
                await each.close()
