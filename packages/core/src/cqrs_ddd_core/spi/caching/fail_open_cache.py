"""Cache that is bypassed if it fails."""

import logging
from collections.abc import Collection, Mapping, Sequence

from ...ports.cache import IVersionedCache
from ...primitives.exceptions import describe_error

logger = logging.getLogger(__name__)

FILL_LEASE = 10.0
"""Seconds after which a fill lease expires; a value that is loaded later is not cached."""


class FailOpenCache:
    """Cache that logs every error of the driver, so that reads get slower instead of failing.

    Args:
        cache: cache to use.
        ttl: seconds for which values stay cached; None sets no limit.
    """

    def __init__(self, cache: IVersionedCache, ttl: float | None) -> None:
        self._cache = cache
        self._ttl = ttl

    async def read(self, keys: Sequence[str]) -> Mapping[str, object]:
        """Return the cached values; return none of them if the cache fails."""
        try:
            return await self._cache.get_many(keys)
        except Exception as error:
            logger.warning("cannot read %s: %s", _describe(keys), describe_error(error))
            return {}

    async def lease(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return fill leases for the keys that no other reader has leased; empty if this fails."""
        try:
            return await self._cache.lease_many(keys, FILL_LEASE)
        except Exception as error:
            logger.warning("cannot fill %s: %s", _describe(keys), describe_error(error))
            return dict.fromkeys(keys, "")

    async def fill(
        self, values: Mapping[str, object], leases: Mapping[str, str]
    ) -> Collection[str]:
        """Store the values with a lease; return the keys that were stored."""
        leased = {key: value for key, value in values.items() if leases.get(key)}
        if not leased:
            return ()
        try:
            return await self._cache.fill_many(leased, leases, self._ttl)
        except Exception as error:
            logger.warning("cannot fill %s: %s", _describe(list(leased)), describe_error(error))
            return ()

    async def drop(self, keys: Sequence[str]) -> None:
        """Invalidate the keys; if this fails, their values stay until their ttl ends."""
        try:
            await self._cache.delete_many(keys)
        except Exception as error:
            logger.warning(
                "cannot drop %s: %s; it stays cached until its ttl ends",
                _describe(keys),
                describe_error(error),
            )


def _describe(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
