"""A cache that is passed by where it fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ports.cache import IVersionedCache

logger = logging.getLogger(__name__)

FILL_LEASE = 10.0
"""Seconds within which a value has to be loaded to be cached."""


class TolerantCache:
    """Each failure is logged, whatever the driver raises: slower, never an error."""

    def __init__(self, cache: IVersionedCache, ttl: float | None) -> None:
        self._cache = cache
        self._ttl = ttl

    async def read(self, key: str) -> Any:
        try:
            return await self._cache.get(key)
        except Exception as error:
            logger.warning("cannot read %s: %r", key, error)
            return None

    async def read_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Those that are there."""
        if len(keys) == 1:
            found = await self.read(keys[0])
            return {} if found is None else {keys[0]: found}
        try:
            return await self._cache.get_many(keys)
        except Exception as error:
            logger.warning("cannot read %s: %r", ", ".join(keys), error)
            return {}

    async def lease(self, key: str) -> str | None:
        try:
            return await self._cache.lease_fill(key, FILL_LEASE)
        except Exception as error:
            logger.warning("cannot fill %s: %r", key, error)
            return None

    async def fill(self, key: str, value: Any, lease: str) -> bool:
        """Whether it is cached: then nothing has changed since the lease."""
        try:
            return await self._cache.fill(key, value, lease, self._ttl)
        except Exception as error:
            logger.warning("cannot fill %s: %r", key, error)
            return False

    async def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                await self._cache.delete(key)
            except Exception as error:
                logger.warning("cannot drop %s: %r; it lives until its ttl ends", key, error)
