"""A lock that is given in the order in which it was asked for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, LockingError

from ..driver import FAILURES, answered, explain, load_script, text_of
from ..pubsub import Listener
from .strategy import Grant, RedisLockStrategy, milliseconds

_HEARTBEATS_PER_WINDOW = 3
_RETRY = 0.05
"""Seconds until a server that failed is asked again."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """One who asks until it is his turn."""

    resource: str
    owner: str
    ttl: float
    deadline: float
    waits: bool
    is_refused: bool = False
    is_called: bool = False
    ticket: int = 0
    pause: float = 0.0
    awake: asyncio.Future[None] | None = None
    failure: LockingError | None = None

    def is_over(self, clock: IClock) -> bool:
        return clock.monotonic() >= self.deadline

    def call(self) -> None:
        """May come before the answer to the question that led to it."""
        self.is_called = True
        self.wake()

    def wake(self) -> None:
        if self.awake is not None and not self.awake.done():
            self.awake.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Until the server calls him, or for so long."""
        if self.is_called:
            return
        loop = asyncio.get_running_loop()
        self.awake = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self.awake
        finally:
            self.awake = None
            timer.cancel()


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
        self._window = milliseconds(heartbeat * _HEARTBEATS_PER_WINDOW)
        self._channel = f"{prefix}:called:{secrets.token_hex(8)}"
        self._listener = Listener(client, self._channel, self._call)
        self._waiters: dict[str, _Waiter] = {}
        self._ask_for_it = load_script(client, "locking", "queue.lua", "acquire.lua")
        self._ask_to_claim = load_script(client, "locking", "queue.lua", "claim.lua")
        self._ask_to_release = load_script(client, "locking", "queue.lua", "release.lua")
        self._ask_to_extend = load_script(client, "locking", "extend.lua")

    async def _take(self, resource: str, owner: str, timeout: float, ttl: float) -> Grant | None:
        waiter = _Waiter(resource, owner, ttl, self._clock.monotonic() + timeout, timeout > 0)
        self._waiters[owner] = waiter
        grant: Grant | None = None
        try:
            grant = await self._try(waiter, self._ask)
            if grant is None and not waiter.is_over(self._clock):
                grant = await self._wait(waiter)
            if grant is None and waiter.failure is not None:
                raise waiter.failure
            return grant
        finally:
            del self._waiters[owner]
            if grant is None and not waiter.is_refused:
                await self._leave(resource, owner)

    async def _wait(self, waiter: _Waiter) -> Grant | None:
        was_listening = self._listener.is_listening
        async with self._listener.listening(waiter.deadline - self._clock.monotonic()):
            # He may have been called when nobody listened.
            grant = None if was_listening else await self._try(waiter, self._ask)
            while grant is None and not waiter.is_over(self._clock):
                remaining = waiter.deadline - self._clock.monotonic()
                await waiter.sleep(min(waiter.pause, remaining))
                if waiter.is_called:
                    waiter.is_called = False
                    grant = await self._try(waiter, self._claim)
                if grant is None:
                    grant = await self._try(waiter, self._ask)
            return grant

    async def _try(
        self, waiter: _Waiter, ask: Callable[[_Waiter], Awaitable[Grant | None]]
    ) -> Grant | None:
        """A server that fails may be back before the time is over."""
        try:
            waiter.failure = None
            return await ask(waiter)
        except LockingError as failure:
            waiter.failure = failure
            waiter.pause = _RETRY
            return None

    async def _ask(self, waiter: _Waiter) -> Grant | None:
        """Joins the queue, or stays in it, or takes what was granted meanwhile."""
        asked = self._clock.monotonic()
        asking = self._ask_for_it(
            [*self._keys(waiter.resource), self._gone(waiter.owner)],
            (
                waiter.owner,
                milliseconds(waiter.ttl),
                self._window,
                int(waiter.waits),
                waiter.ticket,
            ),
        )
        answer = await self._answer("lock", waiter.resource, asking)
        if isinstance(answer, list):
            pause, waiter.ticket = answer
            waiter.pause = self._heartbeat if pause < 0 else min(pause / 1000, self._heartbeat)
            return None
        waiter.is_refused = answer == 0
        return self._granted(waiter, answer, asked)

    async def _claim(self, waiter: _Waiter) -> Grant | None:
        """What he was called for, unless that is over."""
        asked = self._clock.monotonic()
        claiming = self._ask_to_claim(
            self._keys(waiter.resource)[:2], (waiter.owner, milliseconds(waiter.ttl))
        )
        token = await self._answer("lock", waiter.resource, claiming)
        return self._granted(waiter, token, asked)

    def _granted(self, waiter: _Waiter, token: int, asked: float) -> Grant | None:
        valid_until = asked + self._validity(waiter.ttl)
        if not token or self._clock.monotonic() >= valid_until:
            return None
        return Grant(waiter.owner, token, valid_until)

    async def _extend(self, resource: str, owner: str, ttl: float) -> bool:
        extending = self._ask_to_extend(self._keys(resource)[:1], (owner, milliseconds(ttl)))
        return bool(await self._answer("extend", resource, extending))

    async def _give_back(self, resource: str, owner: str) -> bool:
        return await self._release(resource, owner, self._keys(resource))

    async def _withdraw(self, resource: str, owner: str) -> bool:
        return await self._repeated(self._withdraw_once, resource, owner)

    async def _withdraw_once(self, resource: str, owner: str) -> bool:
        # The question may still be on its way, by another connection, and must come to nothing.
        return await self._release(resource, owner, [*self._keys(resource), self._gone(owner)])

    async def _release(self, resource: str, owner: str, keys: Sequence[str]) -> bool:
        releasing = self._ask_to_release(keys, (owner,))
        try:
            answer = await self._answer("release", resource, releasing)
        except BaseException:
            # It may have named one of ours, whom nobody else calls.
            for waiter in self._waiters.values():
                if waiter.resource == resource:
                    waiter.call()
            raise
        if isinstance(answer, list):
            answer, called = answer
            self._call(text_of(called))
        return bool(answer)

    async def _answer(
        self, operation: str, resource: str, command: Coroutine[Any, Any, Any]
    ) -> Any:
        try:
            return await answered(command, within=self._response_timeout)
        except FAILURES as error:
            reason = explain(f"{operation} {resource}", error)
            raise LockingError(reason, resource=resource) from error

    def _new_owner(self, ttl: float) -> str:
        # Where the server calls him, and for how long it then grants him the lock.
        granted = milliseconds(min(self._heartbeat, ttl))
        return f"{self._channel}/{super()._new_owner(ttl)}/{granted}"

    def _keys(self, resource: str) -> list[str]:
        lock = f"{self._prefix}:{{{resource}}}"
        return [lock, f"{lock}:fence", f"{lock}:queue", f"{lock}:alive"]

    def _gone(self, owner: str) -> str:
        return f"{self._prefix}:gone:{owner}"

    def _call(self, owner: str) -> None:
        if owner in self._waiters:
            self._waiters[owner].call()
