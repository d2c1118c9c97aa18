"""Relay on the outbox table compared with a bare loop."""

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

from .databases import PAYLOAD, Databases, Store, install_bare_tables, install_tables
from .measuring import Row, Side

MESSAGES = 2_000
MANY_MESSAGES = 6_000
KEYS = 50
MANY_KEYS = 1_000
BATCH = 100


class NullPublisher(IMessagePublisher):
    async def publish(self, message: OutboxMessage) -> None: ...


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; the last row has no limit, since it shows the effect of a second relay."""
    return [
        Row(
            f"PostgreSQL: relay {MESSAGES:,} messages of {KEYS} keys, in order",
            f"asyncpg: SELECT SKIP LOCKED, UPDATE, {BATCH} a transaction",
            relay_outbox(databases, KEYS),
            relay_by_hand(databases, KEYS),
            1 / 0.2,
            items=MESSAGES,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: relay {MESSAGES:,} messages of {MANY_KEYS:,} keys, in order",
            f"asyncpg: SELECT SKIP LOCKED, UPDATE, {BATCH} a transaction",
            relay_outbox(databases, MANY_KEYS),
            relay_by_hand(databases, MANY_KEYS),
            1 / 0.2,
            items=MESSAGES,
            rounds=10,
        ),
        Row(
            f"PostgreSQL: two relays in two processes, {MANY_KEYS:,} keys",
            "one relay in a process",
            relay_in_processes(databases, MANY_KEYS, relays=2),
            relay_in_processes(databases, MANY_KEYS, relays=1),
            items=MANY_MESSAGES,
            rounds=6,
        ),
    ]


@asynccontextmanager
async def relay_outbox(
    databases: Databases, keys: int, *, messages: int = MESSAGES
) -> AsyncIterator[Side]:
    async with install_tables(databases.url("postgresql")) as store:
        outbox = SQLAlchemyOutboxStorage(store.sessions, tables=store.tables)

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                await refill(store, messages, keys)
                relay = OutboxRelay(outbox, NullPublisher(), batch=BATCH)
                started = time.perf_counter()
                published = await relay.drain()
                seconds += time.perf_counter() - started
                assert published == messages
            return seconds

        yield side


@asynccontextmanager
async def relay_by_hand(databases: Databases, keys: int) -> AsyncIterator[Side]:
    async with install_bare_tables(databases.url("postgresql")) as store:
        table = store.tables.outbox.name
        columns = ", ".join(column.name for column in store.tables.outbox.c)
        connection = await store.connect()
        publisher = NullPublisher()
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
async def relay_in_processes(
    databases: Databases, keys: int, *, relays: int
) -> AsyncIterator[Side]:
    """Empty one outbox by several processes; each process keeps its engine between rounds.

    There are more keys than messages in a batch, since a relay leases all keys in its batch.
    """
    url = databases.url("postgresql")
    async with install_tables(url) as store:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            processes = [
                stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
                for _ in range(relays)
            ]
            work = partial(_relay_in_process, url, store.tables.prefix)

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

            # The first call of a process imports the toolkit and connects.
            await asyncio.gather(*(loop.run_in_executor(process, work) for process in processes))
            yield side


async def refill(store: Store, messages: int, keys: int) -> None:
    """Restore the outbox to a state with this number of unpublished messages."""
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
    await store.analyze()


def _relay_in_process(url: str, prefix: str) -> int:
    """Relay until the outbox is empty, and return the number of messages published here."""
    loop, outbox = _open_outbox(url, prefix)
    return loop.run_until_complete(_relay_all(outbox))


@cache
def _open_outbox(
    url: str, prefix: str
) -> tuple[asyncio.AbstractEventLoop, SQLAlchemyOutboxStorage]:
    sessions = async_sessionmaker(create_async_engine(url))
    return (
        asyncio.new_event_loop(),
        SQLAlchemyOutboxStorage(sessions, tables=Tables(prefix=prefix)),
    )


async def _relay_all(outbox: SQLAlchemyOutboxStorage) -> int:
    relay = OutboxRelay(outbox, NullPublisher(), batch=BATCH)
    published = 0
    while True:
        some = await relay.run_once()
        published += some
        if not some:
            if not await outbox.get_pending(limit=1):
                return published
            # The other relay has leased all keys.
            await asyncio.sleep(0.001)
