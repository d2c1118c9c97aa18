"""A cache that is passed by where it fails."""

import logging
from collections.abc import Collection, Mapping, Sequence

from ...ports.cache import IVersionedCache

logger = logging.getLogger(__name__)

FILL_LEASE = 10.0
"""Seconds within which a value has to be loaded to be cached."""


class FailOpenCache:
    """Cache whose failures are logged, whatever the driver raises: reads get slower, never fail."""

    def __init__(self, cache: IVersionedCache, ttl: float | None) -> None:
        self._cache = cache
        self._ttl = ttl

    async def read(self, keys: Sequence[str]) -> Mapping[str, object]:
        """Return the cached values."""
        try:
            return await self._cache.get_many(keys)
        except Exception as error:
            logger.warning("cannot read %s: %r", _describe(keys), error)
            return {}

    async def lease(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return leases for the keys that no other caller is filling; empty ones if this fails."""
        try:
            return await self._cache.lease_many(keys, FILL_LEASE)
        except Exception as error:
            logger.warning("cannot fill %s: %r", _describe(keys), error)
            return dict.fromkeys(keys, "")

    async def fill(
        self, values: Mapping[str, object], leases: Mapping[str, str]
    ) -> Collection[str]:
        """Return the keys that are cached, because none has changed since its lease."""
        leased = {key: value for key, value in values.items() if leases.get(key)}
        if not leased:
            return ()
        try:
            return await self._cache.fill_many(leased, leases, self._ttl)
        except Exception as error:
            logger.warning("cannot fill %s: %r", _describe(list(leased)), error)
            return ()

    async def drop(self, keys: Sequence[str]) -> None:
        try:
            await self._cache.delete_many(keys)
        except Exception as error:
            logger.warning(
                "cannot drop %s: %r; it lives until its ttl ends", _describe(keys), error
            )


def _describe(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
