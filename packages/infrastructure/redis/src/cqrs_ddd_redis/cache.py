"""Cache on one Redis server, shared by many processes."""

from __future__ import annotations

import random as system_random
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic_core import from_json
from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from cqrs_ddd_core.ports.cache import IVersionedCache
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import CacheError, ConfigError
from cqrs_ddd_core.spi import system_clock, tenancy
from cqrs_ddd_core.spi.caching import cache_validation as validation

from . import driver
from .circuit_breaker import CircuitBreaker, PendingInvalidations

T = TypeVar("T")

_BATCH = 1_000
_UNLIMITED = 1e9
"""Seconds; a ttl of this length or longer means no expiry."""


class RedisCacheService(IVersionedCache):
    """Cache that stores JSON; while the server fails, every read is a cache miss.

    An invalidation that the server has not confirmed is pending: this service serves and accepts no
    values until it has repeated the invalidation.

    Args:
        client: client of ``redis.asyncio``.
        namespace: prefix of the keys in Redis, such as the name of the application; ``clear``
            deletes the keys of this namespace only.
        response_timeout: seconds to wait for a reply of the server.
        pause: seconds without commands after a failure.
        jitter: largest fraction of a ttl (0 to below 1) by which it is shortened at random, so that
            values of one moment do not expire at once.
        fail_open: False to raise ``CacheError`` when the server fails.
        on_failure: called when the server fails, and at each probe that fails again; None logs
            failures.
        clock: measures ``pause``; None uses the system clock.
        random: returns numbers from 0 to below 1, for the jitter.

    Raises:
        ConfigError: an argument is out of range, or ``client`` is not a client of
            ``redis.asyncio``.

    Example:
        ```python
        import os

        from redis.asyncio import Redis

        from cqrs_ddd_redis import RedisCacheService

        async with Redis.from_url(os.environ["REDIS_URL"]) as client:
            cache = RedisCacheService(client, namespace="shop")
            await cache.set("stock", {"K-7": 3}, ttl=60)
            assert await cache.get("stock") == {"K-7": 3}
        ```
    """

    def __init__(
        self,
        client: Redis,
        *,
        namespace: str,
        response_timeout: float = 0.25,
        pause: float = 1.0,
        jitter: float = 0.1,
        fail_open: bool = True,
        on_failure: Callable[[CacheError], object] | None = None,
        clock: IClock | None = None,
        random: Callable[[], float] = system_random.random,
    ) -> None:
        driver.ensure_namespace(namespace, reserved={"v", "l", "g"})
        _ensure(response_timeout > 0, "response_timeout", "must be positive", response_timeout)
        _ensure(pause >= 0, "pause", "must not be negative", pause)
        _ensure(0 <= jitter < 1, "jitter", "must be from 0 to below 1", jitter)
        self._send = driver.get_execute(client)
        self._response_timeout = response_timeout
        self._jitter, self._random = jitter, random
        self._fail_open = fail_open
        self._namespace = namespace
        self._generation = f"{namespace}:g".encode()
        self._known_generation = self._unused_generation = ""
        self._lease_script = driver.load_script(client, "caching", "lease.lua")
        self._fill_script = driver.load_script(client, "caching", "fill.lua")
        self._set_script = driver.load_script(client, "caching", "set.lua")
        self._breaker = CircuitBreaker(
            self._repeat,
            pause=pause,
            clock=clock or system_clock.SystemClock(),
            on_failure=on_failure,
        )

    async def get(self, key: str) -> Any | None:
        """Return the value of the key, or None for a cache miss; send one MGET."""
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the values by key, without cache misses; send one MGET."""
        validation.ensure_keys(keys)
        distinct = list(dict.fromkeys(keys))
        own = _add_tenant(distinct, "read the cache")
        if not distinct:
            return {}
        # MGET even for one key: it returns nil for a value of another type, where GET would fail.
        command: list[driver.Argument] = ["MGET", *self._names(own, "v")]
        reading = self._breaker.execute(f"read {_label(distinct)}", lambda: self._execute(*command))
        contents: Sequence[bytes | None] = await self._await(reading, [])
        pairs = zip(distinct, contents, strict=False)
        found = {key: _decode(content) for key, content in pairs if content is not None}
        return {key: value for key, value in found.items() if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store a value and void its fill lease, by one script; a failure leaves it invalidated."""
        validation.ensure_key(key)
        validation.ensure_ttl([key], ttl)
        content = validation.encode_cached_value(key, value)
        own = _add_tenant([key], "write to the cache")
        keys = [*self._names(own, "vl"), self._generation]
        arguments: list[driver.Argument] = [content, self._to_milliseconds(ttl)]
        setting = self._breaker.execute_change(
            f"set {key}", lambda: self._write(keys, arguments), own, includes_write=True
        )
        await self._await(setting, None)

    async def _write(self, keys: list[bytes], arguments: list[driver.Argument]) -> None:
        # Twice, since the first call may only learn the generation. If the generation has changed
        # again by the second call, another client has voided all earlier writes: the key stays
        # unset.
        for _ in range(2):
            known, new = self._known_generation, self._unused_generation or token_hex(16)
            self._unused_generation = ""
            found = await self._run(self._set_script, keys, [*arguments, known, new])
            self._known_generation = found.decode() if isinstance(found, bytes) else found
            if self._known_generation == known:
                self._unused_generation = new
                return

    async def delete(self, key: str) -> None:
        """Delete a value and void its fill lease; a failure leaves a pending invalidation."""
        await self.delete_many([key])

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete values and void their fill leases by one UNLINK; a failure leaves them pending."""
        validation.ensure_keys(keys)
        own = _add_tenant(keys, "invalidate cached values")
        if keys:
            deleting = self._breaker.execute_change(
                f"delete {_label(keys)}", lambda: self._unlink(own), own
            )
            await self._await(deleting, None)

    async def clear(self) -> None:
        """Delete the keys of the tenant, found by SCAN, after voiding all fill leases.

        Inside ``system_tenant`` it deletes all keys of the namespace.
        """
        tenant_id = tenancy.get_visible_tenant()
        prefix = "" if tenant_id is None else _prefix(tenant_id)
        clearing = self._breaker.execute_change(
            "clear the cache", lambda: self._unlink_all(prefix), None
        )
        await self._await(clearing, None)

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        """Return a token for a fill, or None if another caller holds the lease of the key.

        A failing server grants the empty token, so that the caller loads without waiting.
        """
        return (await self.lease_many([key], ttl)).get(key)

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        """Return a token for each key that is free for a fill, by one script.

        A failing server grants empty tokens, so that callers load without waiting.
        """
        validation.ensure_keys(keys)
        validation.ensure_ttl(keys, ttl)
        tokens = {key: token_hex(16) for key in keys}
        own = _add_tenant(tokens, "lease keys of the cache")
        if not tokens:
            return {}
        names = [*self._names(own, "l"), self._generation]
        milliseconds = max(1, int(min(ttl, _UNLIMITED) * 1000))
        arguments: list[driver.Argument] = [milliseconds, token_hex(16), *tokens.values()]
        leasing = self._breaker.execute(
            f"lease {_label(keys)}", lambda: self._run(self._lease_script, names, arguments)
        )
        granted = await self._await(leasing, None)
        if granted is None:
            # Without a token the caller would wait for the fill of another caller, although the
            # server is unavailable.
            return dict.fromkeys(tokens, "")
        pairs = zip(tokens.items(), granted, strict=True)
        return {key: token for (key, token), is_granted in pairs if is_granted}

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        """Store a loaded value and return True, unless its lease is void or has expired."""
        return bool(await self.fill_many({key: value}, {key: lease}, ttl))

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        """Store loaded values by one script, and return the keys of the accepted values."""
        validation.ensure_keys(values)
        validation.ensure_ttl(values, ttl)
        validation.ensure_leased(values, leases)
        encode = validation.encode_cached_value
        contents = {key: encode(key, value) for key, value in values.items()}
        filled = [key for key in contents if leases[key]]
        own = _add_tenant(filled, "fill the cache")
        if not filled:
            return ()
        names = [*self._names(own, "vl"), self._generation]
        fills = [(leases[key], contents[key], self._to_milliseconds(ttl)) for key in filled]
        arguments: list[driver.Argument] = [part for fill in fills for part in fill]
        filling = self._breaker.execute(
            f"fill {_label(filled)}", lambda: self._run(self._fill_script, names, arguments)
        )
        accepted: Sequence[int] = await self._await(filling, [])
        return [key for key, is_filled in zip(filled, accepted, strict=False) if is_filled]

    async def _await(self, call: Awaitable[T], default: T) -> T:
        """Await a call; return ``default`` if the server fails and ``fail_open`` is set."""
        try:
            return await call
        except CacheError:
            if self._fail_open:
                return default
            raise

    async def _repeat(self, pending: PendingInvalidations) -> None:
        if not pending:
            await self._execute("PING")
        elif pending.all_keys:
            await self._unlink_all()
        else:
            if pending.includes_write:
                await self._renew_generation()
            keys = list(pending.keys)
            for begin in range(0, len(keys), _BATCH):
                await self._unlink(keys[begin : begin + _BATCH])

    async def _unlink_all(self, prefix: str = "") -> None:
        # First the generation, or a fill that has been sent could arrive after the deletion.
        await self._renew_generation()
        escaped, own = (re.sub(r"([\\*?\[\]])", r"\\\1", e) for e in (self._namespace, prefix))
        cursor: bytes | int = 0
        while True:
            scan = ("SCAN", cursor, "MATCH", f"{escaped}:[vl]:{own}*", "COUNT", _BATCH)
            cursor, names = await self._execute(*scan)
            if names:
                await self._execute("UNLINK", *names)
            if not int(cursor):
                return

    async def _renew_generation(self) -> None:
        """Void all fills and writes that have been sent and have not arrived."""
        await self._execute("SET", self._generation, token_hex(16))

    async def _unlink(self, keys: Sequence[str]) -> None:
        # Together with the lease: a fill that has been sent must not arrive after the deletion.
        await self._execute("UNLINK", *self._names(keys, "vl"))

    async def _run(
        self, script: driver.Script, keys: list[bytes], arguments: list[driver.Argument]
    ) -> Any:
        return await driver.execute_with_timeout(script(keys, arguments), self._response_timeout)

    async def _execute(self, *command: driver.Argument) -> Any:
        """Send a command and return the reply as bytes, even if the client decodes replies."""
        sending = self._send(*command, **{NEVER_DECODE: True})
        return await driver.execute_with_timeout(sending, self._response_timeout)

    def _names(self, keys: Iterable[str], kinds: str) -> list[bytes]:
        """Return the names in Redis of values (kind v), leases (kind l) or both.

        Each key begins with its tenant.
        """
        return [f"{self._namespace}:{kind}:{key}".encode() for key in keys for kind in kinds]

    def _to_milliseconds(self, ttl: float | None) -> int:
        """Return the ttl in milliseconds, shortened by the jitter; 0 means no expiry."""
        if ttl is None or ttl >= _UNLIMITED:
            return 0
        return max(1, int(ttl * 1000 * (1 - self._jitter * self._random())))


def _prefix(tenant_id: str) -> str:
    # Quoted, so that the first colon ends the tenant.
    return f"{quote(tenant_id, safe='')}:"


def _add_tenant(keys: Iterable[str], operation: str) -> list[str]:
    """Return the keys behind the tenant of the running request."""
    prefix = _prefix(tenancy.get_row_tenant(operation))
    return [prefix + key for key in keys]


def _ensure(is_valid: bool, variable: str, rule: str, value: object) -> None:
    if not is_valid:
        raise ConfigError(f"{variable} {rule}, got {value!r}", variable=variable)


def _label(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{len(keys)} keys"


def _decode(content: bytes) -> Any | None:
    """Parse JSON; return None for other content, which another program must have written."""
    try:
        return from_json(content)
    except ValueError:
        return None
