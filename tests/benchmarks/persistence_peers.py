"""Event store and relay compared with other libraries, on one durable PostgreSQL server."""

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
from .measuring import Row, Side, SideContext
from .persistence import BATCH, WRITERS, append_batches, open_later, write_batches
from .reading import EVENTS, PAGE, STREAM_EVENTS, catch_up, read_pages, read_stream
from .relays import BATCH as RELAY_BATCH
from .relays import KEYS, MANY_MESSAGES, relay_outbox

STATE = to_json(PAYLOAD)

_schemas = count(1)


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; eventsourcing runs in its default mode, in which a table lock keeps order.

    Its writers are threads. Both sides get finished events; our side still encodes their JSON, the
    peer gets bytes. Rows of the peer do not have an id, a time or a further index.
    """

    def open_ours(open_side: Callable[..., SideContext], **options: Any) -> SideContext:
        return open_later(lambda: open_side(databases.url("postgresql"), **options))

    def open_peer(open_side: Callable[..., SideContext], **options: Any) -> SideContext:
        return open_later(lambda: open_side(databases.postgres, **options))

    return [
        Row(
            "PostgreSQL: append an event",
            "eventsourcing",
            open_ours(append_batches),
            open_peer(record_batches),
            1 / 1.3,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append an event, {WRITERS} writers",
            f"eventsourcing, {WRITERS} threads",
            open_ours(append_batches, writers=WRITERS),
            open_peer(record_batches, writers=WRITERS),
            1 / 1.3,
            items=WRITERS,
            rounds=20,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: append {BATCH} events",
            "eventsourcing",
            open_ours(append_batches, batch=BATCH),
            open_peer(record_batches, batch=BATCH),
            1 / 1.3,
            items=BATCH,
            seconds=0.1,
        ),
        Row(
            f"PostgreSQL: read a stream of {STREAM_EVENTS:,}",
            "eventsourcing",
            open_ours(read_stream),
            open_peer(select_stream),
            1 / 2,
            items=STREAM_EVENTS,
            rounds=15,
        ),
        Row(
            f"PostgreSQL: catch up on {EVENTS:,} in pages of {PAGE:,}",
            "eventsourcing, select_notifications",
            open_ours(catch_up),
            open_peer(select_pages),
            1 / 2,
            items=EVENTS,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: relay {MANY_MESSAGES:,} messages of {KEYS} keys, in order",
            f"pgqueuer, batch {RELAY_BATCH}, no order",
            relay_outbox(databases, KEYS, messages=MANY_MESSAGES),
            open_peer(run_jobs),
            1 / 2,
            items=MANY_MESSAGES,
            rounds=6,
        ),
    ]


@asynccontextmanager
async def record_batches(url: str, *, batch: int = 1, writers: int = 1) -> AsyncIterator[Side]:
    async with _open_recorder(url, connections=writers) as recorder:
        loop = asyncio.get_running_loop()
        ids = {f"written-{number}": uuid4() for number in range(writers)}
        versions = {name: count(1) for name in ids}
        with ThreadPoolExecutor(writers) as threads:

            def record(batches: list[Any]) -> None:
                for events in batches:
                    recorder.insert_events(events)

            async def record_in_thread(batches: list[Any]) -> None:
                await loop.run_in_executor(threads, record, batches)

            async def record_here(batches: list[Any]) -> None:
                record(batches)

            yield write_batches(
                [record_here if writers == 1 else record_in_thread] * writers,
                lambda stream: _new_events(ids[stream.name], versions[stream.name], batch),
            )


@asynccontextmanager
async def select_stream(url: str) -> AsyncIterator[Side]:
    async with _open_recorder(url) as recorder:
        first = (await _fill(url, recorder))[0]

        async def select(times: int) -> None:
            for _ in range(times):
                assert len(recorder.select_events(first)) == STREAM_EVENTS

        yield select


@asynccontextmanager
async def select_pages(url: str) -> AsyncIterator[Side]:
    async with _open_recorder(url) as recorder:
        await _fill(url, recorder)

        async def page(after: int) -> tuple[int, int]:
            found = recorder.select_notifications(after, PAGE, inclusive_of_start=False)
            return len(found), found[-1].id if found else after

        yield read_pages(page)


@asynccontextmanager
async def run_jobs(url: str) -> AsyncIterator[Side]:
    """Run the jobs in the queue until it is empty, in the drain mode of the peer."""
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
                    seconds += await _drain_queue(url, schema)
                return seconds

            yield side
        finally:
            await connection.close()


async def _drain_queue(url: str, schema: str) -> float:
    connection = await asyncpg.connect(url, server_settings={"search_path": schema})
    worker, done = PgQueuer(AsyncpgDriver(connection)), count(1)
    total = 0

    @worker.entrypoint("job")  # type: ignore[untyped-decorator]
    async def run(job: Job) -> None:
        nonlocal total
        total = next(done)

    started = time.perf_counter()
    await worker.qm.run(batch_size=RELAY_BATCH, mode=QueueExecutionMode.drain)
    seconds = time.perf_counter() - started
    assert total == MANY_MESSAGES
    if not connection.is_closed():
        await connection.close()
    return seconds


@asynccontextmanager
async def _open_recorder(url: str, *, connections: int = 1) -> AsyncIterator[Any]:
    async with new_schema(url) as schema:
        environment = build_postgres_environment(url, schema, connections)
        with PostgresFactory(Environment("bench", environment)) as factory:
            yield factory.application_recorder()


def build_postgres_environment(url: str, schema: str, connections: int = 1) -> dict[str, str]:
    """Return the settings of eventsourcing."""
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
    """Insert streams in turn, as in the store of our side."""
    ids = [uuid4() for _ in range(EVENTS // STREAM_EVENTS)]
    versions = [count(1) for _ in ids]
    for _ in range(STREAM_EVENTS // 100):
        parts = [_new_events(id_, version, 100) for id_, version in zip(ids, versions, strict=True)]
        recorder.insert_events([event for part in zip(*parts, strict=True) for event in part])
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return ids


def _new_events(of: UUID, versions: count[int], number: int) -> list[Any]:
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
