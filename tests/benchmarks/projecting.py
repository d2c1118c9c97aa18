"""Projections compared with hand-written loops."""

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

from .databases import Databases, Store, install_tables
from .measuring import Row, Side, SideContext
from .persistence import open_later

EVENTS = 5_000
BATCH = 500
CHANNEL = "bench_lag"


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; the floor decodes the same events and commits the same documents.

    It also updates a position in the same transaction.
    """

    def side(open_side: Callable[[str], SideContext], dialect: str) -> SideContext:
        return open_later(lambda: open_side(databases.url(dialect)))

    return [
        Row(
            f"PostgreSQL: project {EVENTS:,} events, {BATCH} a transaction",
            "asyncpg: fetch, validate, executemany of the upsert, UPDATE",
            side(project_events, "postgresql"),
            side(upsert_on_postgres, "postgresql"),
            1 / 0.5,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            f"SQLite: project {EVENTS:,} events, {BATCH} a transaction",
            "aiosqlite: fetch, validate, executemany of the upsert, UPDATE",
            side(project_events, "sqlite"),
            side(upsert_on_sqlite, "sqlite"),
            1 / 0.5,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "PostgreSQL: from an append to its document, 95th percentile",
            "asyncpg: NOTIFY, LISTEN, fetch, upsert, UPDATE",
            side(follow_with_worker, "postgresql"),
            side(follow_by_hand, "postgresql"),
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


def _new_event(number: int) -> StoredEvent:
    event = StockCounted(place=f"shelf {number % 90}", count=number, note="." * 120)
    return StoredEvent(
        event_id=event.event_id,
        event_type=event.event_type,
        aggregate_id=f"article-{number}",
        aggregate_type="Article",
        version=1,
        payload=event.payload(),
    )


def _new_worker(store: Store, **options: Any) -> ProjectionWorker:
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
async def fill_store(url: str, events: int = EVENTS) -> AsyncIterator[Store]:
    async with install_tables(url) as store:
        kept = SQLAlchemyEventStore(store.sessions, tables=store.tables)
        for begin in range(0, events, 1_000):
            numbers = range(begin, min(begin + 1_000, events))
            await kept.append_batch([_new_event(number) for number in numbers])
        await store.analyze()
        views = SQLAlchemyProjectionStore(store.sessions, tables=store.tables)
        await views.ensure_collection(Stock.collection, Stock.fields)
        try:
            yield store
        finally:
            async with SQLAlchemyUnitOfWork(
                session_factory=store.sessions, tables=store.tables
            ) as uow:
                await views.drop_collection(Stock.collection, uow=uow)


async def _reset_projection(store: Store) -> None:
    views = SQLAlchemyProjectionStore(store.sessions, tables=store.tables)
    await views.truncate_collection(Stock.collection)
    async with store.engine.begin() as connection:
        await connection.execute(store.tables.advanced.projections.delete())


@asynccontextmanager
async def project_events(url: str) -> AsyncIterator[Side]:
    async with fill_store(url) as store:

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _reset_projection(store)
                worker = _new_worker(store)
                started = time.perf_counter()
                processed = await worker.drain()
                seconds += time.perf_counter() - started
                assert processed == EVENTS
            return seconds

        yield side


def _build_upsert(store: Store, place: Callable[[int], str]) -> str:
    name = f"{store.tables.prefix}view_{Stock.collection}"
    return (
        f"INSERT INTO {name} (doc_id, doc, place) VALUES ({place(1)}, {place(2)}, {place(3)}) "
        "ON CONFLICT (doc_tenant, doc_id) DO UPDATE SET doc = excluded.doc, place = excluded.place"
    )


def _build_select(store: Store, place: Callable[[int], str]) -> str:
    return (
        "SELECT position, event_id, aggregate_id, aggregate_type, version, payload, occurred_at "
        f"FROM {store.tables.events.name} WHERE position > {place(1)} "
        f"ORDER BY position LIMIT {place(2)}"
    )


def _build_row(row: Any) -> tuple[str, str, str]:
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
async def upsert_on_postgres(url: str) -> AsyncIterator[Side]:
    async with fill_store(url) as store:
        connection = await store.connect()
        positions = f"{store.tables.prefix}bench_position"
        await connection.execute(f"CREATE TABLE {positions} (position bigint)")
        fetch = await connection.prepare(_build_select(store, lambda n: f"${n}"))
        upsert = await connection.prepare(_build_upsert(store, lambda n: f"${n}"))

        async def project_all() -> int:
            position, processed = 0, 0
            while True:
                rows = await fetch.fetch(position, BATCH)
                if not rows:
                    return processed
                async with connection.transaction():
                    await upsert.executemany([_build_row(row) for row in rows])
                    last = rows[-1][0]
                    statement = f"UPDATE {positions} SET position = $1 WHERE position = $2"
                    await connection.execute(statement, last, position)
                position, processed = last, processed + len(rows)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _reset_projection(store)
                await connection.execute(f"DELETE FROM {positions}")
                await connection.execute(f"INSERT INTO {positions} VALUES (0)")
                started = time.perf_counter()
                processed = await project_all()
                seconds += time.perf_counter() - started
                assert processed == EVENTS
            return seconds

        try:
            yield side
        finally:
            await connection.execute(f"DROP TABLE {positions}")
            await connection.close()


@asynccontextmanager
async def upsert_on_sqlite(url: str) -> AsyncIterator[Side]:
    async with (
        fill_store(url) as store,
        aiosqlite.connect(str(store.engine.url.database), isolation_level=None) as connection,
    ):
        await connection.execute("PRAGMA synchronous = FULL")
        await connection.execute("CREATE TABLE bench_position (position INTEGER)")
        select = _build_select(store, lambda n: f"?{n}")
        upsert = _build_upsert(store, lambda n: f"?{n}")

        async def project_all() -> int:
            position, processed = 0, 0
            while True:
                rows = list(await connection.execute_fetchall(select, (position, BATCH)))
                if not rows:
                    return processed
                last = rows[-1][0]
                await connection.execute("BEGIN IMMEDIATE")
                await connection.executemany(upsert, [_build_row(row) for row in rows])
                statement = "UPDATE bench_position SET position = ? WHERE position = ?"
                await connection.execute(statement, (last, position))
                await connection.commit()
                position, processed = last, processed + len(rows)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await _reset_projection(store)
                await connection.execute("DELETE FROM bench_position")
                await connection.execute("INSERT INTO bench_position VALUES (0)")
                started = time.perf_counter()
                processed = await project_all()
                seconds += time.perf_counter() - started
                assert processed == EVENTS
            return seconds

        yield side


def _find_95th_percentile(lags: list[float]) -> float:
    return sorted(lags)[int(len(lags) * 0.95)]


@asynccontextmanager
async def follow_with_worker(url: str) -> AsyncIterator[Side]:
    """Measure our worker, woken by a signal."""
    async with fill_store(url, events=1) as store, PostgresQueueSignal(store.engine) as signal:
        seen: asyncio.Queue[None] = asyncio.Queue()

        async def on_change(collection: str, ids: Any) -> None:
            seen.put_nowait(None)

        async with _new_worker(store, signal=signal, on_change=on_change):
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
                        await uow.event_store.append(_new_event(number))
                        started = time.perf_counter()
                    await seen.get()
                    lags.append(time.perf_counter() - started)
                return _find_95th_percentile(lags) * times

            yield side


@asynccontextmanager
async def follow_by_hand(url: str) -> AsyncIterator[Side]:
    """Measure the same steps by hand, on separate connections."""
    async with fill_store(url, events=1) as store:
        appender, reader, listener = [await store.connect() for _ in range(3)]
        positions = f"{store.tables.prefix}bench_position"
        await reader.execute(f"CREATE TABLE {positions} (position bigint)")
        await reader.execute(f"INSERT INTO {positions} VALUES (1)")
        woken = asyncio.Event()
        await listener.add_listener(CHANNEL, lambda *_: woken.set())
        fetch = await reader.prepare(_build_select(store, lambda n: f"${n}"))
        upsert = await reader.prepare(_build_upsert(store, lambda n: f"${n}"))
        number, position = 10, 1

        async def append() -> float:
            event = _new_event(number)
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
                    await upsert.fetch(*_build_row(row))
                statement = f"UPDATE {positions} SET position = $1 WHERE position = $2"
                await reader.execute(statement, rows[-1][0], position)
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
            return _find_95th_percentile(lags) * times

        try:
            yield side
        finally:
            await reader.execute(f"DROP TABLE {positions}")
            for each in (appender, reader, listener):
                await each.close()
