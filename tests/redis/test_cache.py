"""Contents of the cache in Redis, and cancellations."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.ports.cache import IVersionedCache
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.testing.contracts.cache import CacheContract
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_redis import RedisCacheService
from cqrs_ddd_redis.driver import Script

PATIENT = 10.0
"""Response timeout in seconds, long enough for a slow machine."""


@pytest.fixture
def cache(client: Redis) -> RedisCacheService:
    return RedisCacheService(client, response_timeout=PATIENT, fail_open=False, namespace="shop")


@pytest.fixture
def other(other_client: Redis) -> RedisCacheService:
    """Return the cache of another process."""
    return RedisCacheService(
        other_client, response_timeout=PATIENT, fail_open=False, namespace="shop"
    )


class TestRedisCacheService(CacheContract):
    pass


class TestRedisCacheServiceOnAClientThatDecodes(CacheContract):
    @pytest.fixture
    def cache(self, other: RedisCacheService) -> RedisCacheService:
        return other


@pytest.mark.parametrize("name", sorted(IVersionedCache.__abstractmethods__))
def test_redis_cache_has_the_signatures_of_its_port(name: str) -> None:
    ours, theirs = (
        inspect.signature(getattr(kind, name), eval_str=True).parameters
        for kind in (RedisCacheService, IVersionedCache)
    )

    assert list(ours.values()) == list(theirs.values())


async def test_processes_share_cached_values_and_fill_leases(
    cache: RedisCacheService, other: RedisCacheService
) -> None:
    await cache.set("k", {"grams": 5})
    lease = await cache.lease_fill("other", 30)

    assert await other.get("k") == {"grams": 5}
    assert await other.lease_fill("other", 30) is None
    await other.delete("other")
    assert lease is not None
    assert not await cache.fill("other", 1, lease)


async def test_clear_removes_the_keys_of_its_own_namespace_only(client: Redis) -> None:
    names = ("a", "a*", "a?", "a[b]", "ab", "a:b", "a\\")
    caches = {
        name: RedisCacheService(client, namespace=name, response_timeout=PATIENT) for name in names
    }
    for name in names:
        for cache in caches.values():
            await cache.set("k", "value")

        await caches[name].clear()

        found = {other: await cache.get("k") for other, cache in caches.items()}
        assert found == {**dict.fromkeys(names, "value"), name: None}


async def test_clear_removes_thousands_of_keys(cache: RedisCacheService, client: Redis) -> None:
    keys = [f"k-{number}" for number in range(3_000)]
    leases = await cache.lease_many(keys, 30)
    await cache.fill_many(dict.fromkeys(keys[:2_000], 1), leases)

    await cache.clear()

    assert await client.keys("*") == [b"shop:g"]


async def test_cache_entry_of_another_program_is_a_miss(
    cache: RedisCacheService, client: Redis
) -> None:
    await client.set("shop:v::bytes", b"\x80\x04\xff")
    await client.rpush("shop:v::list", "item")
    await cache.set("k", 1)

    assert await cache.get("bytes") is None
    assert await cache.get("list") is None
    assert dict(await cache.get_many(["bytes", "k", "list"])) == {"k": 1}

    await cache.set("list", 2)
    assert await cache.get("list") == 2


async def test_jitter_shortens_the_ttl_of_a_cached_value_and_never_extends_it(
    client: Redis,
) -> None:
    dice = iter([0.0, 0.5, 1.0])
    cache = RedisCacheService(
        client, response_timeout=PATIENT, jitter=0.5, random=lambda: next(dice), namespace="shop"
    )
    leases = await cache.lease_many(["c"], 30)
    await cache.set("a", 1, ttl=1_000)
    await cache.set("b", 1, ttl=1_000)
    await cache.fill("c", 1, leases["c"], ttl=1_000)
    await cache.set("for ever", 1)
    await cache.set("infinite ttl", 1, ttl=float("inf"))

    left = [await client.ttl(f"shop:v::{key}") for key in "abc"]

    assert all(
        bound - 100 < seconds <= bound
        for seconds, bound in zip(left, (1000, 750, 500), strict=True)
    )
    assert await client.ttl("shop:v::for ever") == -1
    assert await client.ttl("shop:v::infinite ttl") == -1


@pytest.mark.parametrize("lost", ["shop:g", "shop:l::k"])
async def test_fill_lease_is_void_after_the_server_evicted_its_keys(
    cache: RedisCacheService, client: Redis, lost: str
) -> None:
    lease = await cache.lease_fill("k", 30)
    await client.delete(lost)
    await cache.lease_fill("another", 30)

    assert lease is not None
    assert not await cache.fill("k", 1, lease)
    assert await cache.lease_fill("k", 30) is not None


async def test_cache_sends_its_scripts_again_to_a_server_that_lost_them(
    cache: RedisCacheService, client: Redis
) -> None:
    await cache.set("k", 1)
    await client.script_flush()

    await cache.set("k", 2)

    assert await cache.get("k") == 2


class RepeatsScripts(RedisCacheService):
    """Cache with a driver that repeats each script, as after a lost reply."""

    async def _run(self, script: Script, keys: list[bytes], arguments: list[Any]) -> Any:
        await super()._run(script, keys, arguments)
        return await super()._run(script, keys, arguments)


async def test_cache_command_that_the_driver_repeats_has_one_effect(
    client: Redis, cache: RedisCacheService, other: RedisCacheService
) -> None:
    twice = RepeatsScripts(client, response_timeout=PATIENT, fail_open=False, namespace="shop")

    leases = await twice.lease_many(["k", "l"], 30)
    assert set(leases) == {"k", "l"}
    assert dict(await other.lease_many(["k", "l"], 30)) == {}
    assert dict(await twice.lease_many(["k"], 30)) == {}, "the lease stays with its first holder"

    # The second reply denies the fill, although the first one has stored the value.
    await twice.fill_many({"k": "filled"}, leases)
    assert await other.get("k") == "filled"
    assert await cache.fill("l", "filled", leases["l"])

    await twice.set("k", "set")
    await twice.delete("l")
    assert dict(await other.get_many(["k", "l"])) == {"k": "set"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("namespace", ""),
        ("namespace", "shop:v"),
        ("response_timeout", 0),
        ("pause", -1),
        ("jitter", 1),
        ("jitter", -0.1),
    ],
)
def test_redis_cache_rejects_invalid_settings(client: Redis, setting: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisCacheService(client, **{"namespace": "shop", setting: value})

    assert caught.value.variable == setting


async def test_cache_batch_of_many_keys_takes_one_round_trip(
    cache: RedisCacheService, client: Redis
) -> None:
    keys = [f"k-{number}" for number in range(100)]
    await _warm(cache)

    async def commands() -> int:
        return int((await client.info("stats"))["total_commands_processed"])

    # The scripts' own commands are counted as well.
    for work, inside in (
        (lambda: cache.get_many(keys), 0),
        (lambda: cache.lease_many(keys, 30), 201),
        (lambda: cache.delete_many(keys), 0),
    ):
        before = await commands()
        await work()
        assert await commands() - before <= 2 + inside


async def _warm(cache: RedisCacheService) -> None:
    leases = await cache.lease_many(["w"], 30)
    await cache.fill_many({"w": 1}, leases)
    await cache.set("w", 1)


Change = Callable[[RedisCacheService], Awaitable[None]]


async def _delete(cache: RedisCacheService) -> None:
    await cache.delete("k")


async def _set(cache: RedisCacheService) -> None:
    await cache.set("k", "new")


async def _clear(cache: RedisCacheService) -> None:
    await cache.clear()


@pytest.mark.parametrize("change", [_delete, _set, _clear])
async def test_cancelled_cache_change_is_applied_before_the_next_read(
    cache: RedisCacheService, other: RedisCacheService, client: Redis, change: Change
) -> None:
    await other.set("k", "old")

    async def check() -> None:
        assert await cache.get("k") in (None, "new")
        assert await other.get("k") in (None, "new")
        assert not _in_use(client)
        await other.set("k", "old")
        # The next call has to connect first: it may be cancelled before it sends its command.
        await client.connection_pool.disconnect()

    async def work() -> None:
        await change(cache)

    assert await cancel_sweep(work, check) > 0


async def test_cancelled_cache_call_leaves_no_reply_for_the_next_call(
    cache: RedisCacheService, client: Redis
) -> None:
    await cache.set("k", "value")
    await cache.set("l", "other")

    async def work() -> None:
        await cache.get("k")
        await cache.get_many(["k", "l"])
        leases = await cache.lease_many(["k", "m"], 30)
        await cache.fill_many(dict.fromkeys(leases, "value"), leases)

    async def check() -> None:
        assert await cache.get("l") == "other"
        assert dict(await cache.get_many(["l", "absent"])) == {"l": "other"}
        assert await cache.get("k") == "value"
        assert await cache.get("m") in (None, "value")
        assert not _in_use(client)
        await cache.delete("m")

    assert await cancel_sweep(work, check) > 0


async def test_many_cancelled_cache_calls_leave_no_connection_in_use(
    cache: RedisCacheService, client: Redis
) -> None:
    await cache.set("k", "value")
    for turns in range(30):
        readers = [asyncio.ensure_future(cache.get("k")) for _ in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

        assert not _in_use(client)
        assert await cache.get("k") == "value"


async def test_late_cache_write_does_not_outlive_a_later_deletion(
    cache: RedisCacheService, other: RedisCacheService
) -> None:
    await cache.set("k", "old")
    late = await _cancel_write(cache)
    await cache.delete("k")
    assert await cache.get("k") is None

    await late()

    assert await cache.get("k") is None
    assert await other.get("k") is None


async def test_cache_fill_during_a_clear_is_dropped(
    cache: RedisCacheService,
) -> None:
    lease = await cache.lease_fill("k", 30)
    assert lease is not None
    execute = cache._execute

    async def fill_after_the_scan(*command: Any) -> Any:
        answer = await execute(*command)
        if command[0] == "SCAN":
            await cache.fill("k", "old", lease)
        return answer

    cache._execute = fill_after_the_scan  # type: ignore[method-assign]
    await cache.clear()

    assert await cache.get("k") is None


async def _cancel_write(cache: RedisCacheService) -> Callable[[], Awaitable[Any]]:
    """Cancel a write before its command is sent, and return the command."""
    run, sent = cache._run, []

    async def keep(script: Script, keys: list[bytes], arguments: list[Any]) -> Any:
        sent.append((script, keys, arguments))
        await asyncio.Event().wait()

    cache._run = keep  # type: ignore[method-assign]
    writing = asyncio.ensure_future(cache.set("k", "late"))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    cache._run = run  # type: ignore[method-assign]
    return lambda: run(*sent[0])


def _in_use(client: Redis) -> Any:
    return client.connection_pool._in_use_connections
