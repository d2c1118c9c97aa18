"""Outages of the server: the cache is slower, without errors and without stale values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.primitives.exceptions import CacheError
from cqrs_ddd_redis import RedisCacheService, circuit_breaker
from tests.faults.proxy import Proxy

PAUSE = 1.0

Change = Callable[[RedisCacheService], Awaitable[None]]


class Link(Proxy):
    """Connection to the server that a test can cut."""

    def cut(self) -> None:
        self.is_down = True
        self.drop_all()

    def mend(self) -> None:
        self.is_down = False


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(redis_url)
    async with link.run():
        yield link


@pytest.fixture
async def through(link: Link, client: Redis) -> AsyncIterator[Redis]:
    async with Redis.from_url(link.url) as through:
        yield through


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def failures() -> list[CacheError]:
    return []


@pytest.fixture
def cache(through: Redis, clock: FakeClock, failures: list[CacheError]) -> RedisCacheService:
    return RedisCacheService(
        through,
        response_timeout=10.0,
        pause=PAUSE,
        clock=clock,
        on_failure=failures.append,
        namespace="shop",
    )


@pytest.fixture
def other(client: Redis) -> RedisCacheService:
    """Return the cache of a process that reaches the server all the time."""
    return RedisCacheService(client, response_timeout=10.0, fail_open=False, namespace="shop")


async def test_cache_without_its_server_returns_and_stores_nothing(
    cache: RedisCacheService, link: Link, failures: list[CacheError]
) -> None:
    lease = await cache.lease_fill("leased", 30)
    link.cut()

    assert await cache.get("k") is None
    assert dict(await cache.get_many(["k", "l"])) == {}
    await cache.set("k", 1)
    await cache.delete("k")
    await cache.delete_many(["k", "l"])
    await cache.clear()
    assert lease is not None
    assert not await cache.fill("leased", 1, lease)
    granted = await cache.lease_fill("k", 30)
    assert granted is not None, "no caller waits for another fill"
    assert not await cache.fill("k", 1, granted)

    assert len(failures) == 1
    assert "cannot read k" in str(failures[0])


async def test_circuit_breaker_probes_with_a_single_call_after_a_failure(
    cache: RedisCacheService, link: Link, clock: FakeClock, failures: list[CacheError]
) -> None:
    link.cut()
    await cache.get("k")

    for tries in range(2, 5):
        await clock.advance(PAUSE)
        await asyncio.gather(*(cache.get("k") for _ in range(50)))
        await cache.delete("k")

        assert len(failures) == tries


async def test_circuit_breaker_reports_simultaneous_failures_once(
    cache: RedisCacheService, link: Link, clock: FakeClock, failures: list[CacheError]
) -> None:
    await asyncio.gather(*(cache.get("k") for _ in range(5)))
    link.cut()

    assert await asyncio.gather(*(cache.get("k") for _ in range(200))) == [None] * 200

    assert len(failures) == 1
    await clock.advance(PAUSE)
    await asyncio.gather(*(cache.get("k") for _ in range(200)))
    assert len(failures) == 2


async def test_cache_works_again_when_the_server_is_back(
    cache: RedisCacheService, other: RedisCacheService, link: Link, clock: FakeClock
) -> None:
    await other.set("k", "value")
    link.cut()
    await cache.get("k")
    link.mend()
    assert await cache.get("k") is None, "not before the pause has ended"

    await clock.advance(PAUSE)

    assert await cache.get("k") == "value"
    assert await asyncio.gather(*(cache.get("k") for _ in range(20))) == ["value"] * 20


class Faulty(Redis):
    """Client that raises errors which redis-py does not define."""

    error: Exception | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Event loop is closed"),
        AttributeError("'NoneType' object has no attribute 'write'"),
        ValueError("I/O operation on closed file"),
    ],
)
async def test_no_driver_error_reaches_the_caller_of_the_cache(
    redis_url: str,
    other: RedisCacheService,
    clock: FakeClock,
    failures: list[CacheError],
    error: Exception,
) -> None:
    async with Faulty.from_url(redis_url) as client:
        assert isinstance(client, Faulty)
        cache = RedisCacheService(
            client,
            response_timeout=10.0,
            pause=PAUSE,
            clock=clock,
            on_failure=failures.append,
            namespace="shop",
        )
        await cache.set("k", "old")
        client.error = error

        await cache.set("k", "new")
        assert await cache.get("k") is None

        assert [each.__cause__ for each in failures] == [error]
        assert type(error).__name__ in str(failures[0]) or str(error) in str(failures[0])
        client.error = None
        await clock.advance(PAUSE)
        assert await cache.get("k") is None
        assert await other.get("k") is None


async def test_cache_raises_unless_it_fails_open(
    through: Redis, link: Link, clock: FakeClock, failures: list[CacheError]
) -> None:
    cache = RedisCacheService(
        through,
        response_timeout=10.0,
        fail_open=False,
        clock=clock,
        on_failure=failures.append,
        namespace="shop",
    )
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: cache.get("k"),
        lambda: cache.get_many(["k"]),
        lambda: cache.set("k", 1),
        lambda: cache.delete("k"),
        lambda: cache.clear(),
        lambda: cache.lease_fill("k", 30),
        lambda: cache.fill("k", 1, "lease"),
    ]
    link.cut()

    for call in calls:
        for _ in range(2):
            with pytest.raises(CacheError, match="cannot .* server"):
                await call()
        await clock.advance(PAUSE)

    assert len(failures) == len(calls)


async def _delete(cache: RedisCacheService) -> None:
    await cache.delete("k")


async def _set(cache: RedisCacheService) -> None:
    await cache.set("k", "new")


async def _clear(cache: RedisCacheService) -> None:
    await cache.clear()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("change", [_delete, _set, _clear])
async def test_cached_key_with_a_pending_deletion_is_not_served(
    cache: RedisCacheService,
    other: RedisCacheService,
    link: Link,
    clock: FakeClock,
    change: Change,
    is_first: bool,
) -> None:
    await other.set("k", "old")
    lease = await other.lease_fill("raced", 30)
    link.cut()
    if not is_first:
        await cache.get("k")
    await change(cache)
    await cache.delete("raced")
    link.mend()

    assert await cache.get("k") is None
    assert await other.get("k") == "old", "another process cannot know"
    await clock.advance(PAUSE)
    assert await cache.get("k") is None

    assert await other.get("k") is None
    assert lease is not None
    assert not await other.fill("raced", "old", lease)
    await other.set("k", "newer")
    assert await cache.get("k") == "newer"


async def test_invalidation_that_fails_again_stays_pending(
    cache: RedisCacheService, other: RedisCacheService, link: Link, clock: FakeClock
) -> None:
    await other.set("k", "old")
    link.cut()
    await cache.delete("k")
    for _ in range(3):
        await clock.advance(PAUSE)
        assert await cache.get("k") is None
    link.mend()
    await clock.advance(PAUSE)

    assert await cache.get("k") is None
    assert await other.get("k") is None


async def test_read_during_a_repeated_deletion_returns_no_stale_value(
    cache: RedisCacheService, other: RedisCacheService, link: Link, clock: FakeClock
) -> None:
    await other.set("k", "old")
    link.cut()
    await cache.delete("k")
    link.mend()
    await clock.advance(PAUSE)
    execute, may_delete = cache._execute, asyncio.Event()

    async def execute_slowly(*command: Any) -> Any:
        if command[0] == "UNLINK":
            await may_delete.wait()
        return await execute(*command)

    cache._execute = execute_slowly  # type: ignore[method-assign]
    first = asyncio.ensure_future(cache.get("k"))
    await asyncio.sleep(0)

    assert await cache.get("k") is None
    may_delete.set()
    assert await first is None
    assert await cache.get("k") is None


async def test_cancelled_cache_deletion_does_not_block_other_deletions(
    cache: RedisCacheService, other: RedisCacheService, through: Redis
) -> None:
    await other.set("k", "old")
    await other.set("l", "old")
    deleting = asyncio.ensure_future(cache.delete("k"))
    await asyncio.sleep(0)
    deleting.cancel()
    await asyncio.gather(deleting, return_exceptions=True)

    answers = await asyncio.gather(*(cache.get("k") for _ in range(20)), cache.delete("l"))

    assert answers == [None] * 21
    assert await other.get("l") is None


async def test_too_many_pending_keys_invalidate_the_whole_namespace(
    cache: RedisCacheService,
    other: RedisCacheService,
    link: Link,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit_breaker, "MAX_PENDING", 100)
    await other.set("another", "value")
    await other.set("k-5", "old")
    link.cut()
    await cache.delete_many([f"k-{number}" for number in range(60)])
    await cache.delete_many([f"l-{number}" for number in range(60)])
    await cache.delete("m")
    assert not cache._breaker._pending.keys
    link.mend()
    await clock.advance(PAUSE)

    assert await cache.get("another") is None
    assert await other.get("k-5") is None


async def test_pending_invalidations_delete_their_own_keys_only(
    cache: RedisCacheService, other: RedisCacheService, link: Link, clock: FakeClock
) -> None:
    keys = [f"k-{number}" for number in range(circuit_breaker.MAX_PENDING)]
    await other.set(keys[-1], "old")
    await other.set("another", "value")
    link.cut()
    await cache.delete_many(keys)
    link.mend()
    await clock.advance(PAUSE)

    assert await cache.get(keys[-1]) is None
    assert await cache.get("another") == "value"
    assert await other.get(keys[-1]) is None


async def test_failing_failure_hook_does_not_fail_the_cache_call(
    through: Redis, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: CacheError) -> None:
        raise RuntimeError("no metrics today")

    cache = RedisCacheService(through, response_timeout=10.0, on_failure=fail, namespace="shop")
    link.cut()

    assert await cache.get("k") is None

    assert "no metrics today" in caplog.text


async def test_cache_failure_is_logged_without_a_hook(
    through: Redis, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCacheService(through, response_timeout=10.0, namespace="shop")
    link.cut()

    await cache.get("k")

    assert "cannot read k" in caplog.text


class NeverProbes(circuit_breaker.CircuitBreaker):
    """Wrong variant: never probes the server again."""

    async def _probe(self, operation: str) -> None:
        raise CacheError("left alone")


class StaysHalfOpen(circuit_breaker.CircuitBreaker):
    """Wrong variant: keeps probing after a success."""

    async def _probe(self, operation: str) -> None:
        await super()._probe(operation)
        self._has_failed = True


class NeverPauses(circuit_breaker.CircuitBreaker):
    """Wrong variant: probes without a pause."""

    async def _probe(self, operation: str) -> None:
        self._until = 0.0
        await super()._probe(operation)


class ReportsEach(circuit_breaker.CircuitBreaker):
    """Wrong variant: reports every failure."""

    async def _attempt(self, operation: str, work: Any, *, is_probe: bool = False) -> Any:
        return await super()._attempt(operation, work, is_probe=True)


class RemembersWithoutBound(circuit_breaker.PendingInvalidations):
    """Wrong variant: keeps any number of pending keys."""

    def add(self, keys: Any, *, includes_write: bool = False) -> None:
        self.includes_write |= includes_write
        self.all_keys |= keys is None
        self.keys.update(keys or ())


@pytest.mark.parametrize("naive", [NeverProbes, StaysHalfOpen, NeverPauses])
async def test_recovery_check_catches_a_circuit_breaker_with_wrong_probes(
    cache: RedisCacheService,
    other: RedisCacheService,
    link: Link,
    clock: FakeClock,
    naive: type[circuit_breaker.CircuitBreaker],
) -> None:
    cache._breaker.__class__ = naive

    with pytest.raises(AssertionError):
        await test_cache_works_again_when_the_server_is_back(cache, other, link, clock)


async def test_report_check_catches_a_circuit_breaker_that_reports_each_failure(
    cache: RedisCacheService, link: Link, clock: FakeClock, failures: list[CacheError]
) -> None:
    cache._breaker.__class__ = ReportsEach

    with pytest.raises(AssertionError):
        await test_circuit_breaker_reports_simultaneous_failures_once(cache, link, clock, failures)


async def test_limit_check_catches_a_circuit_breaker_with_unbounded_pending_invalidations(
    cache: RedisCacheService,
    other: RedisCacheService,
    link: Link,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache._breaker._pending.__class__ = RemembersWithoutBound

    with pytest.raises(AssertionError):
        await test_too_many_pending_keys_invalidate_the_whole_namespace(
            cache, other, link, clock, monkeypatch
        )


class DropsFailedChanges(circuit_breaker.CircuitBreaker):
    """Wrong variant: does not remember failed invalidations."""

    async def execute_change(
        self, operation: str, work: Any, keys: Any, *, includes_write: bool = False
    ) -> None:
        await self.execute(operation, work)


class ServesDuringProbe(circuit_breaker.CircuitBreaker):
    """Wrong variant: lets other calls read during a probe."""

    async def execute(self, operation: str, work: Any) -> Any:
        if (self._has_failed or self._pending) and not self._is_probing:
            await self._probe(operation)
        return await self._attempt(operation, work)


@pytest.mark.parametrize("change", [_delete, _set, _clear])
async def test_deletion_check_catches_a_circuit_breaker_without_pending_invalidations(
    cache: RedisCacheService,
    other: RedisCacheService,
    link: Link,
    clock: FakeClock,
    change: Change,
) -> None:
    cache._breaker.__class__ = DropsFailedChanges

    with pytest.raises(AssertionError):
        await test_cached_key_with_a_pending_deletion_is_not_served(
            cache, other, link, clock, change, True
        )


async def test_deletion_check_catches_a_circuit_breaker_that_reads_during_a_probe(
    cache: RedisCacheService, other: RedisCacheService, link: Link, clock: FakeClock
) -> None:
    cache._breaker.__class__ = ServesDuringProbe

    with pytest.raises(AssertionError):
        await test_read_during_a_repeated_deletion_returns_no_stale_value(cache, other, link, clock)
