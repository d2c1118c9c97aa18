"""Event store and unit of work compared with the bare driver on the same tables."""

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

from .databases import Databases, Store, Stream, fill, install_bare_tables, install_tables
from .measuring import Row, Side, SideContext
from .reading import (
    EVENTS,
    PAGE,
    STREAM_EVENTS,
    catch_up,
    fetch_pages,
    fetch_pages_in_sqlite,
    fetch_stream,
    fetch_stream_in_sqlite,
    read_stream,
)

WRITERS = 16
BATCH = 100

_NAMES = ", ".join(COLUMNS)
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(COLUMNS.values(), 1))
_FROM_ARRAYS = ", ".join(
    f"{name}::json" if name in ("payload", "metadata") else name for name in COLUMNS
)


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; an event has 200 bytes of JSON, and the floor gets encoded values."""

    def on_postgres(open_side: Callable[..., SideContext], **options: Any) -> SideContext:
        return open_later(lambda: open_side(databases.url("postgresql"), **options))

    def on_sqlite(open_side: Callable[..., SideContext], **options: Any) -> SideContext:
        return open_later(lambda: open_side(databases.url("sqlite"), **options))

    return [
        Row(
            "PostgreSQL: append an event",
            "asyncpg: BEGIN, INSERT RETURNING, COMMIT",
            on_postgres(append_batches),
            on_postgres(insert_batches),
            1 / 0.45,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append an event, {WRITERS} writers, readers see an order",
            f"asyncpg: {WRITERS} connections, no order",
            on_postgres(append_batches, writers=WRITERS),
            on_postgres(insert_batches, writers=WRITERS),
            1 / 0.4,
            items=WRITERS,
            rounds=20,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append {BATCH} events",
            "asyncpg: BEGIN, INSERT SELECT unnest RETURNING, COMMIT",
            on_postgres(append_batches, batch=BATCH),
            on_postgres(insert_batches, batch=BATCH),
            1 / 0.7,
            items=BATCH,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: read a stream of {STREAM_EVENTS:,}",
            "asyncpg: fetch",
            on_postgres(read_stream),
            on_postgres(fetch_stream),
            1 / 0.4,
            items=STREAM_EVENTS,
            rounds=20,
        ),
        Row(
            f"PostgreSQL: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "asyncpg: fetch of pages",
            on_postgres(catch_up),
            on_postgres(fetch_pages),
            1 / 0.4,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "PostgreSQL: append to a stream of 10,000 among 100,000",
            "the same in an empty store, ours as well",
            on_postgres(append_to_stream, events=100_000),
            on_postgres(append_to_stream),
            1.5,
            seconds=0.1,
        ),
        Row(
            "SQLite: append an event",
            "sqlite3: BEGIN IMMEDIATE, INSERT, COMMIT",
            on_sqlite(append_batches),
            on_sqlite(insert_in_sqlite),
            1 / 0.35,
        ),
        Row(
            f"SQLite: append {BATCH} events",
            "sqlite3: executemany in a transaction",
            on_sqlite(append_batches, batch=BATCH),
            on_sqlite(insert_in_sqlite, batch=BATCH),
            1 / 0.5,
            items=BATCH,
        ),
        Row(
            f"SQLite: read a stream of {STREAM_EVENTS:,}",
            "sqlite3: fetchall",
            on_sqlite(read_stream),
            on_sqlite(fetch_stream_in_sqlite),
            1 / 0.4,
            items=STREAM_EVENTS,
            rounds=20,
        ),
        Row(
            f"SQLite: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "sqlite3: fetchall of pages",
            on_sqlite(catch_up),
            on_sqlite(fetch_pages_in_sqlite),
            1 / 0.4,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            "SQLite: append to a stream of 10,000 among 100,000",
            "the same in an empty store, ours as well",
            on_sqlite(append_to_stream, events=100_000),
            on_sqlite(append_to_stream),
            1.5,
        ),
    ]


@asynccontextmanager
async def open_later(open_side: Callable[[], SideContext]) -> AsyncIterator[Side]:
    """Open a side only when its row is measured, so that other rows start no database."""
    async with open_side() as side:
        yield side


@asynccontextmanager
async def append_batches(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with install_tables(url, connections=max(writers, 5)) as store:

        async def append(batches: list[list[StoredEvent]]) -> None:
            for events in batches:
                async with _new_unit_of_work(store) as uow:
                    await uow.event_store.append_batch(events)

        yield write_batches([append] * writers, lambda stream: stream.events(batch))


@asynccontextmanager
async def insert_batches(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with install_bare_tables(url) as store:
        into = f"INSERT INTO {store.tables.events.name} ({_NAMES})"
        if batch == 1:
            values = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
            statement = f"{into} VALUES ({values}) RETURNING position"
        else:
            given = f"unnest({_ARRAYS}) AS given({_NAMES})"
            statement = f"{into} SELECT {_FROM_ARRAYS} FROM {given} RETURNING position"

        def prepare(stream: Stream) -> Sequence[Any]:
            rows = [to_row(event, "") for event in stream.events(batch)]
            return rows[0] if batch == 1 else [list(column) for column in zip(*rows, strict=True)]

        connections = [await store.connect() for _ in range(writers)]
        try:
            inserts = [await _prepare_insert(connection, statement) for connection in connections]
            yield write_batches(inserts, prepare)
        finally:
            for connection in connections:
                await connection.close()


async def _prepare_insert(
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
async def insert_in_sqlite(url: str, *, batch: int = 1) -> AsyncIterator[Side]:
    async with install_bare_tables(url) as store:
        await store.engine.dispose()
        statement = (
            f"INSERT INTO {store.tables.events.name} ({_NAMES}) "
            f"VALUES ({', '.join('?' * len(COLUMNS))})"
        )
        with closing(store.open_sqlite()) as connection:

            async def insert(batches: list[list[tuple[Any, ...]]]) -> None:
                for values in batches:
                    connection.execute("BEGIN IMMEDIATE")
                    if batch == 1:
                        connection.execute(statement, values[0])
                    else:
                        connection.executemany(statement, values)
                    connection.execute("COMMIT")

            yield write_batches(
                [insert],
                lambda stream: [to_sqlite_row(to_row(event, "")) for event in stream.events(batch)],
            )


def write_batches(
    writers: Sequence[Callable[[list[Any]], Awaitable[None]]], prepare: Callable[[Stream], Any]
) -> Side:
    """Return a side with one stream per writer; batches are prepared before the time starts."""
    streams = [Stream(f"written-{number}") for number in range(len(writers))]

    async def side(times: int) -> float:
        work = [[prepare(stream) for _ in range(times)] for stream in streams]
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
async def append_to_stream(url: str, *, events: int = 0) -> AsyncIterator[Side]:
    async with install_tables(url) as store:
        if events:
            await fill(store, events=events, streams=events // STREAM_EVENTS)
        stream = Stream("stream-0", STREAM_EVENTS if events else 0)
        stream_id = StreamId("Order", stream.name)

        async def append(batches: list[list[StoredEvent]]) -> None:
            for some in batches:
                async with _new_unit_of_work(store) as uow:
                    await uow.event_store.append_to_stream(
                        stream_id, some, expected_version=some[0].version - 1
                    )

        yield write_batches([append], lambda _: stream.events(1))


def _new_unit_of_work(store: Store) -> SQLAlchemyUnitOfWork:
    return SQLAlchemyUnitOfWork(session_factory=store.sessions, tables=store.tables)
