"""Fill leases within one process, for a cache service without leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cqrs_ddd_core.ports import ICacheService, IClock, IVersionedCache
from cqrs_ddd_core.spi.caching.cache_validation import ensure_leased
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.spi.tenancy import get_row_tenant

from ..ports.persistence import R

_MANY = 1_000
Place = tuple[str, str]
"""Tenant and key."""


@dataclass
class _Gate:
    """Lock of one key, with the number of tasks that use it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class InProcessFillLeases(IVersionedCache):
    """Cache that drops a fill which raced an invalidation in the same process.

    A fill lease permits the one reader that missed a key to store its value; invalidation voids it.

    Invalidations by other processes are not noticed.

    Args:
        cache: cache service without leases.
        clock: measures the time of leases; by default the system clock.
    """

    def __init__(self, cache: ICacheService, clock: IClock | None = None) -> None:
        self._cache = cache
        self._clock = clock or SystemClock()
        self._leases: dict[Place, tuple[str, float]] = {}
        self._gates: dict[Place, _Gate] = {}
        self._tokens = count(1)
        self._many = _MANY

    async def get(self, key: str) -> Any | None:
        """Return the cached value, or None for a miss."""
        return await self._cache.get(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the cached values by key, with one concurrent read for each key."""
        distinct = list(dict.fromkeys(keys))
        found = await _gather(self._cache.get(key) for key in distinct)
        return {key: value for key, value in zip(distinct, found, strict=True) if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store the value after any fill of the key; void the fill lease."""
        place = _locate(key)
        self._leases.pop(place, None)
        async with self._lock(place):
            await self._cache.set(key, value, ttl)

    async def delete(self, key: str) -> None:
        """Delete the value and void the fill lease of the key."""
        place = _locate(key)
        self._leases.pop(place, None)
        # Wait for a running fill: its write could otherwise come after the deletion.
        async with self._lock(place):
            await self._cache.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete the values and void the fill leases of the keys."""
        await _gather(self.delete(key) for key in dict.fromkeys(keys))

    async def clear(self) -> None:
        """Delete all values and void all fill leases, so that no running load is stored."""
        self._leases.clear()
        await self._cache.clear()

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        """Return a new fill lease for ``ttl`` seconds, or None while another one is valid."""
        now, place = self._clock.monotonic(), _locate(key)
        present = self._leases.get(place)
        if present is not None and present[1] > now:
            return None
        if len(self._leases) >= self._many:
            self._drop_ended_leases(now)
        token = str(next(self._tokens))
        self._leases[place] = (token, now + ttl)
        return token

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        """Return new fill leases for ``ttl`` seconds, of the keys that have none."""
        leases = {key: await self.lease_fill(key, ttl) for key in dict.fromkeys(keys)}
        return {key: lease for key, lease in leases.items() if lease is not None}

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        """Store the value if the lease is still valid; return whether it was stored."""
        place = _locate(key)
        async with self._lock(place):
            present = self._leases.get(place)
            if present is None or present[0] != lease:
                return False
            if present[1] <= self._clock.monotonic():
                del self._leases[place]
                return False
            await self._cache.set(key, value, ttl)
            if self._leases.pop(place, None) == present:
                return True
            # The key was deleted, set or cleared during the write, so the value may be outdated.
            await self._cache.delete(key)
            return False

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        """Store the values with a lease that is still valid; return their keys."""
        ensure_leased(values, leases)
        filled = await _gather(
            self.fill(key, value, leases[key], ttl) for key, value in values.items()
        )
        return [key for key, is_filled in zip(values, filled, strict=True) if is_filled]

    def _drop_ended_leases(self, now: float) -> None:
        """Drop expired leases of keys that were never filled, since the value did not exist."""
        self._leases = {place: lease for place, lease in self._leases.items() if lease[1] > now}
        self._many = max(_MANY, 2 * len(self._leases))

    @asynccontextmanager
    async def _lock(self, place: Place) -> AsyncIterator[None]:
        gate = self._gates.setdefault(place, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[place]


def _locate(key: str) -> Place:
    return get_row_tenant("use a cached value"), key


async def _gather(work: Iterable[Awaitable[R]]) -> list[R]:
    """Await ``work`` concurrently; after all have ended, return the results or raise a failure."""
    results: list[R] = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
