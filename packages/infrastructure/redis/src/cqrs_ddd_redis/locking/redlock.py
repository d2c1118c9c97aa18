"""Lock that a majority of independent Redis servers grants."""

from __future__ import annotations

import asyncio
import math
import random as system_random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import ConfigError, LockingError
from cqrs_ddd_core.spi.keyed_queue import KeyedQueue
from cqrs_ddd_core.spi.leases import LockName

from .. import driver
from ..pubsub import PubSubListener
from .acquire_attempt import AcquireAttempt
from .server_pool import QuorumReply, ServerPool
from .strategy import FoundLock, Grant, RedisLockStrategy, find_locks, to_milliseconds

_DAY = 86_400.0
_POLL = 0.1, 0.3
"""Bounds in seconds of the pause between two requests if too few servers are subscribed."""
_PATROL = 0.5, 1.5
"""The same if a majority is subscribed; polling covers messages that a lost connection drops."""
_JITTER = 0.01
"""Longest pause in seconds after a split vote; each further split doubles it."""
_MAX_DOUBLINGS = 4


@dataclass(eq=False, slots=True)
class RedlockAttempt(AcquireAttempt):
    """State of one call of ``acquire``, which requests the lock from all servers in rounds.

    Args:
        majority: number of servers that must grant the lock.
        rounds: number of rounds that have started.
        splits: number of successive rounds in which some servers granted the lock and others
            rejected it, so that this attempt had no majority.
        replied: indexes of the servers that replied in the last round.
        held_for: seconds until the lock of another holder has expired on a majority of the
            servers; infinity if no majority rejected the last round.
        released: indexes of the servers from which a holder has announced its release since the
            round started.
    """

    majority: int = 1
    rounds: int = 0
    splits: int = 0
    replied: Sequence[int] = ()
    held_for: float = math.inf
    released: set[int] = field(default_factory=set)

    def start_round(self) -> str:
        """Return a new owner: a late release of an earlier round must not end this round."""
        self.rounds += 1
        self.released.clear()
        self.is_notified = False
        return f"{self.owner}:{self.rounds}"

    def on_released(self, server: int) -> None:
        """Record the release on a server; end the sleep after releases on a majority."""
        self.released.add(server)
        if len(self.released) >= self.majority:
            self.notify()


class RedlockLockStrategy(RedisLockStrategy):
    """Lock that requires a majority of servers that do not share data.

    Each request goes to all servers at once. A server that has not replied gets a shorter timeout
    for some seconds. If fewer than a majority reply until the timeout of ``acquire``, it raises
    ``LockingError``.

    Args:
        clients: clients of ``redis.asyncio``, one for each server.
        namespace: prefix of the keys in Redis, such as the name of the application.
        response_timeout: seconds to wait for a reply of a server.
        clock: source of times and fencing tokens; None uses the system clock.
        random: returns numbers from 0 to below 1, for the pauses between requests.

    Raises:
        InvalidOperationError: ``response_timeout`` is not positive, or a client is missing or
            occurs twice.
        ConfigError: ``clients`` is one client, or one of them is not of ``redis.asyncio``.

    Source: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/

    Example:
        ```python
        import os

        from redis.asyncio import Redis

        from cqrs_ddd_redis import RedlockLockStrategy

        urls = [os.environ["REDIS_URL"]]  # Three or five servers in production.
        clients = [Redis.from_url(url) for url in urls]
        locks = RedlockLockStrategy(clients, namespace="shop")
        async with locks.hold("stock-taking", timeout=10, ttl=30):
            ...
        await clients[0].aclose()
        ```
    """

    _kind = "redlock"

    def __init__(
        self,
        clients: Sequence[Redis],
        *,
        namespace: str,
        response_timeout: float = 0.5,
        clock: IClock | None = None,
        random: Callable[[], float] = system_random.random,
    ) -> None:
        super().__init__(namespace=namespace, response_timeout=response_timeout, clock=clock)
        self._servers = ServerPool(clients, response_timeout=response_timeout, clock=self._clock)
        self._random = random
        self._listeners = [
            PubSubListener(client, self._channel, partial(self._on_released, number))
            for number, client in enumerate(clients)
        ]
        self._queue = KeyedQueue[RedlockAttempt]()
        self._largest_token = 0
        self._clock_lead = 0
        self._acquire_script = self._servers.load("redlock_acquire.lua")
        self._raise_script = self._servers.load("redlock_raise.lua")
        self._release_script = self._servers.load("redlock_release.lua")
        self._extend_script = self._servers.load("extend.lua")

    async def _try_acquire(
        self, name: LockName, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        deadline = self._clock.monotonic() + timeout
        attempt = RedlockAttempt(name, owner, ttl, deadline, majority=self._servers.majority)
        lock = self._keys(name)[0]
        waits = timeout > 0
        if waits and not (
            self._queue.try_enter(lock, attempt) or await self._wait_turn(lock, attempt)
        ):
            # The first attempt in the queue knows whether the servers have failed.
            first = self._queue.current.get(lock)
            if first is not None and first.failure is not None:
                raise LockingError(str(first.failure), resource=str(name))
            return None
        try:
            grant = await self._request(attempt)
            if grant is None and attempt.get_remaining(self._clock) > 0:
                grant = await self._wait(attempt)
            if grant is None and attempt.failure is not None:
                raise attempt.failure
            return grant
        finally:
            if waits:
                self._queue.leave(lock)

    async def _wait_turn(self, lock: str, attempt: RedlockAttempt) -> bool:
        return await self._queue.wait_turn(
            lock,
            attempt,
            lambda turn: asyncio.wait({turn}, timeout=attempt.get_remaining(self._clock)),
        )

    async def _wait(self, attempt: RedlockAttempt) -> Grant | None:
        grant: Grant | None = None
        try:
            async with AsyncExitStack() as stack:
                # Only on the servers that replied: others would delay the subscription.
                for number in attempt.replied:
                    remaining = attempt.get_remaining(self._clock)
                    await stack.enter_async_context(self._listeners[number].subscribe(remaining))
                # The holder may have released the lock before the subscription.
                grant = await self._request(attempt, self._channel)
                while grant is None and (remaining := attempt.get_remaining(self._clock)) > 0:
                    await self._pause(attempt, remaining)
                    grant = await self._request(attempt, self._channel)
            return grant
        except BaseException:
            if grant is not None:
                await self._clean_up(attempt.name, grant.owner)
            raise

    async def _pause(self, attempt: RedlockAttempt, remaining: float) -> None:
        if attempt.splits:
            width = _JITTER * 2 ** min(attempt.splits, _MAX_DOUBLINGS)
            await self._clock.sleep(min(self._random() * width, remaining))
            return
        subscribed = sum(listener.is_subscribed for listener in self._listeners)
        low, high = _PATROL if subscribed >= attempt.majority else _POLL
        pause = low + (high - low) * self._random()
        await attempt.sleep(min(attempt.held_for, pause, remaining))

    async def _request(self, attempt: RedlockAttempt, *channel: str) -> Grant | None:
        """Run one round, and return a grant or remove all its traces from the servers.

        Servers on which the lock is held record the channel, if it is passed.
        """
        owner = attempt.start_round()
        keys = self._keys(attempt.name)[: 2 + len(channel)]
        ttl, proposal = to_milliseconds(attempt.ttl), self._propose_token()
        arguments: list[str | int] = [owner, ttl, proposal, _token_lifetime(attempt.ttl), *channel]
        reply: QuorumReply | None = None
        grant: Grant | None = None
        try:
            valid_until = self._clock.monotonic() + self._validity(attempt.ttl)
            reply = await self._servers.execute(self._acquire_script, keys, arguments)
            tokens = [value for value in reply.values if value is not None and value > 0]
            self._record_tokens(proposal, tokens)
            if len(tokens) >= attempt.majority:
                token = self._choose_token(tokens)
                is_agreed = await self._raise_tokens(attempt, owner, token, tokens)
                if is_agreed and self._clock.monotonic() < valid_until:
                    grant = Grant(owner, token, valid_until)
            if grant is None:
                self._record_reply(attempt, reply, len(tokens))
                if isinstance(attempt.failure, ConfigError):
                    raise attempt.failure
            return grant
        finally:
            if grant is None and (reply is None or self._may_have_granted(reply)):
                await self._clean_up(attempt.name, owner)

    def _record_reply(self, attempt: RedlockAttempt, reply: QuorumReply, granted: int) -> None:
        rejections = sorted(-value for value in reply.values if value is not None and value < 0)
        attempt.replied = [number for number, value in enumerate(reply.values) if value is not None]
        attempt.splits = attempt.splits + 1 if rejections and 0 < granted < attempt.majority else 0
        # Until then a majority still holds the key of the holder.
        is_held = len(rejections) >= attempt.majority
        attempt.held_for = rejections[attempt.majority - 1] / 1000 if is_held else math.inf
        attempt.failure = None
        if len(attempt.replied) < attempt.majority:
            attempt.failure = self._no_majority("lock", attempt.name, reply)

    async def _raise_tokens(
        self, attempt: RedlockAttempt, owner: str, token: int, tokens: Sequence[int]
    ) -> bool:
        """Return whether every later majority includes a server with at least this token."""
        if tokens.count(token) >= attempt.majority:
            return True
        keys = self._keys(attempt.name)[:2]
        arguments = (owner, token, _token_lifetime(attempt.ttl))
        reply = await self._servers.execute(self._raise_script, keys, arguments)
        return reply.values.count(1) >= attempt.majority

    def _may_have_granted(self, reply: QuorumReply) -> bool:
        """Return whether a server has granted the lock, or may have done so without a reply."""
        return any(value is None or value > 0 for value in reply.values)

    def _propose_token(self) -> int:
        """Return microseconds of the clock, larger than all tokens seen before.

        The clock covers tokens that servers have lost.
        """
        now = int(self._clock.now().timestamp() * 1_000_000)
        return max(now - self._clock_lead, self._largest_token + 1)

    def _record_tokens(self, proposal: int, tokens: Sequence[int]) -> None:
        self._largest_token = max(self._largest_token, *tokens, 0)
        # A server with a late clock grants a smaller token: different tokens cost another round.
        self._clock_lead += max(proposal - min(tokens, default=proposal), 0)

    def _choose_token(self, tokens: Sequence[int]) -> int:
        return max(tokens)

    async def _list_keys(self, pattern: str) -> Mapping[str, FoundLock]:
        replies = await asyncio.gather(
            *(
                driver.execute_with_timeout(
                    find_locks(driver.get_execute(client), pattern), self._response_timeout
                )
                for client in self._servers.clients
            ),
            return_exceptions=True,
        )
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        for error in errors:
            if not isinstance(error, driver.FAILURES):
                raise error
        lists = [reply for reply in replies if not isinstance(reply, BaseException)]
        if len(lists) < self._servers.majority:
            values = [1] * len(lists) + [None] * len(errors)
            raise self._no_majority("list", "locks", QuorumReply(values, errors))
        return _merge_locks(lists, self._servers.majority)

    async def _extend(self, name: LockName, owner: str, ttl: float) -> bool:
        valid_until = self._clock.monotonic() + self._validity(ttl)
        keys = self._keys(name)[:1]
        reply = await self._servers.execute(
            self._extend_script, keys, (owner, to_milliseconds(ttl))
        )
        is_held = self._is_confirmed(reply, "extend", name)
        return is_held and self._clock.monotonic() < valid_until

    async def _release(self, name: LockName, owner: str) -> bool:
        lock, _, waiting = self._keys(name)
        reply = await self._servers.execute(self._release_script, (lock, waiting), (owner,))
        return self._is_confirmed(reply, "release", name)

    def _is_confirmed(self, reply: QuorumReply, operation: str, name: LockName) -> bool:
        yes = reply.values.count(1)
        if yes >= self._servers.majority:
            return True
        if yes + reply.missing_count < self._servers.majority:
            return False
        raise self._no_majority(operation, name, reply)

    def _no_majority(
        self, operation: str, name: LockName | str, reply: QuorumReply
    ) -> LockingError | ConfigError:
        permanent = [error for error in reply.failures if driver.is_permanent(error)]
        servers = len(reply.values)
        if servers - len(permanent) < self._servers.majority:
            return ConfigError(driver.describe_error(f"{operation} {name}", permanent[-1]))
        failure = reply.failures[-1]
        reason = str(failure) or type(failure).__name__
        return LockingError(
            f"cannot {operation} {name}: {servers - reply.missing_count} of {servers} servers "
            f"replied, {self._servers.majority} must agree ({reason}); check that the Redis "
            "servers are running",
            resource=str(name),
        )

    def _keys(self, name: LockName) -> list[str]:
        lock = self._key(name)
        return [lock, f"{lock}:fence", f"{lock}:waiting"]

    def _on_released(self, server: int, lock: str) -> None:
        attempt = self._queue.current.get(lock)
        if attempt is not None:
            attempt.on_released(server)


def _merge_locks(lists: Sequence[Mapping[str, FoundLock]], majority: int) -> dict[str, FoundLock]:
    """Return the locks that a majority of the servers has granted to one owner."""
    granted: dict[tuple[str, str], list[FoundLock]] = {}
    for found in lists:
        for key, lock in found.items():
            granted.setdefault((key, lock.owner), []).append(lock)
    return {
        key: FoundLock(
            owner,
            max(lock.fencing_token for lock in locks),
            # Until then a majority keeps the lock.
            sorted((lock.milliseconds for lock in locks), reverse=True)[majority - 1],
        )
        for (key, owner), locks in granted.items()
        if len(locks) >= majority
    }


def _token_lifetime(ttl: float) -> int:
    """Return the milliseconds for which a server keeps a token."""
    return to_milliseconds(_DAY + ttl)
