"""A lock that is held on the majority of independent servers."""

from __future__ import annotations

import asyncio
import math
import random as chance
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from redis.asyncio import Redis

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import LockingError
from cqrs_ddd_core.primitives.shielding import timeout_after

from ..pubsub import Listener
from .acquire_attempt import Bid
from .keyed_queue import Turns
from .server_pool import Answers, Servers
from .strategy import Grant, RedisLockStrategy, milliseconds

_DAY = 86_400.0
_POLL = 0.1, 0.3
"""Seconds until servers are asked again of which too few could send a message."""
_PATROL = 0.5, 1.5
"""The same where they could: a message may be lost with its connection."""
_JITTER = 0.01
"""Seconds within which those who split the votes ask again; twice as many each time."""
_DOUBLINGS = 4


class RedlockLockStrategy(RedisLockStrategy):
    """Granted by a majority of servers that know nothing of each other.

    All are asked at once, and each is waited for, ``response_timeout`` seconds at most; one that
    was silent is given less time for a while. Where fewer than a majority answer until the time is
    up, that is a ``LockingError``. ``random`` draws from [0, 1).

    Source: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
    """

    def __init__(
        self,
        clients: Sequence[Redis],
        *,
        prefix: str = "lock:redlock",
        response_timeout: float = 0.5,
        clock: IClock | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        super().__init__(response_timeout=response_timeout, clock=clock)
        self._servers = Servers(clients, response_timeout=response_timeout, clock=self._clock)
        self._prefix = prefix
        self._random = random
        self._channel = f"{prefix}:freed:{secrets.token_hex(8)}"
        self._listeners = [
            Listener(client, self._channel, partial(self._hear, number))
            for number, client in enumerate(clients)
        ]
        self._turns = Turns()
        self._waiting: dict[str, Bid] = {}
        self._largest_token = 0
        self._ahead = 0
        self._ask_for_it = self._servers.load("redlock_acquire.lua")
        self._ask_to_raise = self._servers.load("redlock_raise.lua")
        self._ask_to_release = self._servers.load("redlock_release.lua")
        self._ask_to_extend = self._servers.load("extend.lua")

    async def _take(self, resource: str, owner: str, timeout: float, ttl: float) -> Grant | None:
        deadline = self._clock.monotonic() + timeout
        bid = Bid(resource, owner, ttl, deadline, self._servers.majority)
        if not timeout:
            return _outcome(bid, await self._ask(bid))
        if not await self._turns.take(resource, timeout):
            # Whoever has the turn knows whether it is held, or the servers are away.
            first = self._waiting.get(self._lock(resource))
            bid.failure = first.failure if first is not None else None
            return _outcome(bid, None)
        try:
            grant = await self._ask(bid)
            if grant is None and self._remaining(bid) > 0:
                grant = await self._wait(bid)
            return _outcome(bid, grant)
        finally:
            self._turns.end(resource)

    async def _wait(self, bid: Bid) -> Grant | None:
        lock = self._lock(bid.resource)
        self._waiting[lock] = bid
        grant: Grant | None = None
        is_settled = False
        try:
            async with AsyncExitStack() as stack:
                with suppress(asyncio.TimeoutError):
                    await timeout_after(self._remaining(bid), self._listen(bid, stack))
                # It may have been freed when nobody listened.
                grant = await self._ask(bid, self._channel)
                while grant is None and (remaining := self._remaining(bid)) > 0:
                    await self._pause(bid, remaining)
                    grant = await self._ask(bid, self._channel)
            is_settled = True
            return grant
        finally:
            del self._waiting[lock]
            if grant is not None and not is_settled:
                await self._leave(bid.resource, grant.owner)

    async def _listen(self, bid: Bid, stack: AsyncExitStack) -> None:
        """To those that answered: they do not keep us waiting."""
        for number in bid.answered:
            await stack.enter_async_context(self._listeners[number].listening())

    async def _pause(self, bid: Bid, remaining: float) -> None:
        if bid.splits:
            width = _JITTER * 2 ** min(bid.splits, _DOUBLINGS)
            await self._clock.sleep(min(self._random() * width, remaining))
            return
        heard = sum(listener.is_listening for listener in self._listeners)
        low, high = _PATROL if heard >= bid.majority else _POLL
        pause = low + (high - low) * self._random()
        await bid.sleep(min(bid.held_for, pause, remaining))

    async def _ask(self, bid: Bid, *channel: str) -> Grant | None:
        """One round: what it leaves on the servers is the grant, or nothing.

        Those that refuse note the channel, where there is one.
        """
        owner = bid.next_owner()
        keys = self._keys(bid.resource)[: 2 + len(channel)]
        ttl, candidate = milliseconds(bid.ttl), self._candidate()
        arguments: list[str | int] = [owner, ttl, candidate, _kept(bid.ttl), *channel]
        answers: Answers | None = None
        grant: Grant | None = None
        bid.freed.clear()
        try:
            valid_until = self._clock.monotonic() + self._validity(bid.ttl)
            answers = await self._servers.ask(self._ask_for_it, keys, arguments)
            tokens = [value for value in answers.values if value is not None and value > 0]
            self._learn(candidate, tokens)
            if len(tokens) >= bid.majority:
                token = self._token(tokens)
                is_agreed = await self._agree(bid, owner, token, tokens)
                if is_agreed and self._clock.monotonic() < valid_until:
                    grant = Grant(owner, token, valid_until)
            if grant is None:
                self._note(bid, answers, len(tokens))
            return grant
        finally:
            if grant is None and (answers is None or self._is_owed(answers)):
                await self._leave(bid.resource, owner)

    def _note(self, bid: Bid, answers: Answers, granted: int) -> None:
        refusals = sorted(-value for value in answers.values if value is not None and value < 0)
        bid.answered = [number for number, value in enumerate(answers.values) if value is not None]
        bid.splits = bid.splits + 1 if refusals and 0 < granted < bid.majority else 0
        # Until then no majority can have forgotten the holder.
        is_held = len(refusals) >= bid.majority
        bid.held_for = refusals[bid.majority - 1] / 1000 if is_held else math.inf
        bid.failure = None
        if len(bid.answered) < bid.majority:
            bid.failure = self._unknown(f"lock {bid.resource}", answers)

    async def _agree(self, bid: Bid, owner: str, token: int, tokens: Sequence[int]) -> bool:
        """Whether each later majority will have a server that knows this token, or a larger one."""
        if tokens.count(token) >= bid.majority:
            return True
        keys = self._keys(bid.resource)[:2]
        raised = await self._servers.ask(self._ask_to_raise, keys, (owner, token, _kept(bid.ttl)))
        return raised.values.count(1) >= bid.majority

    def _is_owed(self, answers: Answers) -> bool:
        """Whether a server has granted it, or may have without our knowing."""
        return any(value is None or value > 0 for value in answers.values)

    def _candidate(self) -> int:
        """In microseconds: larger than all before, also where the servers have forgotten them."""
        now = int(self._clock.now().timestamp() * 1_000_000)
        return max(now - self._ahead, self._largest_token + 1)

    def _learn(self, candidate: int, tokens: Sequence[int]) -> None:
        self._largest_token = max(self._largest_token, *tokens, 0)
        # A server whose clock is behind takes its own time: then they differ, which costs a round.
        self._ahead += max(candidate - min(tokens, default=candidate), 0)

    def _token(self, tokens: Sequence[int]) -> int:
        return max(tokens)

    async def _extend(self, resource: str, owner: str, ttl: float) -> bool:
        valid_until = self._clock.monotonic() + self._validity(ttl)
        answers = await self._servers.ask(
            self._ask_to_extend, self._keys(resource)[:1], (owner, milliseconds(ttl))
        )
        is_ours = self._is_decided(answers, f"extend {resource}", resource)
        return is_ours and self._clock.monotonic() < valid_until

    async def _give_back(self, resource: str, owner: str) -> bool:
        lock, _, waiting = self._keys(resource)
        answers = await self._servers.ask(self._ask_to_release, (lock, waiting), (owner,))
        return self._is_decided(answers, f"release {resource}", resource)

    def _is_decided(self, answers: Answers, operation: str, resource: str) -> bool:
        yes = answers.values.count(1)
        if yes >= self._servers.majority:
            return True
        if yes + answers.silent < self._servers.majority:
            return False
        raise LockingError(self._unknown(operation, answers), resource=resource)

    def _unknown(self, operation: str, answers: Answers) -> str:
        reason = str(answers.reason) or type(answers.reason).__name__
        servers = len(answers.values)
        return (
            f"cannot {operation}: {servers - answers.silent} of {servers} servers answered, where "
            f"{self._servers.majority} must agree ({reason}); are the Redis servers there?"
        )

    def _remaining(self, bid: Bid) -> float:
        return bid.deadline - self._clock.monotonic()

    def _lock(self, resource: str) -> str:
        return f"{self._prefix}:{{{resource}}}"

    def _keys(self, resource: str) -> list[str]:
        lock = self._lock(resource)
        return [lock, f"{lock}:fence", f"{lock}:waiting"]

    def _hear(self, server: int, lock: str) -> None:
        bid = self._waiting.get(lock)
        if bid is not None:
            bid.hear(server)


def _outcome(bid: Bid, grant: Grant | None) -> Grant | None:
    if grant is None and bid.failure is not None:
        raise LockingError(bid.failure, resource=bid.resource)
    return grant


def _kept(ttl: float) -> int:
    """Milliseconds for which a token is remembered."""
    return milliseconds(_DAY + ttl)
