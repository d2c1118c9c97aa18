"""Locks on Redis beside its bare commands."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from cqrs_ddd_core.ports.locking import ILeasedLock
from cqrs_ddd_redis import FifoRedisLockStrategy, RedlockLockStrategy

from .databases import Databases
from .measuring import Row, Side

TASKS = 8
HOLDS = 10
"""Of each task."""
HOLD = 0.001
TTL_MS = 30_000

MakeLock = Callable[[list["Redis"]], ILeasedLock]
Pair = Callable[[str], Awaitable[float]]

DELETE_OWN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


def rows(databases: Databases) -> list[Row]:
    bare = "redis-py: SET NX PX, Lua delete"
    return [
        Row(
            "Redis: hold a lock that is free, FIFO",
            bare,
            held(databases, 1, lambda clients: FifoRedisLockStrategy(clients[0])),
            set_and_deleted(databases, 1),
            1 / 0.85,
        ),
        Row(
            "Redis: hold a lock that is free, Redlock on one server",
            bare,
            held(databases, 1, RedlockLockStrategy),
            set_and_deleted(databases, 1),
            1 / 0.85,
        ),
        Row(
            "Redis: hold a lock that is free, Redlock on three servers",
            f"{bare}, on each",
            held(databases, 3, RedlockLockStrategy),
            set_and_deleted(databases, 3),
            1 / 0.85,
        ),
        Row(
            f"Redis: {TASKS} tasks contend for holds of 1 ms",
            "redis-py: BLPOP, LPUSH of one token",
            contended(databases, locking),
            contended(databases, popping),
            1 / 0.75,
            items=TASKS * HOLDS,
            rounds=12,
        ),
        Row(
            f"Redis: 95 % of the waits of {TASKS} tasks are shorter than this",
            "the mean of the waits",
            contended(databases, locking, answer=at_95_percent),
            contended(databases, locking, answer=statistics.fmean),
            2.0,
            rounds=12,
        ),
    ]


@asynccontextmanager
async def connected(databases: Databases, servers: int) -> AsyncIterator[list[Redis]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Redis.from_url(url))
            for url in databases.redis_servers[:servers]
        ]


@asynccontextmanager
async def held(databases: Databases, servers: int, make: MakeLock) -> AsyncIterator[Side]:
    async with connected(databases, servers) as clients:
        lock = make(clients)

        async def side(times: int) -> None:
            for _ in range(times):
                async with lock.hold("bench"):
                    pass

        yield side


@asynccontextmanager
async def set_and_deleted(databases: Databases, servers: int) -> AsyncIterator[Side]:
    """A token from the random bytes of the system, as in ours."""
    async with connected(databases, servers) as clients:
        scripts = [client.register_script(DELETE_OWN) for client in clients]

        async def side(times: int) -> None:
            for _ in range(times):
                owner = secrets.token_hex(16)
                if servers == 1:
                    await clients[0].set("bare", owner, nx=True, px=TTL_MS)
                    await scripts[0](["bare"], [owner])
                    continue
                await asyncio.gather(
                    *(client.set("bare", owner, nx=True, px=TTL_MS) for client in clients)
                )
                await asyncio.gather(*(script(["bare"], [owner]) for script in scripts))

        yield side


def locking(client: Redis) -> Pair:
    lock = FifoRedisLockStrategy(client)

    async def pair(name: str) -> float:
        started = time.perf_counter()
        async with lock.hold(name, timeout=60):
            waited = time.perf_counter() - started
            await asyncio.sleep(HOLD)
        return waited

    return pair


def popping(client: Redis) -> Pair:
    """First come, first served; a holder that dies takes the token along."""

    async def pair(name: str) -> float:
        started = time.perf_counter()
        await client.blpop([name], timeout=60)
        waited = time.perf_counter() - started
        await asyncio.sleep(HOLD)
        await client.lpush(name, 1)
        return waited

    return pair


def at_95_percent(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95)]


@asynccontextmanager
async def contended(
    databases: Databases,
    make: Callable[[Redis], Pair],
    *,
    answer: Callable[[list[float]], float] | None = None,
) -> AsyncIterator[Side]:
    """All tasks at once; the seconds of it all, or those that ``answer`` tells of the waits."""
    async with connected(databases, 1) as (client,):
        pair = make(client)

        async def work(name: str) -> list[float]:
            return [await pair(name) for _ in range(HOLDS)]

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                name = f"contended-{secrets.token_hex(4)}"
                if make is popping:
                    await client.lpush(name, 1)
                started = time.perf_counter()
                waits = await asyncio.gather(*(work(name) for _ in range(TASKS)))
                spent = time.perf_counter() - started
                seconds += spent if answer is None else answer([w for each in waits for w in each])
            return seconds

        yield side
