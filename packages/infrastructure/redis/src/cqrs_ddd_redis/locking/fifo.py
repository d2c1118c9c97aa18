"""A lock that is given in the order in which it was asked for."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, LockingError
from cqrs_ddd_core.primitives.shielding import finish

from ..driver import answered, load_script, translated
from ..listening import Listener
from .strategy import Grant, RedisLockStrategy

_HEARTBEATS_PER_WINDOW = 3
_RETRY = 0.05
"""Seconds until a server that failed is asked again."""


@dataclass(eq=False)
class _Waiter:
    """One who asks until it is his turn."""

    resource: str
    owner: str
    ttl: float
    waits: bool
    ticket: int = 0
    pause: float = 0.0
    called: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Until the server calls, or for so long."""
        self.called = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({self.called}, timeout=seconds)
        finally:
            self.called = None


class FifoRedisLockStrategy(RedisLockStrategy):
    """First come, first served, on one server.

    Whoever waits shows every ``heartbeat`` seconds that it is alive; after three it missed it is
    passed over. A server that does not answer within ``response_timeout`` seconds is asked again
    until the time is up; then that is a ``LockingError``.
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "lock:fifo",
        heartbeat: float = 1.0,
        response_timeout: float = 1.0,
        clock: IClock | None = None,
    ) -> None:
        super().__init__(response_timeout=response_timeout, clock=clock)
        if not heartbeat > 0:
            raise InvalidOperationError(f"heartbeat={heartbeat} is no pause; give positive seconds")
        self._prefix = prefix
        self._heartbeat = heartbeat
        self._window = _milliseconds(heartbeat * _HEARTBEATS_PER_WINDOW)
        self._channel = f"{prefix}:called:{secrets.token_hex(8)}"
        self._listener = Listener(client, self._call)
        self._waiters: dict[str, _Waiter] = {}
        self._ask_for_it = load_script(client, "locking", "queue.lua", "acquire.lua")
        self._ask_to_release = load_script(client, "locking", "queue.lua", "release.lua")
        self._ask_to_extend = load_script(client, "locking", "extend.lua")

    async def _take(self, resource: str, owner: str, timeout: float, ttl: float) -> Grant | None:
        waiter = _Waiter(resource, owner, ttl, waits=timeout > 0)
        self._waiters[owner] = waiter
        grant: Grant | None = None
        is_refused = False
        try:
            grant = await self._wait(waiter, self._clock.monotonic() + timeout)
            is_refused = grant is None and not waiter.waits
            return grant
        finally:
            del self._waiters[owner]
            if grant is None and not is_refused:
                await self._leave(resource, owner)

    async def _wait(self, waiter: _Waiter, deadline: float) -> Grant | None:
        async with AsyncExitStack() as stack:
            is_heard = False
            while True:
                failure: LockingError | None = None
                try:
                    if (grant := await self._ask(waiter)) is not None:
                        return grant
                except LockingError as error:
                    failure = error
                    waiter.pause = _RETRY
                if (remaining := deadline - self._clock.monotonic()) <= 0:
                    break
                if not is_heard:
                    was_listening = self._listener.is_listening
                    await stack.enter_async_context(self._listener.listening(self._channel))
                    is_heard = True
                    if not was_listening:
                        continue  # He may have been called when nobody listened.
                await waiter.sleep(min(waiter.pause, remaining))
        if failure is not None:
            raise failure
        return None

    async def _ask(self, waiter: _Waiter) -> Grant | None:
        asked = self._clock.monotonic()
        arguments = (
            waiter.owner,
            _milliseconds(waiter.ttl),
            self._window,
            int(waiter.waits),
            waiter.ticket,
        )
        with translated(LockingError, f"lock {waiter.resource}"):
            token, pause, waiter.ticket = await answered(
                self._ask_for_it(self._keys(waiter.resource), arguments),
                within=self._response_timeout,
            )
        waiter.pause = self._heartbeat if pause < 0 else min(pause / 1000, self._heartbeat)
        valid_until = asked + self._validity(waiter.ttl)
        if not token or self._clock.monotonic() >= valid_until:
            return None
        return Grant(waiter.owner, token, valid_until)

    async def _leave(self, resource: str, owner: str) -> None:
        """Also when this task is cancelled; where it fails, what is left ends by itself."""

        async def leave() -> None:
            with suppress(LockingError):
                await self._give_back(resource, owner)

        ended = await finish(leave())
        if ended.interruption is not None:
            raise ended.interruption

    async def _extend(self, resource: str, owner: str, ttl: float) -> bool:
        extending = self._ask_to_extend(self._keys(resource)[:1], (owner, _milliseconds(ttl)))
        with translated(LockingError, f"extend {resource}"):
            return bool(await answered(extending, within=self._response_timeout))

    async def _give_back(self, resource: str, owner: str) -> bool:
        releasing = self._ask_to_release(self._keys(resource), (owner, self._window))
        with translated(LockingError, f"release {resource}"):
            return bool(await answered(releasing, within=self._response_timeout))

    def _new_owner(self) -> str:
        # The part before the stroke is where the server calls him.
        return f"{self._channel}/{super()._new_owner()}"

    def _keys(self, resource: str) -> list[str]:
        lock = f"{self._prefix}:{{{resource}}}"
        return [lock, f"{lock}:fence", f"{lock}:queue", f"{lock}:alive"]

    def _call(self, channel: str, owner: str) -> None:
        waiter = self._waiters.get(owner)
        if waiter is not None and waiter.called is not None and not waiter.called.done():
            waiter.called.set_result(None)


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
