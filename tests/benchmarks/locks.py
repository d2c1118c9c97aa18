"""Locks on Redis compared with bare commands."""

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
"""Holds of each task."""
HOLD = 0.001
"""Seconds of a hold."""
TTL_MS = 30_000

MakeLock = Callable[[list["Redis"]], ILeasedLock]
Hold = Callable[[str], Awaitable[float]]

DELETE_OWN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


def create_redlock(clients: list[Redis]) -> RedlockLockStrategy:
    return RedlockLockStrategy(clients, namespace="bench")


def build_rows(databases: Databases) -> list[Row]:
    bare = "redis-py: SET NX PX, Lua delete"
    return [
        Row(
            "Redis: hold a lock that is free, FIFO",
            bare,
            hold_free_lock(
                databases, 1, lambda clients: FifoRedisLockStrategy(clients[0], namespace="shop")
            ),
            set_and_delete(databases, 1),
            1 / 0.85,
        ),
        Row(
            "Redis: hold a lock that is free, Redlock on one server",
            bare,
            hold_free_lock(databases, 1, create_redlock),
            set_and_delete(databases, 1),
            1 / 0.85,
        ),
        Row(
            "Redis: hold a lock that is free, Redlock on three servers",
            f"{bare}, on each",
            hold_free_lock(databases, 3, create_redlock),
            set_and_delete(databases, 3),
            1 / 0.85,
        ),
        Row(
            f"Redis: {TASKS} tasks contend for holds of 1 ms",
            "redis-py: BLPOP, LPUSH of one token",
            contend_for_lock(databases, hold_with_fifo),
            contend_for_lock(databases, hold_by_pop),
            1 / 0.75,
            items=TASKS * HOLDS,
            rounds=12,
        ),
        Row(
            f"Redis: 95 % of the waits of {TASKS} tasks are shorter than this",
            "the mean of the waits",
            contend_for_lock(databases, hold_with_fifo, summarize=find_95th_percentile),
            contend_for_lock(databases, hold_with_fifo, summarize=statistics.fmean),
            2.0,
            rounds=12,
        ),
    ]


@asynccontextmanager
async def connect(databases: Databases, servers: int) -> AsyncIterator[list[Redis]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Redis.from_url(url))
            for url in databases.redis_servers[:servers]
        ]


@asynccontextmanager
async def hold_free_lock(databases: Databases, servers: int, make: MakeLock) -> AsyncIterator[Side]:
    async with connect(databases, servers) as clients:
        lock = make(clients)

        async def side(times: int) -> None:
            for _ in range(times):
                async with lock.hold("bench"):
                    pass

        yield side


@asynccontextmanager
async def set_and_delete(databases: Databases, servers: int) -> AsyncIterator[Side]:
    """Lock by SET NX PX and delete by a script, with a random token as in our locks."""
    async with connect(databases, servers) as clients:
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


def hold_with_fifo(client: Redis) -> Hold:
    lock = FifoRedisLockStrategy(client, namespace="shop")

    async def hold_once(name: str) -> float:
        started = time.perf_counter()
        async with lock.hold(name, timeout=60):
            waited = time.perf_counter() - started
            await asyncio.sleep(HOLD)
        return waited

    return hold_once


def hold_by_pop(client: Redis) -> Hold:
    """Return a function that pops and pushes one token, in order of arrival.

    Unlike in our lock, a holder that dies takes the token along.
    """

    async def hold_once(name: str) -> float:
        started = time.perf_counter()
        await client.blpop([name], timeout=60)
        waited = time.perf_counter() - started
        await asyncio.sleep(HOLD)
        await client.lpush(name, 1)
        return waited

    return hold_once


def find_95th_percentile(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95)]


@asynccontextmanager
async def contend_for_lock(
    databases: Databases,
    make: Callable[[Redis], Hold],
    *,
    summarize: Callable[[list[float]], float] | None = None,
) -> AsyncIterator[Side]:
    """Run all tasks at once; measure the total seconds, or ``summarize`` of the waits."""
    async with connect(databases, 1) as (client,):
        hold_once = make(client)

        async def work(name: str) -> list[float]:
            return [await hold_once(name) for _ in range(HOLDS)]

        async def side(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                name = f"contended-{secrets.token_hex(4)}"
                if make is hold_by_pop:
                    await client.lpush(name, 1)
                started = time.perf_counter()
                waits = await asyncio.gather(*(work(name) for _ in range(TASKS)))
                spent = time.perf_counter() - started
                seconds += (
                    spent if summarize is None else summarize([w for each in waits for w in each])
                )
            return seconds

        yield side
