"""Races of the cache: no value survives the deletion that follows its change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryCacheService
from cqrs_ddd_core.ports.cache import IVersionedCache
from cqrs_ddd_redis import RedisCacheService
from cqrs_ddd_redis.circuit_breaker import CircuitBreaker
from tests.redis.test_cache import PATIENT
from tests.redis.test_cache_mutants import DeletesTheValueOnly, FillsAnyway

Open = Callable[[str], AbstractAsyncContextManager[list[IVersionedCache]]]
"""The caches of two processes."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "write", "write", "clear"]),
        st.integers(min_value=0, max_value=3),
        st.sampled_from(["a", "b"]),
    ),
    max_size=40,
)
LOADED_BEFORE = [("read", 0, "a"), ("read", 0, "a"), ("write", 1, "a"), ("write", 1, "a")]
FILLED_AFTER = [*LOADED_BEFORE, ("read", 0, "a")]


class World:
    """Database of growing numbers, with readers and writers that stop between two steps."""

    def __init__(self, caches: list[IVersionedCache]) -> None:
        self._caches = caches
        self._stored: dict[str, int] = {}
        self._deleted: dict[str, int] = {}
        """Number of each key that was stored when its last finished deletion began."""
        self._reading: dict[int, Any] = {}
        self._writing: dict[int, tuple[str, int]] = {}

    async def read(self, reader: int, key: str) -> None:
        """Lease, load, or fill: the next step of the reader."""
        cache = self._caches[reader % 2]
        stage, *known = self._reading.pop(reader, ("lease", key))
        if stage == "lease":
            lease = await cache.lease_fill(key, 30)
            if lease is not None:
                self._reading[reader] = ("load", key, lease)
        elif stage == "load":
            self._reading[reader] = ("fill", *known, self._stored.get(known[0], 0))
        else:
            filled, lease, value = known
            await cache.fill(filled, value, lease)

    async def write(self, writer: int, key: str) -> None:
        """Store a number, or delete it from the cache."""
        cache = self._caches[writer % 2]
        if writer in self._writing:
            written, version = self._writing.pop(writer)
            await (cache.delete(written) if version % 2 else cache.delete_many([written, "c"]))
            self._deleted[written] = max(version, self._deleted.get(written, 0))
        else:
            self._stored[key] = self._stored.get(key, 0) + 1
            self._writing[writer] = (key, self._stored[key])

    async def clear(self, process: int, key: str) -> None:
        await self._caches[process % 2].clear()
        self._deleted = dict(self._stored)

    async def check(self) -> None:
        for cache in self._caches:
            for key, version in self._deleted.items():
                found = await cache.get(key)
                assert found is None or found >= version


@asynccontextmanager
async def open_in_memory(redis_url: str) -> AsyncIterator[list[IVersionedCache]]:
    cache = InMemoryCacheService()
    yield [cache, cache]


@asynccontextmanager
async def open_on_redis(
    redis_url: str, kind: type[RedisCacheService] = RedisCacheService
) -> AsyncIterator[list[IVersionedCache]]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(redis_url)) for _ in range(2)]
        await clients[0].flushdb()
        yield [
            kind(each, response_timeout=PATIENT, fail_open=False, namespace="shop")
            for each in clients
        ]


async def _interleave(open_caches: Open, redis_url: str, steps: list[tuple[str, int, str]]) -> None:
    async with open_caches(redis_url) as caches:
        world = World(caches)
        for name, process, key in steps:
            await getattr(world, name)(process, key)
            await world.check()


@pytest.mark.parametrize("open_caches", [open_in_memory, open_on_redis])
def test_no_cache_fill_restores_a_deleted_value(open_caches: Open, redis_url: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(STEPS)
    @example(FILLED_AFTER)
    def check(steps: list[tuple[str, int, str]]) -> None:
        asyncio.run(_interleave(open_caches, redis_url, steps))

    check()


@pytest.mark.parametrize("naive", [FillsAnyway, DeletesTheValueOnly])
async def test_race_check_catches_a_redis_cache_that_restores_a_deleted_value(
    naive: type[RedisCacheService], redis_url: str
) -> None:
    with pytest.raises(AssertionError):
        await _interleave(lambda url: open_on_redis(url, naive), redis_url, FILLED_AFTER)


class Flaky(RedisCacheService):
    """Cache that loses commands or replies on demand."""

    def __init__(self, client: Redis, clock: FakeClock) -> None:
        super().__init__(
            client,
            response_timeout=PATIENT,
            clock=clock,
            on_failure=lambda error: None,
            namespace="shop",
        )
        self.faults: deque[str] = deque()

    async def _execute(self, *command: Any) -> Any:
        return await self._faulty(super()._execute, *command)

    async def _run(self, script: Any, keys: list[bytes], arguments: list[Any]) -> Any:
        return await self._faulty(super()._run, script, keys, arguments)

    async def _faulty(self, work: Callable[..., Any], *given: Any) -> Any:
        fault = self.faults.popleft() if self.faults else "none"
        if fault == "lost":
            raise RedisConnectionError("lost")
        answer = await work(*given)
        if fault == "no reply":
            raise RedisConnectionError("no reply")
        return answer


FAULTS = st.lists(st.sampled_from(["none", "none", "lost", "no reply"]), max_size=8)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["delete", "set", "clear", "lease", "fill", "wait"]),
        st.integers(min_value=0, max_value=1),
        FAULTS,
    ),
    max_size=25,
)


async def _change_amid_faults(
    redis_url: str, changes: list[tuple[str, int, list[str]]], circuit: type[CircuitBreaker]
) -> None:
    """Check that neither a process with lost commands nor another one serves deleted values."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(redis_url)) for _ in range(2)]
        await clients[0].flushdb()
        clock, stored = FakeClock(), 0
        flaky = Flaky(clients[0], clock)
        flaky._breaker.__class__ = circuit
        caches: list[RedisCacheService] = [
            flaky,
            RedisCacheService(clients[1], response_timeout=PATIENT, namespace="shop"),
        ]
        # Oldest value that each cache may return: the other process can see a change only after
        # the server has received it.
        least = [0, 0]
        loads: list[tuple[str, int]] = []
        for change, process, faults in changes:
            cache = caches[process]
            flaky.faults = deque(faults if cache is flaky else ())
            if change in ("delete", "set", "clear"):
                stored += 1
                if change == "set":
                    await cache.set("k", stored)
                elif change == "delete":
                    await cache.delete("k")
                else:
                    await cache.clear()
                least[0] = stored
                if cache is not flaky:
                    least[1] = stored
            elif change == "lease":
                lease = await cache.lease_fill("k", 30)
                if lease:
                    loads.append((lease, stored))
            elif change == "fill" and loads:
                lease, value = loads.pop(0)
                await cache.fill("k", value, lease)
            else:
                await clock.advance(1)
            for each, bound in zip(caches, least, strict=True):
                found = await each.get("k")
                assert found is None or found >= bound
        flaky.faults.clear()
        await clock.advance(1)
        for each in caches:
            # By now the invalidations have been repeated, so both processes must see them.
            found = await each.get("k")
            assert found is None or found >= least[0]


def test_cache_never_serves_a_deleted_value_if_commands_or_replies_are_lost(
    redis_url: str,
) -> None:
    @settings(max_examples=150, deadline=None)
    @given(CHANGES)
    def check(changes: list[tuple[str, int, list[str]]]) -> None:
        asyncio.run(_change_amid_faults(redis_url, changes, CircuitBreaker))

    check()


class IgnoresFailures(CircuitBreaker):
    async def execute_change(
        self, operation: str, work: Any, keys: Any, *, includes_write: bool = False
    ) -> None:
        await self.execute(operation, work)


@pytest.mark.parametrize("lost", [["lost"], ["none", "lost"]])
async def test_race_check_catches_a_circuit_breaker_that_serves_a_deleted_value(
    redis_url: str, lost: list[str]
) -> None:
    changes: list[tuple[str, int, list[str]]] = [("set", 1, []), ("clear", 0, lost)]
    await _change_amid_faults(redis_url, changes, CircuitBreaker)

    with pytest.raises(AssertionError):
        await _change_amid_faults(redis_url, changes, IgnoresFailures)
