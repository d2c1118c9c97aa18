"""A lock that is given in the order in which it was asked for."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, LockingError

from ..driver import answered, load_script, text_of, translated
from ..listening import Listener
from .strategy import Grant, RedisLockStrategy, milliseconds

_HEARTBEATS_PER_WINDOW = 3
_RETRY = 0.05
"""Seconds until a server that failed is asked again."""


@dataclass(eq=False)
class _Waiter:
    """One who asks until it is his turn."""

    resource: str
    owner: str
    ttl: float
    deadline: float
    waits: bool
    is_refused: bool = False
    ticket: int = 0
    pause: float = 0.0
    asked: float = 0.0
    latest_token: int = 0
    token: int = 0
    called: asyncio.Future[None] | None = None
    failure: LockingError | None = None

    def is_over(self, clock: IClock) -> bool:
        return clock.monotonic() >= self.deadline

    def call(self, token: int) -> None:
        """The call may come before the answer to the question that led to it."""
        self.token = token
        if self.called is not None and not self.called.done():
            self.called.set_result(None)

    async def sleep(self, seconds: float) -> int:
        """Until the server calls him with his token, or for so long."""
        if not self.token:
            loop = asyncio.get_running_loop()
            self.called = loop.create_future()
            timer = loop.call_later(seconds, self.call, 0)
            try:
                await self.called
            finally:
                self.called = None
                timer.cancel()
        token, self.token = self.token, 0
        return token


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
        self._listener = Listener(client, self._call)
        self._waiters: dict[str, _Waiter] = {}
        self._ask_for_it = load_script(client, "locking", "queue.lua", "acquire.lua")
        self._ask_to_release = load_script(client, "locking", "queue.lua", "release.lua")
        self._ask_to_extend = load_script(client, "locking", "extend.lua")

    async def _take(self, resource: str, owner: str, timeout: float, ttl: float) -> Grant | None:
        return await self._queue_up(resource, owner, timeout, ttl, renews=False)

    async def _take_to_renew(
        self, resource: str, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        return await self._queue_up(resource, owner, timeout, ttl, renews=True)

    async def _queue_up(
        self, resource: str, owner: str, timeout: float, ttl: float, *, renews: bool
    ) -> Grant | None:
        waiter = _Waiter(resource, owner, ttl, self._clock.monotonic() + timeout, timeout > 0)
        self._waiters[owner] = waiter
        grant: Grant | None = None
        try:
            grant = await self._try(waiter)
            if grant is None and not waiter.is_over(self._clock):
                grant = await self._wait(waiter, renews)
            if grant is None and waiter.failure is not None:
                raise waiter.failure
            return grant
        finally:
            del self._waiters[owner]
            if grant is None and not waiter.is_refused:
                await self._leave(resource, owner)

    async def _wait(self, waiter: _Waiter, renews: bool) -> Grant | None:
        was_listening = self._listener.is_listening
        async with self._listener.listening(self._channel):
            # He may have been called when nobody listened.
            grant = None if was_listening else await self._try(waiter)
            while grant is None and not waiter.is_over(self._clock):
                remaining = waiter.deadline - self._clock.monotonic()
                token = await waiter.sleep(min(waiter.pause, remaining))
                grant = self._granted(waiter, token) if renews else None
                if grant is None:
                    grant = await self._try(waiter)
            return grant

    def _granted(self, waiter: _Waiter, token: int) -> Grant | None:
        """What the server has granted since it was asked last, if there is time to renew it.

        A call that is older, and was read late, has no larger token than the server knew then.
        """
        validity = self._validity(min(self._heartbeat, waiter.ttl))
        is_in_time = self._clock.monotonic() < waiter.asked + validity / 2
        if token > waiter.latest_token and is_in_time:
            return Grant(waiter.owner, token, waiter.asked + validity)
        return None

    async def _try(self, waiter: _Waiter) -> Grant | None:
        """A server that fails may be back before the time is over."""
        try:
            waiter.failure = None
            return await self._ask(waiter)
        except LockingError as failure:
            waiter.failure = failure
            waiter.pause = _RETRY
            return None

    async def _ask(self, waiter: _Waiter) -> Grant | None:
        """Joins the queue, or stays in it, or takes what was granted meanwhile."""
        asked = self._clock.monotonic()
        asking = self._ask_for_it(
            self._keys(waiter.resource),
            (
                waiter.owner,
                milliseconds(waiter.ttl),
                self._window,
                int(waiter.waits),
                waiter.ticket,
            ),
        )
        with translated(LockingError, f"lock {waiter.resource}"):
            answer = await answered(asking, within=self._response_timeout)
        if isinstance(answer, list):
            pause, waiter.ticket, waiter.latest_token = answer
            waiter.asked = asked
            waiter.pause = self._heartbeat if pause < 0 else min(pause / 1000, self._heartbeat)
            return None
        waiter.is_refused = answer == 0
        valid_until = asked + self._validity(waiter.ttl)
        if waiter.is_refused or self._clock.monotonic() >= valid_until:
            return None
        return Grant(waiter.owner, answer, valid_until)

    async def _extend(self, resource: str, owner: str, ttl: float) -> bool:
        extending = self._ask_to_extend(self._keys(resource)[:1], (owner, milliseconds(ttl)))
        with translated(LockingError, f"extend {resource}"):
            return bool(await answered(extending, within=self._response_timeout))

    async def _give_back(self, resource: str, owner: str) -> bool:
        releasing = self._ask_to_release(self._keys(resource), (owner,))
        with translated(LockingError, f"release {resource}"):
            answer = await answered(releasing, within=self._response_timeout)
        if isinstance(answer, list):
            answer, called = answer
            # Sooner than by the message, where it is one of ours.
            self._call(self._channel, text_of(called))
        return bool(answer)

    def _new_owner(self, ttl: float) -> str:
        # Where the server calls him, and for how long it then grants him the lock.
        granted = milliseconds(min(self._heartbeat, ttl))
        return f"{self._channel}/{super()._new_owner(ttl)}/{granted}"

    def _keys(self, resource: str) -> list[str]:
        lock = f"{self._prefix}:{{{resource}}}"
        return [lock, f"{lock}:fence", f"{lock}:queue", f"{lock}:alive"]

    def _call(self, channel: str, message: str) -> None:
        owner, _, token = message.rpartition(" ")
        if owner in self._waiters:
            self._waiters[owner].call(int(token))
