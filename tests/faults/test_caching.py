"""Tests of outages of the cache server, and of processes killed during a cache load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.primitives.exceptions import CacheError
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_redis import RedisCacheService
from cqrs_ddd_redis.circuit_breaker import CircuitBreaker
from tests.faults.caching import READERS, CountingCache, CountingParcels, run_read
from tests.forking import process
from tests.own_redis import OwnRedis, own_redis

PAUSE = 1.0


@pytest.fixture
def server() -> Iterator[OwnRedis]:
    with own_redis() as server:
        yield server


@asynccontextmanager
async def _open_other_cache(server: OwnRedis) -> AsyncIterator[RedisCacheService]:
    """Return the cache of another process, with connections of its own."""
    async with Redis.from_url(server.url) as client:
        yield RedisCacheService(client, response_timeout=10.0, fail_open=False, namespace="shop")


@pytest.mark.parametrize(
    ("stop", "restart"),
    [
        (OwnRedis.kill, OwnRedis.start),
        (OwnRedis.end, OwnRedis.start),
        (OwnRedis.freeze, OwnRedis.thaw),
    ],
)
async def test_cache_server_that_was_unavailable_returns_no_stale_value(
    server: OwnRedis, stop: Callable[[OwnRedis], None], restart: Callable[[OwnRedis], None]
) -> None:
    assert await _find_after_outage(server, stop, restart) == [None, None]


async def _find_after_outage(
    server: OwnRedis,
    stop: Callable[[OwnRedis], None],
    restart: Callable[[OwnRedis], None],
    circuit: type[CircuitBreaker] = CircuitBreaker,
) -> list[Any]:
    """Return the values that two processes find for a key deleted during the outage."""
    failures: list[CacheError] = []
    clock = FakeClock()
    async with Redis.from_url(server.url) as client:
        cache = RedisCacheService(
            client,
            response_timeout=1.0,
            pause=PAUSE,
            clock=clock,
            on_failure=failures.append,
            namespace="shop",
        )
        cache._breaker.__class__ = circuit
        await cache.set("k", "old")
        await cache.set("late", "old")
        stop(server)
        await cache.set("late", "late")
        assert len(failures) == 1
        for _ in range(200):
            assert await cache.get("k") is None
            await cache.delete("k")
            await cache.delete("late")
        assert len(failures) == 1, "a call waited for a server that is known to be unavailable"

        restart(server)
        await asyncio.sleep(0.05)  # The server may still have to read commands.
        async with _open_other_cache(server) as other_cache:
            assert await cache.get("k") is None, "the cache was used before the pause ended"
            await clock.advance(PAUSE)
            found = [await cache.get("k"), await other_cache.get("k")]
            assert [await cache.get("late"), await other_cache.get("late")] == found
            await cache.set("k", "new")
            assert await other_cache.get("k") == "new"
        assert len(failures) == 1
    return found


class BreakerWithoutInvalidations(CircuitBreaker):
    async def execute_change(
        self, operation: str, work: Any, keys: Any, *, includes_write: bool = False
    ) -> None:
        await self.execute(operation, work)


async def test_outage_check_catches_a_circuit_breaker_that_serves_stale_values(
    server: OwnRedis,
) -> None:
    with pytest.raises(AssertionError):
        assert await _find_after_outage(
            server, OwnRedis.freeze, OwnRedis.thaw, BreakerWithoutInvalidations
        ) == [
            None,
            None,
        ]


async def test_two_processes_with_the_same_cache_miss_load_once(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        with process(run_read, redis_url) as one, process(run_read, redis_url) as two:
            while await _number(client, "asked") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await client.set("may answer", 1)
            for each in (one, two):
                await asyncio.to_thread(each.join, 60)
                assert each.exitcode == 0

        assert await _number(client, "found") == 2 * READERS
        assert await _number(client, "loads") == 1


async def test_killed_loader_delays_other_processes_for_its_lease_only(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        with process(run_read, redis_url) as one:
            while not await client.exists("loads"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            one.kill()
            await asyncio.to_thread(one.join, 60)
        await client.set("may answer", 1)
        inner = CountingParcels(client)
        await inner.add(Parcel.register("p-1", "anna"))
        cache = CountingCache(client)
        parcels = CachingRepository(inner, cache, Parcel)
        key = parcels._states.key("p-1")

        found = await asyncio.gather(*(parcels.get("p-1") for _ in range(READERS)))

        assert [each.owner for each in found if each is not None] == ["anna"] * READERS
        assert await _number(client, "loads") == 1 + 1
        assert await cache.get(key) is None, (
            "a process filled the cache under the lease of the killed process"
        )
        await client.pexpire(f"shop:l::{key}", 1)
        await asyncio.sleep(0.01)
        await parcels.get("p-1")
        assert await cache.get(key) is not None


async def _number(client: Redis, name: str) -> int:
    return int(await client.get(name) or 0)
