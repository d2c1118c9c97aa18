"""In-memory cache."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

from pydantic_core import from_json

from ...ports import IClock, IVersionedCache
from ...spi import tenancy
from ...spi.caching import cache_validation as validation
from ...spi.system_clock import SystemClock

Place = tuple[str, str]
"""Tenant and key."""


@dataclass(frozen=True)
class _Entry:
    content: bytes
    expires_at: float


class InMemoryCacheService(IVersionedCache):
    """In-memory cache, which stores values as JSON, as a cache over a network does.

    Args:
        clock: measures times to live; the system clock by default.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._values: dict[Place, _Entry] = {}
        self._leases: dict[Place, _Entry] = {}
        self._tokens = count(1)

    async def get(self, key: str) -> Any | None:
        """Return a new copy of the value, or None after a cache miss."""
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return new copies of the values of the keys that have one."""
        validation.ensure_keys(keys)
        tenant_id = tenancy.get_row_tenant("read the cache")
        await asyncio.sleep(0)
        found = {key: self._read((tenant_id, key)) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store the value as JSON, and void the fill lease of its key."""
        entry = self._make_entry(key, value, ttl)
        place = tenancy.get_row_tenant("write to the cache"), key
        await asyncio.sleep(0)
        self._leases.pop(place, None)
        self._values[place] = entry

    async def delete(self, key: str) -> None:
        """Delete the value of the key and void its fill lease."""
        await self.delete_many([key])

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete the values of the keys and void their fill leases."""
        validation.ensure_keys(keys)
        tenant_id = tenancy.get_row_tenant("invalidate cached values")
        await asyncio.sleep(0)
        for key in keys:
            self._leases.pop((tenant_id, key), None)
            self._values.pop((tenant_id, key), None)

    async def clear(self) -> None:
        """Delete all values and fill leases of the tenant; all inside ``system_tenant``."""
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        for entries in (self._leases, self._values):
            for place in [each for each in entries if tenant_id in (None, each[0])]:
                del entries[place]

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        """Grant a fill lease for ``ttl`` seconds, or return None while another reader holds one."""
        return (await self.lease_many([key], ttl)).get(key)

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        """Return fill leases for ``ttl`` seconds, for the keys that no other reader has leased."""
        validation.ensure_keys(keys)
        validation.ensure_ttl(keys, ttl)
        tenant_id = tenancy.get_row_tenant("lease keys of the cache")
        await asyncio.sleep(0)
        now = self._clock.monotonic()
        granted = {}
        for key in dict.fromkeys(keys):
            present = self._leases.get((tenant_id, key))
            if present is None or present.expires_at <= now:
                granted[key] = token = str(next(self._tokens))
                self._leases[tenant_id, key] = _Entry(token.encode(), now + ttl)
        return granted

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        """Store the value if its fill lease is still valid; return whether it was stored."""
        return bool(await self.fill_many({key: value}, {key: lease}, ttl))

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        """Store the values with valid fill leases; return their keys."""
        validation.ensure_leased(values, leases)
        entries = {key: self._make_entry(key, value, ttl) for key, value in values.items()}
        tenant_id = tenancy.get_row_tenant("fill the cache")
        await asyncio.sleep(0)
        filled = entries.items()
        return [k for k, entry in filled if self._fill((tenant_id, k), entry, leases[k])]

    def _fill(self, place: Place, entry: _Entry, lease: str) -> bool:
        present = self._leases.get(place)
        if present is None or present.content != lease.encode():
            return False
        del self._leases[place]
        if present.expires_at <= self._clock.monotonic():
            return False
        self._values[place] = entry
        return True

    def _read(self, place: Place) -> Any | None:
        entry = self._values.get(place)
        if entry is None:
            return None
        if entry.expires_at <= self._clock.monotonic():
            del self._values[place]
            return None
        return from_json(entry.content)

    def _make_entry(self, key: str, value: Any, ttl: float | None) -> _Entry:
        validation.ensure_key(key)
        validation.ensure_ttl([key], ttl)
        return _Entry(
            validation.encode_cached_value(key, value),
            inf if ttl is None else self._clock.monotonic() + ttl,
        )
