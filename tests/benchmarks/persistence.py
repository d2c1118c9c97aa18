"""The event store and its unit of work beside the bare driver on the same tables."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg

from cqrs_ddd_core import StoredEvent
from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.event_store.event_rows import COLUMNS, to_row, to_sqlite_row

from .databases import Databases, Store, Stream, bare, fill, installed
from .measuring import Opening, Row, Side
from .reading import (
    EVENTS,
    OF_A_STREAM,
    PAGE,
    catching_up,
    fetching_a_stream,
    fetching_a_stream_in_sqlite,
    fetching_pages,
    fetching_pages_in_sqlite,
    reading_a_stream,
)

WRITERS = 16
BATCH = 100

_NAMES = ", ".join(COLUMNS)
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(COLUMNS.values(), 1))
_FROM_ARRAYS = ", ".join(
    f"{name}::json" if name in ("payload", "metadata") else name for name in COLUMNS
)


def rows(databases: Databases) -> list[Row]:
    """An event has 200 bytes of JSON. The floor gets values that are ready, JSON and all."""

    def postgres(opening: Callable[..., Opening], **options: Any) -> Opening:
        return late(lambda: opening(databases.url("postgresql"), **options))

    def sqlite(opening: Callable[..., Opening], **options: Any) -> Opening:
        return late(lambda: opening(databases.url("sqlite"), **options))

    return [
        Row(
            "PostgreSQL: append an event",
            "asyncpg: BEGIN, INSERT RETURNING, COMMIT",
            postgres(appending),
            postgres(inserting),
            1 / 0.45,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append an event, {WRITERS} writers, readers see an order",
            f"asyncpg: {WRITERS} connections, no order",
            postgres(appending, writers=WRITERS),
            postgres(inserting, writers=WRITERS),
            1 / 0.4,
            items=WRITERS,
            rounds=20,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append {BATCH} events",
            "asyncpg: BEGIN, INSERT SELECT unnest RETURNING, COMMIT",
            postgres(appending, batch=BATCH),
            postgres(inserting, batch=BATCH),
            1 / 0.7,
            items=BATCH,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: read a stream of {OF_A_STREAM:,}",
            "asyncpg: fetch",
            postgres(reading_a_stream),
            postgres(fetching_a_stream),
            1 / 0.4,
            items=OF_A_STREAM,
            rounds=20,
        ),
        Row(
            f"PostgreSQL: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "asyncpg: fetch of pages",
            postgres(catching_up),
            postgres(fetching_pages),
            1 / 0.4,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "PostgreSQL: append to a stream of 10,000 among 100,000",
            "the same in an empty store, ours as well",
            postgres(appending_to_a_stream, events=100_000),
            postgres(appending_to_a_stream),
            1.5,
            seconds=0.1,
        ),
        Row(
            "SQLite: append an event",
            "sqlite3: BEGIN IMMEDIATE, INSERT, COMMIT",
            sqlite(appending),
            sqlite(inserting_in_sqlite),
            1 / 0.35,
        ),
        Row(
            f"SQLite: append {BATCH} events",
            "sqlite3: executemany in a transaction",
            sqlite(appending, batch=BATCH),
            sqlite(inserting_in_sqlite, batch=BATCH),
            1 / 0.5,
            items=BATCH,
        ),
        Row(
            f"SQLite: read a stream of {OF_A_STREAM:,}",
            "sqlite3: fetchall",
            sqlite(reading_a_stream),
            sqlite(fetching_a_stream_in_sqlite),
            1 / 0.4,
            items=OF_A_STREAM,
            rounds=20,
        ),
        Row(
            f"SQLite: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "sqlite3: fetchall of pages",
            sqlite(catching_up),
            sqlite(fetching_pages_in_sqlite),
            1 / 0.4,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "SQLite: append to a stream of 10,000 among 100,000",
            "the same in an empty store, ours as well",
            sqlite(appending_to_a_stream, events=100_000),
            sqlite(appending_to_a_stream),
            1.5,
        ),
    ]


@asynccontextmanager
async def late(opening: Callable[[], Opening]) -> AsyncIterator[Side]:
    """No database is started for a row that nobody measures."""
    async with opening() as side:
        yield side


@asynccontextmanager
async def appending(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with installed(url, connections=max(writers, 5)) as store:

        async def append(batches: list[list[StoredEvent]]) -> None:
            for events in batches:
                async with _unit_of_work(store) as uow:
                    await uow.event_store.append_batch(events)

        yield writing([append] * writers, lambda stream: stream.events(batch))


@asynccontextmanager
async def inserting(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with bare(url) as store:
        into = f"INSERT INTO {store.tables.events.name} ({_NAMES})"
        if batch == 1:
            values = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
            statement = f"{into} VALUES ({values}) RETURNING position"
        else:
            given = f"unnest({_ARRAYS}) AS given({_NAMES})"
            statement = f"{into} SELECT {_FROM_ARRAYS} FROM {given} RETURNING position"

        def ready(stream: Stream) -> Sequence[Any]:
            rows = [to_row(event) for event in stream.events(batch)]
            return rows[0] if batch == 1 else [list(column) for column in zip(*rows, strict=True)]

        connections = [await store.connect() for _ in range(writers)]
        try:
            inserts = [await _inserting_on(connection, statement) for connection in connections]
            yield writing(inserts, ready)
        finally:
            for connection in connections:
                await connection.close()


async def _inserting_on(
    connection: asyncpg.Connection, statement: str
) -> Callable[[list[Sequence[Any]]], Awaitable[None]]:
    prepared = await connection.prepare(statement)

    async def insert(batches: list[Sequence[Any]]) -> None:
        for values in batches:
            await connection.execute("BEGIN")
            await prepared.fetch(*values)
            await connection.execute("COMMIT")

    return insert


@asynccontextmanager
async def inserting_in_sqlite(url: str, *, batch: int = 1) -> AsyncIterator[Side]:
    async with bare(url) as store:
        await store.engine.dispose()
        statement = (
            f"INSERT INTO {store.tables.events.name} ({_NAMES}) "
            f"VALUES ({', '.join('?' * len(COLUMNS))})"
        )
        with closing(store.open()) as connection:

            async def insert(batches: list[list[tuple[Any, ...]]]) -> None:
                for values in batches:
                    connection.execute("BEGIN IMMEDIATE")
                    if batch == 1:
                        connection.execute(statement, values[0])
                    else:
                        connection.executemany(statement, values)
                    connection.execute("COMMIT")

            yield writing(
                [insert],
                lambda stream: [to_sqlite_row(to_row(event)) for event in stream.events(batch)],
            )


def writing(
    writers: Sequence[Callable[[list[Any]], Awaitable[None]]], ready: Callable[[Stream], Any]
) -> Side:
    """Each writer has a stream of its own; what it writes is ready when the time starts."""
    streams = [Stream(f"written-{number}") for number in range(len(writers))]

    async def side(times: int) -> float:
        work = [[ready(stream) for _ in range(times)] for stream in streams]
        started = time.perf_counter()
        if len(writers) == 1:
            await writers[0](work[0])
        else:
            await asyncio.gather(
                *(write(batches) for write, batches in zip(writers, work, strict=True))
            )
        return time.perf_counter() - started

    return side


@asynccontextmanager
async def appending_to_a_stream(url: str, *, events: int = 0) -> AsyncIterator[Side]:
    async with installed(url) as store:
        if events:
            await fill(store, events=events, streams=events // OF_A_STREAM)
        stream = Stream("stream-0", OF_A_STREAM if events else 0)
        stream_id = StreamId("Order", stream.name)

        async def append(batches: list[list[StoredEvent]]) -> None:
            for some in batches:
                async with _unit_of_work(store) as uow:
                    await uow.event_store.append_to_stream(
                        stream_id, some, expected_version=some[0].version - 1
                    )

        yield writing([append], lambda _: stream.events(1))


def _unit_of_work(store: Store) -> SQLAlchemyUnitOfWork:
    return SQLAlchemyUnitOfWork(session_factory=store.sessions, tables=store.tables)
