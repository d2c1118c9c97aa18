"""A cache that is passed by where it fails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...ports.cache import IVersionedCache

logger = logging.getLogger(__name__)

FILL_LEASE = 10.0
"""Seconds within which a value has to be loaded to be cached."""


class FailOpenCache:
    """Each failure is logged, whatever the driver raises: slower, never an error."""

    def __init__(self, cache: IVersionedCache, ttl: float | None) -> None:
        self._cache = cache
        self._ttl = ttl

    async def read(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Those that are there."""
        try:
            return await self._cache.get_many(keys)
        except Exception as error:
            logger.warning("cannot read %s: %r", _named(keys), error)
            return {}

    async def lease(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The rights to fill those that nobody else is filling; empty ones where it fails."""
        try:
            return await self._cache.lease_many(keys, FILL_LEASE)
        except Exception as error:
            logger.warning("cannot fill %s: %r", _named(keys), error)
            return dict.fromkeys(keys, "")

    async def fill(self, values: Mapping[str, Any], leases: Mapping[str, str]) -> Collection[str]:
        """The keys that are cached: of these nothing has changed since the lease."""
        leased = {key: value for key, value in values.items() if leases.get(key)}
        if not leased:
            return ()
        try:
            return await self._cache.fill_many(leased, leases, self._ttl)
        except Exception as error:
            logger.warning("cannot fill %s: %r", _named(list(leased)), error)
            return ()

    async def drop(self, keys: Sequence[str]) -> None:
        try:
            await self._cache.delete_many(keys)
        except Exception as error:
            logger.warning("cannot drop %s: %r; it lives until its ttl ends", _named(keys), error)


def _named(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
