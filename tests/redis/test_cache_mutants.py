"""Wrong caches on Redis, each caught by a test or by the contract."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.testing.contracts.cache import CacheContract
from cqrs_ddd_redis import RedisCacheService
from cqrs_ddd_redis.circuit_breaker import CircuitBreaker
from tests.redis import test_cache as cache_tests


class FillsAnyway(RedisCacheService):
    """Wrong variant: accepts a value that was loaded before the change."""

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        for key, value in values.items():
            await self.set(key, value, ttl)
        return list(values)


class LooksThenFills(RedisCacheService):
    """Wrong variant: checks and fills in two steps, between which a change can happen."""

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        held = await self._execute("MGET", *self._names(values, "l"))
        free = [key for key, lease in zip(values, held, strict=True) if lease is not None]
        for key in free:
            await self.set(key, values[key], ttl)
        return free


class DeletesTheValueOnly(RedisCacheService):
    """Wrong variant: keeps the lease of a load that is under way."""

    async def _unlink(self, keys: Sequence[str]) -> None:
        await self._execute("UNLINK", *self._names(keys, "v"))


class SetsTheValueOnly(RedisCacheService):
    """Wrong variant: neither voids a lease nor checks the generation."""

    async def _run(self, script: Any, keys: list[bytes], arguments: list[Any]) -> Any:
        if script is not self._set_script:
            return await super()._run(script, keys, arguments)
        await self._execute("SET", keys[0], arguments[0])
        return arguments[2]


class GrantsEveryLease(RedisCacheService):
    """Wrong variant: grants a fill lease at each miss."""

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        await self._execute("UNLINK", *self._names([f":{key}" for key in keys], "l"))
        return await super().lease_many(keys, ttl)


class NeverExpires(RedisCacheService):
    """Wrong variant: ignores the ttl."""

    def _to_milliseconds(self, ttl: float | None) -> int:
        return 0


class KeepsItsGeneration(RedisCacheService):
    """Wrong variant: clears existing keys, after which a fill under way arrives."""

    async def _renew_generation(self) -> None:
        pass


class ClearsEverything(RedisCacheService):
    """Wrong variant: clears the keys of all namespaces."""

    async def _unlink_all(self, prefix: str = "") -> None:
        await self._execute("FLUSHDB")


class IgnoresTheTenant(RedisCacheService):
    """Wrong variant: leaves the tenant out of the names in Redis."""

    def _names(self, keys: Iterable[str], kinds: str) -> list[bytes]:
        return super()._names([f":{key.partition(':')[2]}" for key in keys], kinds)


class OneGeneration(RedisCacheService):
    """Wrong variant: starts with the same generation each time and misses an eviction."""

    async def _run(self, script: Any, keys: list[bytes], arguments: list[Any]) -> Any:
        if script is self._lease_script:
            arguments[1] = "the only one"
        return await super()._run(script, keys, arguments)


class IgnoresFailures(CircuitBreaker):
    """Wrong variant: does not record failed invalidations."""

    async def execute_change(
        self, operation: str, work: Any, keys: Any, *, includes_write: bool = False
    ) -> None:
        await self.execute(operation, work)


class IgnoresCancelledChanges(RedisCacheService):
    """Wrong variant: does not repeat a cancelled change."""

    def __init__(self, client: Redis, **settings: Any) -> None:
        super().__init__(client, **settings)
        self._breaker.__class__ = IgnoresFailures


async def _check_lost_generation(cache: RedisCacheService, client: Redis) -> None:
    await cache_tests.test_fill_lease_is_void_after_the_server_evicted_its_keys(
        cache, client, "shop:g"
    )


async def _check_late_write(cache: RedisCacheService, client: Redis) -> None:
    other = RedisCacheService(client, response_timeout=cache_tests.PATIENT, namespace="shop")
    await cache_tests.test_late_cache_write_does_not_outlive_a_later_deletion(cache, other)


async def _check_namespaces(cache: RedisCacheService, client: Redis) -> None:
    neighbour = RedisCacheService(
        client, namespace="neighbour", response_timeout=cache_tests.PATIENT
    )
    await neighbour.set("k", 1)
    await cache.clear()
    assert await neighbour.get("k") == 1


KIT = CacheContract()


@dataclass(frozen=True)
class Breaks:
    mutant: type[RedisCacheService]
    test: Callable[..., Awaitable[None]]


MUTANTS = (
    Breaks(FillsAnyway, KIT.test_cache_drops_a_fill_that_raced_a_write_or_an_invalidation),
    Breaks(FillsAnyway, KIT.test_fill_many_drops_only_the_keys_that_changed_since_they_were_leased),
    Breaks(
        LooksThenFills, KIT.test_expired_fill_lease_cannot_fill_and_is_granted_to_the_next_caller
    ),
    Breaks(DeletesTheValueOnly, KIT.test_cache_drops_a_fill_that_raced_a_write_or_an_invalidation),
    Breaks(DeletesTheValueOnly, KIT.test_delete_many_removes_cached_values_and_fill_leases),
    Breaks(
        SetsTheValueOnly, KIT.test_fill_many_drops_only_the_keys_that_changed_since_they_were_leased
    ),
    Breaks(SetsTheValueOnly, _check_late_write),
    Breaks(GrantsEveryLease, KIT.test_cache_grants_one_fill_lease_per_key_at_a_time),
    Breaks(GrantsEveryLease, KIT.test_cache_leases_and_fills_several_keys_in_one_call),
    Breaks(NeverExpires, KIT.test_cached_value_expires_after_its_ttl),
    Breaks(NeverExpires, KIT.test_fill_many_values_expire_after_their_ttl),
    Breaks(KeepsItsGeneration, cache_tests.test_cache_fill_during_a_clear_is_dropped),
    Breaks(KeepsItsGeneration, _check_late_write),
    Breaks(ClearsEverything, _check_namespaces),
    Breaks(IgnoresTheTenant, KIT.test_tenants_use_the_same_cache_key_independently),
    Breaks(OneGeneration, _check_lost_generation),
    Breaks(IgnoresCancelledChanges, _check_late_write),
)


@pytest.mark.parametrize(
    "breaks", MUTANTS, ids=lambda each: f"{each.mutant.__name__}-{each.test.__name__}"
)
async def test_cache_check_catches_each_wrong_redis_cache(client: Redis, breaks: Breaks) -> None:
    given: dict[str, Any] = {
        "cache": breaks.mutant(client, namespace="shop", response_timeout=cache_tests.PATIENT),
        "client": client,
    }
    wanted = inspect.signature(breaks.test).parameters

    with pytest.raises(AssertionError):
        await breaks.test(**{name: value for name, value in given.items() if name in wanted})
