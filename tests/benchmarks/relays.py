"""The relay on the outbox table beside a bare loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from functools import cache, partial
from multiprocessing import get_context

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports.messaging import IMessagePublisher
from cqrs_ddd_core.ports.outbox import OutboxMessage
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyOutboxStorage, Tables

from .databases import PAYLOAD, Databases, Store, bare, installed
from .measuring import Row, Side

MESSAGES = 2_000
MANY_MESSAGES = 6_000
KEYS = 50
MANY_KEYS = 1_000
BATCH = 100


class Nowhere(IMessagePublisher):
    async def publish(self, message: OutboxMessage) -> None: ...


def rows(databases: Databases) -> list[Row]:
    """The last row has no limit: it shows what a second relay adds on this machine."""
    return [
        Row(
            f"PostgreSQL: relay {MESSAGES:,} messages of {KEYS} keys, in order",
            f"asyncpg: SELECT SKIP LOCKED, UPDATE, {BATCH} a transaction",
            relaying(databases, KEYS),
            looping(databases, KEYS),
            1 / 0.2,
            items=MESSAGES,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: relay {MESSAGES:,} messages of {MANY_KEYS:,} keys, in order",
            f"asyncpg: SELECT SKIP LOCKED, UPDATE, {BATCH} a transaction",
            relaying(databases, MANY_KEYS),
            looping(databases, MANY_KEYS),
            1 / 0.2,
            items=MESSAGES,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: two relays in two processes, {MANY_KEYS:,} keys",
            "one relay in a process",
            relaying_in_processes(databases, MANY_KEYS, relays=2),
            relaying_in_processes(databases, MANY_KEYS, relays=1),
            items=MANY_MESSAGES,
            rounds=6,
        ),
    ]


@asynccontextmanager
async def relaying(
    databases: Databases, keys: int, *, messages: int = MESSAGES
) -> AsyncIterator[Side]:
    async with installed(databases.url("postgresql")) as store:
        outbox = SQLAlchemyOutboxStorage(store.sessions, tables=store.tables)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await refill(store, messages, keys)
                relay = OutboxRelay(outbox, Nowhere(), batch=BATCH)
                started = time.perf_counter()
                published = await relay.drain()
                seconds += time.perf_counter() - started
                assert published == messages
            return seconds

        yield side


@asynccontextmanager
async def looping(databases: Databases, keys: int) -> AsyncIterator[Side]:
    async with bare(databases.url("postgresql")) as store:
        table = store.tables.outbox.name
        columns = ", ".join(column.name for column in store.tables.outbox.c)
        connection = await store.connect()
        publisher = Nowhere()
        try:
            claim = await connection.prepare(
                f"SELECT {columns} FROM {table} WHERE published_at IS NULL ORDER BY seq "
                f"LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
            )
            acknowledge = await connection.prepare(
                f"UPDATE {table} SET published_at = now() WHERE seq = ANY($1::bigint[])"
            )

            async def relay() -> int:
                await connection.execute("BEGIN")
                messages = await claim.fetch()
                for message in messages:
                    await publisher.publish(message)
                await acknowledge.fetch([message["seq"] for message in messages])
                await connection.execute("COMMIT")
                return len(messages)

            async def side(times: int) -> float:
                seconds = 0.0
                for _ in range(times):
                    await refill(store, MESSAGES, keys)
                    started, published = time.perf_counter(), 0
                    while some := await relay():
                        published += some
                    seconds += time.perf_counter() - started
                    assert published == MESSAGES
                return seconds

            yield side
        finally:
            await connection.close()


@asynccontextmanager
async def relaying_in_processes(
    databases: Databases, keys: int, *, relays: int
) -> AsyncIterator[Side]:
    """The processes empty one outbox together; each keeps its engine from round to round.

    There are more keys than a batch has messages: a relay leases all keys that it finds in one.
    """
    url = databases.url("postgresql")
    async with installed(url) as store:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            processes = [
                stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
                for _ in range(relays)
            ]
            work = partial(_empty, url, store.tables.prefix)

            async def side(times: int) -> float:
                seconds = 0.0
                for _ in range(times):
                    await refill(store, MANY_MESSAGES, keys)
                    started = time.perf_counter()
                    parts = await asyncio.gather(
                        *(loop.run_in_executor(process, work) for process in processes)
                    )
                    seconds += time.perf_counter() - started
                    assert sum(parts) == MANY_MESSAGES
                return seconds

            # The first call of a process imports everything and connects.
            await asyncio.gather(*(loop.run_in_executor(process, work) for process in processes))
            yield side


async def refill(store: Store, messages: int, keys: int) -> None:
    """The table as it was in the beginning, with so many messages that nobody has published."""
    async with store.engine.begin() as connection:
        for table in (store.tables.outbox, store.tables.outbox_leases):
            await connection.exec_driver_sql(f"TRUNCATE {table.name} RESTART IDENTITY")
    await SQLAlchemyOutboxStorage(store.sessions, tables=store.tables).save_messages(
        [
            OutboxMessage(
                message_id=f"m-{number}",
                event_type="OrderPlaced",
                payload=PAYLOAD,
                partition_key=f"k-{number % keys}",
            )
            for number in range(messages)
        ]
    )
    await store.tidy()


def _empty(url: str, prefix: str) -> int:
    """In a process: relay until nothing waits; answers how many messages were published here."""
    loop, outbox = _kept(url, prefix)
    return loop.run_until_complete(_relay_all(outbox))


@cache
def _kept(url: str, prefix: str) -> tuple[asyncio.AbstractEventLoop, SQLAlchemyOutboxStorage]:
    sessions = async_sessionmaker(create_async_engine(url))
    return (
        asyncio.new_event_loop(),
        SQLAlchemyOutboxStorage(sessions, tables=Tables(prefix=prefix)),
    )


async def _relay_all(outbox: SQLAlchemyOutboxStorage) -> int:
    relay = OutboxRelay(outbox, Nowhere(), batch=BATCH)
    published = 0
    while True:
        some = await relay.run_once()
        published += some
        if not some:
            if not await outbox.get_pending(limit=1):
                return published
            # All keys are in the hands of the other one.
            await asyncio.sleep(0.001)
