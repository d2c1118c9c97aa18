"""A cache on one Redis server, shared by many processes."""

from __future__ import annotations

import random as dice
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic_core import from_json
from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from cqrs_ddd_core.ports.cache import IVersionedCache
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import CacheError, ConfigError
from cqrs_ddd_core.spi.caching.cache_validation import (
    encode_cached_value,
    ensure_key,
    ensure_keys,
    ensure_leased,
    ensure_ttl,
)
from cqrs_ddd_core.spi.system_clock import SystemClock

from .circuit_breaker import Circuit, Owed
from .driver import Script, answered, load_script
from .namespace import Namespace

T = TypeVar("T")

_AT_ONCE = 1_000
_FOR_EVER = 1e9
"""Seconds from which a limit is none."""


class RedisCacheService(IVersionedCache):
    """Values as JSON; where the server fails, a cache that has nothing and keeps nothing.

    What could not be deleted is remembered: until the deletion was repeated, this service has no
    value for anybody and takes none.

    Args:
        namespace: what the keys in Redis begin with; each one is cleared alone.
        timeout: seconds that one call waits for the server.
        pause: seconds that the server is left alone after a failure.
        jitter: the part of a ttl by which it is shortened at most, so that not all end at once.
        fail_open: False to raise ``CacheError`` instead.
        on_failure: called when the server fails, and at each try that fails again; else it is
            logged.
    """

    def __init__(
        self,
        client: Redis,
        *,
        namespace: str = "cache",
        timeout: float = 0.25,
        pause: float = 1.0,
        jitter: float = 0.1,
        fail_open: bool = True,
        on_failure: Callable[[CacheError], object] | None = None,
        clock: IClock | None = None,
        random: Callable[[], float] = dice.random,
    ) -> None:
        _refuse_settings(timeout, pause, jitter)
        self._client = client
        self._timeout = timeout
        self._jitter = jitter
        self._random = random
        self._fail_open = fail_open
        self._names = Namespace(namespace)
        self._known_generation = ""
        self._unused_generation = ""
        self._lease_script = load_script(client, "caching", "lease.lua")
        self._fill_script = load_script(client, "caching", "fill.lua")
        self._set_script = load_script(client, "caching", "set.lua")
        self._circuit = Circuit(
            self._repeat, pause=pause, clock=clock or SystemClock(), on_failure=on_failure
        )

    async def get(self, key: str) -> Any | None:
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        ensure_keys(keys)
        distinct = list(dict.fromkeys(keys))
        if not distinct:
            return {}
        # MGET also for one: what is no text is then absent, and GET would fail.
        command = ["MGET", *self._names.values(distinct)]
        nothing: list[bytes | None] = []
        contents = await self._ask(
            f"read {_named(distinct)}", lambda: self._execute(*command), nothing
        )
        found = {
            key: _value_of(content)
            for key, content in zip(distinct, contents, strict=False)
            if content is not None
        }
        return {key: value for key, value in found.items() if value is not None}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        ensure_key(key)
        ensure_ttl([key], ttl)
        content = encode_cached_value(key, value)
        names = [*self._names.both([key]), self._names.generation]
        written: list[Any] = [content, self._milliseconds(ttl)]
        await self._change(
            f"set {key}", lambda: self._write(names, written), [key], is_written=True
        )

    async def _write(self, names: list[bytes], written: list[Any]) -> None:
        # Twice, since the first time may tell the generation only. If it has changed again,
        # everything was deleted meanwhile, and so is this.
        for _ in range(2):
            known, new = self._known_generation, self._unused_generation or _token()
            self._unused_generation = ""
            found = await self._run(self._set_script, names, [*written, known, new])
            self._known_generation = found.decode() if isinstance(found, bytes) else found
            if self._known_generation == known:
                self._unused_generation = new
                return

    async def delete(self, key: str) -> None:
        await self.delete_many([key])

    async def delete_many(self, keys: Sequence[str]) -> None:
        ensure_keys(keys)
        if keys:
            await self._change(f"delete {_named(keys)}", lambda: self._unlink(keys), keys)

    async def clear(self) -> None:
        await self._change("clear the cache", self._wipe, None)

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        return (await self.lease_many([key], ttl)).get(key)

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        ensure_keys(keys)
        ensure_ttl(keys, ttl)
        tokens = {key: _token() for key in keys}
        if not tokens:
            return {}
        lasting = max(1, int(min(ttl, _FOR_EVER) * 1000))
        granted = await self._ask(
            f"lease {_named(keys)}",
            lambda: self._run(
                self._lease_script,
                [*self._names.leases(tokens), self._names.generation],
                [lasting, _token(), *tokens.values()],
            ),
            None,
        )
        if granted is None:
            # Not "another one is filling": nobody should wait for a server that is away.
            return dict.fromkeys(tokens, "")
        pairs = zip(tokens.items(), granted, strict=True)
        return {key: token for (key, token), is_granted in pairs if is_granted}

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        return bool(await self.fill_many({key: value}, {key: lease}, ttl))

    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        ensure_keys(values)
        ensure_ttl(values, ttl)
        ensure_leased(values, leases)
        contents = {key: encode_cached_value(key, value) for key, value in values.items()}
        filled = [key for key in contents if leases[key]]
        if not filled:
            return ()
        arguments = [
            part for key in filled for part in (leases[key], contents[key], self._milliseconds(ttl))
        ]
        nothing: list[int] = []
        taken = await self._ask(
            f"fill {_named(filled)}",
            lambda: self._run(
                self._fill_script, [*self._names.both(filled), self._names.generation], arguments
            ),
            nothing,
        )
        return [key for key, is_taken in zip(filled, taken, strict=False) if is_taken]

    async def _ask(self, operation: str, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        try:
            return await self._circuit.ask(operation, work)
        except CacheError:
            if self._fail_open:
                return otherwise
            raise

    async def _change(
        self,
        operation: str,
        work: Callable[[], Awaitable[object]],
        keys: Sequence[str] | None,
        *,
        is_written: bool = False,
    ) -> None:
        try:
            await self._circuit.change(operation, work, keys, is_written=is_written)
        except CacheError:
            if not self._fail_open:
                raise

    async def _repeat(self, owed: Owed) -> None:
        if not owed:
            await self._execute("PING")
        elif owed.everything:
            await self._wipe()
        else:
            if owed.is_written:
                await self._renew()
            keys = list(owed.keys)
            for begin in range(0, len(keys), _AT_ONCE):
                await self._unlink(keys[begin : begin + _AT_ONCE])

    async def _wipe(self) -> None:
        # First, or the fills that are under way would come after it.
        await self._renew()
        cursor: bytes | int = 0
        while True:
            cursor, names = await self._execute(
                "SCAN", cursor, "MATCH", self._names.pattern, "COUNT", _AT_ONCE
            )
            if names:
                await self._execute("UNLINK", *names)
            if not int(cursor):
                return

    async def _renew(self) -> None:
        """A new generation: fills and writes that are under way come to nothing."""
        await self._execute("SET", self._names.generation, _token())

    async def _unlink(self, keys: Sequence[str]) -> None:
        # With the lease, in one step: a fill that is under way must not come after it.
        await self._execute("UNLINK", *self._names.both(keys))

    async def _run(self, script: Script, keys: list[bytes], arguments: list[Any]) -> Any:
        return await answered(script(keys, arguments), within=self._timeout)

    async def _execute(self, *command: Any) -> Any:
        """Answers bytes, whatever the client decodes."""
        execute: Any = self._client.execute_command
        return await answered(execute(*command, **{NEVER_DECODE: True}), within=self._timeout)

    def _milliseconds(self, ttl: float | None) -> int:
        """Never more than asked for, and 0 for no limit."""
        if ttl is None or ttl >= _FOR_EVER:
            return 0
        return max(1, int(ttl * 1000 * (1 - self._jitter * self._random())))


def _refuse_settings(timeout: float, pause: float, jitter: float) -> None:
    if not timeout > 0:
        raise ConfigError(f"timeout must be positive, got {timeout!r}", variable="timeout")
    if not pause >= 0:
        raise ConfigError(f"pause must not be negative, got {pause!r}", variable="pause")
    if not 0 <= jitter < 1:
        raise ConfigError(f"jitter must be from 0 to below 1, got {jitter!r}", variable="jitter")


def _named(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{len(keys)} keys"


def _token() -> str:
    return secrets.token_hex(16)


def _value_of(content: bytes) -> Any | None:
    """None for what another program has left there."""
    try:
        return from_json(content)
    except ValueError:
        return None
