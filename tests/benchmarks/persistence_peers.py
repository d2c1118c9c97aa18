"""The event store and the relay beside other libraries, on one durable PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from eventsourcing.persistence import StoredEvent  # type: ignore[import-not-found]
from eventsourcing.postgres import PostgresFactory  # type: ignore[import-not-found]
from eventsourcing.utils import Environment  # type: ignore[import-not-found]
from pgqueuer import PgQueuer  # type: ignore[import-not-found]
from pgqueuer.db import AsyncpgDriver  # type: ignore[import-not-found]
from pgqueuer.models import Job  # type: ignore[import-not-found]
from pgqueuer.queries import Queries  # type: ignore[import-not-found]
from pgqueuer.types import QueueExecutionMode  # type: ignore[import-not-found]
from pydantic_core import to_json
from sqlalchemy import make_url

from .databases import PAYLOAD, Databases
from .measuring import Opening, Row, Side
from .persistence import BATCH, WRITERS, appending, late, writing
from .reading import EVENTS, OF_A_STREAM, PAGE, catching_up, paging, reading_a_stream
from .relays import BATCH as BATCH_OF_THE_RELAY
from .relays import KEYS, MANY_MESSAGES, relaying

STATE = to_json(PAYLOAD)

_schemas = count(1)


def rows(databases: Databases) -> list[Row]:
    """eventsourcing in its default mode, which locks the table and so keeps an order as we do.

    Its writers are threads. Both get events that are made; ours still writes their JSON, the peer
    gets the bytes. Its rows have no id, no time and no further index.
    """

    def ours(opening: Callable[..., Opening], **options: Any) -> Opening:
        return late(lambda: opening(databases.url("postgresql"), **options))

    def peer(opening: Callable[..., Opening], **options: Any) -> Opening:
        return late(lambda: opening(databases.postgres, **options))

    return [
        Row(
            "PostgreSQL: append an event",
            "eventsourcing",
            ours(appending),
            peer(recording),
            1 / 1.3,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append an event, {WRITERS} writers",
            f"eventsourcing, {WRITERS} threads",
            ours(appending, writers=WRITERS),
            peer(recording, writers=WRITERS),
            1 / 1.3,
            items=WRITERS,
            rounds=20,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append {BATCH} events",
            "eventsourcing",
            ours(appending, batch=BATCH),
            peer(recording, batch=BATCH),
            1 / 1.3,
            items=BATCH,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: read a stream of {OF_A_STREAM:,}",
            "eventsourcing",
            ours(reading_a_stream),
            peer(selecting_a_stream),
            1 / 2,
            items=OF_A_STREAM,
            rounds=15,
        ),
        Row(
            f"PostgreSQL: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "eventsourcing, select_notifications",
            ours(catching_up),
            peer(selecting_pages),
            1 / 2,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: relay {MANY_MESSAGES:,} messages of {KEYS} keys, in order",
            f"pgqueuer, batch {BATCH_OF_THE_RELAY}, no order",
            relaying(databases, KEYS, messages=MANY_MESSAGES),
            peer(running_jobs),
            1 / 2,
            items=MANY_MESSAGES,
            rounds=6,
        ),
    ]


@asynccontextmanager
async def recording(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with _recorder(url, connections=writers) as recorder:
        loop = asyncio.get_running_loop()
        ids = {f"written-{number}": uuid4() for number in range(writers)}
        versions = {name: count(1) for name in ids}
        with ThreadPoolExecutor(writers) as threads:

            def record(batches: list[Any]) -> None:
                for events in batches:
                    recorder.insert_events(events)

            async def in_a_thread(batches: list[Any]) -> None:
                await loop.run_in_executor(threads, record, batches)

            async def here(batches: list[Any]) -> None:
                record(batches)

            yield writing(
                [here if writers == 1 else in_a_thread] * writers,
                lambda stream: _events(ids[stream.name], versions[stream.name], batch),
            )


@asynccontextmanager
async def selecting_a_stream(url: str) -> AsyncIterator[Side]:
    async with _recorder(url) as recorder:
        first = (await _fill(url, recorder))[0]

        async def select(times: int) -> None:
            for _ in range(times):
                assert len(recorder.select_events(first)) == OF_A_STREAM

        yield select


@asynccontextmanager
async def selecting_pages(url: str) -> AsyncIterator[Side]:
    async with _recorder(url) as recorder:
        await _fill(url, recorder)

        async def page(after: int) -> tuple[int, int]:
            found = recorder.select_notifications(after, PAGE, inclusive_of_start=False)
            return len(found), found[-1].id if found else after

        yield paging(page)


@asynccontextmanager
async def running_jobs(url: str) -> AsyncIterator[Side]:
    """Jobs in the queue are run until it is empty, as its drain mode does."""
    async with new_schema(url) as schema:
        connection = await asyncpg.connect(url, server_settings={"search_path": schema})
        try:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()

            async def side(times: int) -> float:
                seconds = 0.0
                for _ in range(times):
                    await connection.execute("TRUNCATE pgqueuer, pgqueuer_log")
                    await queries.enqueue(
                        ["job"] * MANY_MESSAGES, [STATE] * MANY_MESSAGES, [0] * MANY_MESSAGES
                    )
                    await connection.execute("VACUUM ANALYZE pgqueuer")
                    seconds += await _drained(url, schema)
                return seconds

            yield side
        finally:
            await connection.close()


async def _drained(url: str, schema: str) -> float:
    connection = await asyncpg.connect(url, server_settings={"search_path": schema})
    worker, done = PgQueuer(AsyncpgDriver(connection)), count(1)
    total = 0

    @worker.entrypoint("job")  # type: ignore[untyped-decorator]
    async def run(job: Job) -> None:
        nonlocal total
        total = next(done)

    started = time.perf_counter()
    await worker.qm.run(batch_size=BATCH_OF_THE_RELAY, mode=QueueExecutionMode.drain)
    seconds = time.perf_counter() - started
    assert total == MANY_MESSAGES
    if not connection.is_closed():
        await connection.close()
    return seconds


@asynccontextmanager
async def _recorder(url: str, *, connections: int = 1) -> AsyncIterator[Any]:
    async with new_schema(url) as schema:
        environment = postgres_environment(url, schema, connections)
        with PostgresFactory(Environment("bench", environment)) as factory:
            yield factory.application_recorder()


def postgres_environment(url: str, schema: str, connections: int = 1) -> dict[str, str]:
    """What eventsourcing is told by."""
    parts = make_url(url)
    return {
        "POSTGRES_DBNAME": parts.database or "",
        "POSTGRES_HOST": parts.host or "",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": parts.password or "",
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_POOL_SIZE": str(connections),
    }


async def _fill(url: str, recorder: Any) -> Sequence[UUID]:
    """Streams that take turns, as in the store beside it."""
    ids = [uuid4() for _ in range(EVENTS // OF_A_STREAM)]
    versions = [count(1) for _ in ids]
    for _ in range(OF_A_STREAM // 100):
        parts = [_events(id_, version, 100) for id_, version in zip(ids, versions, strict=True)]
        recorder.insert_events([event for part in zip(*parts, strict=True) for event in part])
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return ids


def _events(of: UUID, versions: count[int], number: int) -> list[Any]:
    new = partial(StoredEvent, originator_id=of, topic="orders:OrderPlaced", state=STATE)
    return [new(originator_version=next(versions)) for _ in range(number)]


@asynccontextmanager
async def new_schema(url: str) -> AsyncIterator[str]:
    name = f"bench_{next(_schemas)}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE SCHEMA {name}")
        yield name
    finally:
        await connection.execute(f"DROP SCHEMA {name} CASCADE")
        await connection.close()
