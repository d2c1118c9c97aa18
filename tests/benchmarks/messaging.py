"""Relay, lock and cache of core."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryLockStrategy,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryRepository,
)
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.testing.contracts.parcel import Parcel

from .measuring import Row, Side

MESSAGES = 1_000
KEYS = 50


def build_rows() -> list[Row]:
    return [
        Row(
            f"relay {MESSAGES:,} messages",
            "publish in a loop over the same list",
            _relay_messages,
            _publish_in_loop,
            3.0,
        ),
        # Without a limit: an asyncio.Lock does not have an owner, a ttl or a token.
        Row("lock and unlock, free", "asyncio.Lock", _lock_in_memory, _lock_asyncio),
        Row(
            "lock and unlock, 10 tasks in turn",
            "asyncio.Lock",
            _take_turns_in_memory,
            _take_turns_asyncio,
            3.0,
        ),
        Row("get from the cache", "dict get and deep copy", _get_from_cache, _copy_deeply, 3.0),
    ]


def _new_messages() -> list[OutboxMessage]:
    return [
        OutboxMessage(
            message_id=f"m-{number}",
            event_type="Weighed",
            payload={"grams": number},
            partition_key=f"k-{number % KEYS}",
        )
        for number in range(MESSAGES)
    ]


async def _relay_messages(times: int) -> float:
    outboxes = [InMemoryOutboxStorage() for _ in range(times)]
    for outbox in outboxes:
        await outbox.save_messages(_new_messages())
    started = time.perf_counter()
    for outbox in outboxes:
        relay = OutboxRelay(outbox, InMemoryMessageBus())
        while await relay.run_once():
            pass
    return time.perf_counter() - started


async def _publish_in_loop(times: int) -> float:
    lists = [_new_messages() for _ in range(times)]
    started = time.perf_counter()
    for messages in lists:
        bus = InMemoryMessageBus()
        for message in messages:
            await bus.publish(message)
    return time.perf_counter() - started


async def _lock_in_memory(times: int) -> None:
    lock = InMemoryLockStrategy()
    for _ in range(times):
        await lock.acquire("door")
        await lock.release("door")


async def _lock_asyncio(times: int) -> None:
    lock = asyncio.Lock()
    for _ in range(times):
        await lock.acquire()
        lock.release()


async def _take_turns_in_memory(times: int) -> None:
    lock = InMemoryLockStrategy()

    async def work() -> None:
        for _ in range(times):
            await lock.acquire("door")
            await asyncio.sleep(0)
            await lock.release("door")

    await asyncio.gather(*(work() for _ in range(10)))


async def _take_turns_asyncio(times: int) -> None:
    lock = asyncio.Lock()

    async def work() -> None:
        for _ in range(times):
            await lock.acquire()
            await asyncio.sleep(0)
            lock.release()

    await asyncio.gather(*(work() for _ in range(10)))


def _prepare_hits() -> Side:
    inner: InMemoryRepository[Parcel, str] = InMemoryRepository(Parcel)
    parcels = CachingRepository(inner, InMemoryCacheService(), Parcel)
    parcel = Parcel.register("p-1", "anna")

    async def hit(times: int) -> None:
        if await inner.get("p-1") is None:
            await parcels.add(parcel)
        for _ in range(times):
            await parcels.get("p-1")

    return hit


_get_from_cache = _prepare_hits()


async def _copy_deeply(times: int) -> None:
    kept = {"p-1": Parcel.register("p-1", "anna")}
    kept["p-1"].collect_events()
    copies: deque[Parcel] = deque(maxlen=1)
    for _ in range(times):
        copies.append(kept["p-1"].model_copy(deep=True))
        await asyncio.sleep(0)
