"""Leases for a cache that has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from cqrs_ddd_core.ports.cache import ICacheService, IVersionedCache
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.spi.caching.cache_validation import ensure_leased
from cqrs_ddd_core.spi.system_clock import SystemClock

R = TypeVar("R")

_MANY = 1_000


@dataclass
class _Gate:
    """Who changes one key at the cache waits for whoever does so already."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class InProcessFillLeases(IVersionedCache):
    """Makes a plain cache drop a fill which raced an invalidation in this process.

    An invalidation by another process it does not see.
    """

    def __init__(self, cache: ICacheService, clock: IClock | None = None) -> None:
        self._cache = cache
        self._clock = clock or SystemClock()
        self._leases: dict[str, tuple[str, float]] = {}
        self._gates: dict[str, _Gate] = {}
        self._tokens = count(1)
        self._many = _MANY

    async def get(self, key: str) -> Any | None:
        return await self._cache.get(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        distinct = list(dict.fromkeys(keys))
        found = await _at_once(self._cache.get(key) for key in distinct)
        return {key: value for key, value in zip(distinct, found, strict=True) if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        self._leases.pop(key, None)
        async with self._alone(key):
            await self._cache.set(key, value, ttl)

    async def delete(self, key: str) -> None:
        self._leases.pop(key, None)
        # After a fill that is on its way, which would otherwise outlive it.
        async with self._alone(key):
            await self._cache.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        await _at_once(self.delete(key) for key in dict.fromkeys(keys))

    async def clear(self) -> None:
        self._leases.clear()
        await self._cache.clear()

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        now = self._clock.monotonic()
        present = self._leases.get(key)
        if present is not None and present[1] > now:
            return None
        if len(self._leases) >= self._many:
            self._forget_old_ones(now)
        token = str(next(self._tokens))
        self._leases[key] = (token, now + ttl)
        return token

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        leases = {key: await self.lease_fill(key, ttl) for key in dict.fromkeys(keys)}
        return {key: lease for key, lease in leases.items() if lease is not None}

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        async with self._alone(key):
            present = self._leases.get(key)
            if present is None or present[0] != lease:
                return False
            if present[1] <= self._clock.monotonic():
                del self._leases[key]
                return False
            await self._cache.set(key, value, ttl)
            if self._leases.pop(key, None) == present:
                return True
            # Deleted or set meanwhile, which is done after this; or all was cleared, which is done.
            await self._cache.delete(key)
            return False

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        ensure_leased(values, leases)
        taken = await _at_once(
            self.fill(key, value, leases[key], ttl) for key, value in values.items()
        )
        return [key for key, is_taken in zip(values, taken, strict=True) if is_taken]

    def _forget_old_ones(self, now: float) -> None:
        """Of keys that were leased, and had no value to be filled with."""
        self._leases = {key: held for key, held in self._leases.items() if held[1] > now}
        self._many = max(_MANY, 2 * len(self._leases))

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        gate = self._gates.setdefault(key, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[key]


async def _at_once(work: Iterable[Awaitable[R]]) -> list[R]:
    """The printed protocol knows no batch; at once they take one round trip's time."""
    answers: list[R] = []
    # All of them end before the first failure is told, so that none outlives the call.
    for answer in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers
