"""A cache in a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from ...ports.cache import IVersionedCache
from ...ports.clock import IClock, SystemClock
from ...primitives.exceptions import InvalidOperationError, SerializationError


@dataclass(frozen=True)
class _Until:
    content: bytes
    time: float


class InMemoryCache(IVersionedCache):
    """Keeps values as JSON, as a cache over a network does; what comes out is a copy."""

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._values: dict[str, _Until] = {}
        self._leases: dict[str, _Until] = {}
        self._tokens = count(1)

    async def get(self, key: str) -> Any | None:
        _refuse_key(key)
        await asyncio.sleep(0)
        return self._read(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        for key in keys:
            _refuse_key(key)
        await asyncio.sleep(0)
        found = {key: self._read(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        entry = self._entry(key, value, ttl)
        await asyncio.sleep(0)
        self._leases.pop(key, None)
        self._values[key] = entry

    async def delete(self, key: str) -> None:
        _refuse_key(key)
        await asyncio.sleep(0)
        self._leases.pop(key, None)
        self._values.pop(key, None)

    async def clear(self) -> None:
        await asyncio.sleep(0)
        self._leases.clear()
        self._values.clear()

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        _refuse_key(key)
        _refuse_ttl(key, ttl)
        await asyncio.sleep(0)
        present = self._leases.get(key)
        if present is not None and present.time > self._clock.monotonic():
            return None
        token = str(next(self._tokens))
        self._leases[key] = _Until(token.encode(), self._clock.monotonic() + ttl)
        return token

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        entry = self._entry(key, value, ttl)
        await asyncio.sleep(0)
        present = self._leases.get(key)
        if present is None or present.content != lease.encode():
            return False
        del self._leases[key]
        if present.time <= self._clock.monotonic():
            return False
        self._values[key] = entry
        return True

    def _read(self, key: str) -> Any | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry.time <= self._clock.monotonic():
            del self._values[key]
            return None
        return from_json(entry.content)

    def _entry(self, key: str, value: Any, ttl: float | None) -> _Until:
        _refuse_key(key)
        _refuse_ttl(key, ttl)
        try:
            content = to_json(value)
        except (PydanticSerializationError, ValueError) as error:
            raise SerializationError(
                f"the value for {key} cannot be written as JSON: {error}; cache JSON values only",
                type_name=type(value).__name__,
            ) from error
        return _Until(content, inf if ttl is None else self._clock.monotonic() + ttl)


def _refuse_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a cache key is a text, got {key!r}")


def _refuse_ttl(key: str, ttl: float | None) -> None:
    if ttl is not None and not ttl > 0:
        raise InvalidOperationError(
            f"cannot keep {key} for {ttl} s; ttl must be positive, or None for no limit"
        )
