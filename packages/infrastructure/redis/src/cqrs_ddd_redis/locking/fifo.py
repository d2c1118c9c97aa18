"""Lock on one Redis server, granted in the order of the requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    InvalidOperationError,
    LockingError,
)
from cqrs_ddd_core.spi.leases import LockName

from .. import driver
from ..pubsub import PubSubListener
from .acquire_attempt import AcquireAttempt
from .strategy import FoundLock, Grant, RedisLockStrategy, find_locks, to_milliseconds

_HEARTBEATS_PER_WINDOW = 3
_RETRY_PAUSE = 0.05
"""Seconds until the next request to a server that has failed."""


@dataclass(eq=False, slots=True)
class FifoAttempt(AcquireAttempt):
    """State of one call of ``acquire``, with its place in the queue on the server.

    Args:
        waits: False for an attempt that must not join the queue.
        is_rejected: True if the server has rejected the request and keeps no trace of it.
        ticket: place in the queue, which a server without data restores; 0 before the first reply.
        pause: seconds until the next heartbeat.
    """

    waits: bool = True
    is_rejected: bool = False
    ticket: int = 0
    pause: float = 0.0


class FifoRedisLockStrategy(RedisLockStrategy):
    """Lock on one server, granted in the order of the requests.

    A waiter sends heartbeats to show that it is alive; after three missed heartbeats it loses its
    place. A request without a reply is repeated until the timeout of ``acquire``, which then raises
    ``LockingError``.

    Args:
        client: client of ``redis.asyncio``.
        namespace: prefix of the keys in Redis, such as the name of the application.
        heartbeat: seconds between two heartbeats.
        response_timeout: seconds to wait for a reply of the server.
        clock: measures timeouts and the validity of grants; None uses the system clock.

    Raises:
        InvalidOperationError: ``heartbeat`` or ``response_timeout`` is not positive.
        ConfigError: ``client`` is not a client of ``redis.asyncio``.

    Example:
        ```python
        import os

        from redis.asyncio import Redis

        from cqrs_ddd_redis import FifoRedisLockStrategy

        async with Redis.from_url(os.environ["REDIS_URL"]) as client:
            locks = FifoRedisLockStrategy(client, namespace="shop")
            async with locks.hold("stock-taking", timeout=10, ttl=30) as lease:
                assert lease.fencing_token > 0
        ```
    """

    _kind = "fifo"

    def __init__(
        self,
        client: Redis,
        *,
        namespace: str,
        heartbeat: float = 1.0,
        response_timeout: float = 1.0,
        clock: IClock | None = None,
    ) -> None:
        super().__init__(namespace=namespace, response_timeout=response_timeout, clock=clock)
        if not heartbeat > 0:
            raise InvalidOperationError(f"heartbeat must be positive seconds, got {heartbeat}")
        self._send = driver.get_execute(client)
        self._heartbeat = heartbeat
        self._window = to_milliseconds(heartbeat * _HEARTBEATS_PER_WINDOW)
        self._listener = PubSubListener(client, self._channel, self._notify_owner)
        self._attempts: dict[str, FifoAttempt] = {}
        self._acquire_script = driver.load_script(client, "locking", "queue.lua", "acquire.lua")
        self._claim_script = driver.load_script(client, "locking", "queue.lua", "claim.lua")
        self._release_script = driver.load_script(client, "locking", "queue.lua", "release.lua")
        self._extend_script = driver.load_script(client, "locking", "extend.lua")

    async def _try_acquire(
        self, name: LockName, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        deadline = self._clock.monotonic() + timeout
        attempt = FifoAttempt(name, owner, ttl, deadline, waits=timeout > 0)
        self._attempts[owner] = attempt
        grant: Grant | None = None
        try:
            grant = await self._try(attempt, self._enqueue)
            if grant is None and attempt.get_remaining(self._clock) > 0:
                grant = await self._wait(attempt)
            if grant is None and attempt.failure is not None:
                raise attempt.failure
            return grant
        finally:
            del self._attempts[owner]
            if grant is None and not attempt.is_rejected:
                await self._clean_up(name, owner)

    async def _wait(self, attempt: FifoAttempt) -> Grant | None:
        was_subscribed = self._listener.is_subscribed
        async with self._listener.subscribe(attempt.get_remaining(self._clock)):
            # The server may have published the notification before the subscription.
            grant = None if was_subscribed else await self._try(attempt, self._enqueue)
            while grant is None and (remaining := attempt.get_remaining(self._clock)) > 0:
                await attempt.sleep(min(attempt.pause, remaining))
                if attempt.is_notified:
                    attempt.is_notified = False
                    grant = await self._try(attempt, self._claim)
                if grant is None:
                    grant = await self._try(attempt, self._enqueue)
            return grant

    async def _try(
        self, attempt: FifoAttempt, request: Callable[[FifoAttempt], Awaitable[Grant | None]]
    ) -> Grant | None:
        """Return the grant; record a failure, since the server may recover before the deadline."""
        try:
            attempt.failure = None
            return await request(attempt)
        except LockingError as failure:
            attempt.failure = failure
            attempt.pause = _RETRY_PAUSE
            return None

    async def _enqueue(self, attempt: FifoAttempt) -> Grant | None:
        """Join the queue, keep the place in it, or return a confirmed earlier grant."""
        requested_at = self._clock.monotonic()
        ttl, waits = to_milliseconds(attempt.ttl), int(attempt.waits)
        arguments = (attempt.owner, ttl, self._window, waits, attempt.ticket)
        keys = [*self._keys(attempt.name), self._tombstone(attempt.owner)]
        reply = await self._execute("lock", attempt.name, self._acquire_script(keys, arguments))
        if isinstance(reply, list):
            pause, attempt.ticket = reply
            attempt.pause = self._heartbeat if pause < 0 else min(pause / 1000, self._heartbeat)
            return None
        attempt.is_rejected = reply == 0
        return self._build_grant(attempt, reply, requested_at)

    async def _claim(self, attempt: FifoAttempt) -> Grant | None:
        """Confirm the provisional grant; return None if it has expired."""
        requested_at = self._clock.monotonic()
        keys = self._keys(attempt.name)[:2]
        claiming = self._claim_script(keys, (attempt.owner, to_milliseconds(attempt.ttl)))
        token = await self._execute("lock", attempt.name, claiming)
        return self._build_grant(attempt, token, requested_at)

    def _build_grant(self, attempt: FifoAttempt, token: int, requested_at: float) -> Grant | None:
        valid_until = requested_at + self._validity(attempt.ttl)
        if not token or self._clock.monotonic() >= valid_until:
            return None
        return Grant(attempt.owner, token, valid_until)

    async def _list_keys(self, pattern: str) -> Mapping[str, FoundLock]:
        finding = find_locks(self._send, pattern)
        found: Mapping[str, FoundLock] = await self._execute("list", "locks", finding)
        return found

    async def _extend(self, name: LockName, owner: str, ttl: float) -> bool:
        extending = self._extend_script(self._keys(name)[:1], (owner, to_milliseconds(ttl)))
        return bool(await self._execute("extend", name, extending))

    async def _release(self, name: LockName, owner: str) -> bool:
        return await self._send_release(name, owner, self._keys(name))

    async def _release_uncertain(self, name: LockName, owner: str) -> bool:
        # A request may still arrive on another connection; the tombstone makes it fail.
        keys = [*self._keys(name), self._tombstone(owner)]
        return await self._retry(lambda: self._send_release(name, owner, keys))

    async def _send_release(self, name: LockName, owner: str, keys: Sequence[str]) -> bool:
        try:
            reply = await self._execute("release", name, self._release_script(keys, (owner,)))
        except BaseException:
            # The lost reply may have named a waiter of this process, for which the server has
            # published no message.
            for attempt in self._attempts.values():
                if attempt.name == name:
                    attempt.notify()
            raise
        if isinstance(reply, list):
            reply, notified = reply
            self._notify_owner(driver.decode_text(notified))
        return bool(reply)

    async def _execute(self, operation: str, name: LockName | str, command: driver.Command) -> Any:
        try:
            return await driver.execute_with_timeout(command, self._response_timeout)
        except driver.FAILURES as error:
            reason = driver.describe_error(f"{operation} {name}", error)
            if driver.is_permanent(error):
                raise ConfigError(reason) from error
            raise LockingError(reason, resource=str(name)) from error

    def _create_owner(self, ttl: float) -> str:
        # The scripts read the channel and the duration of a provisional grant from the name.
        granted = to_milliseconds(min(self._heartbeat, ttl))
        return f"{self._channel}/{super()._create_owner(ttl)}/{granted}"

    def _keys(self, name: LockName) -> list[str]:
        lock = self._key(name)
        return [lock, f"{lock}:fence", f"{lock}:queue", f"{lock}:alive"]

    def _tombstone(self, owner: str) -> str:
        return f"{self._prefix}:gone:{owner}"

    def _notify_owner(self, owner: str) -> None:
        if owner in self._attempts:
            self._attempts[owner].notify()
