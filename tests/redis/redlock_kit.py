"""Tests of a lock on three servers that disagree, lose data or do not reply."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import LeaseLostError, LockingError
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_redis import RedlockLockStrategy
from cqrs_ddd_redis.driver import decode_text

NewLock = Callable[..., RedlockLockStrategy]
LOCK = "lock:redlock:{door}"
FENCE = f"{LOCK}:fence"
WAITING = f"{LOCK}:waiting"
FAR_AHEAD = 8 * 10**15
"""A token of a client whose clock is two centuries ahead."""


class Troubled(Redis):
    """Client with faults on demand."""

    is_away = False
    loses_answers = False
    delays_a_release = False
    delayed: tuple[Any, ...] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.is_away:
            raise exceptions.ConnectionError("away")
        if self.delays_a_release and args[4:5] == (WAITING,):
            self.delays_a_release = False
            self.delayed = args
            raise exceptions.TimeoutError("late")
        answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if self.loses_answers:
            raise exceptions.TimeoutError("lost")
        return answer

    async def deliver(self) -> None:
        assert self.delayed is not None
        await self.execute_command(*self.delayed)


class ClockAhead(SystemClock):
    """Clock that is wrong by a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._seconds)


class SlowAnswers(SystemClock):
    """Clock that advances by a minute at each reading."""

    def __init__(self) -> None:
        self._time = 0.0

    def monotonic(self) -> float:
        self._time += 60
        return self._time


class RedlockKit:
    """Kit with the fixtures ``clients`` of three empty servers, ``troubled`` and ``new_lock``."""

    async def test_a_minority_of_the_servers_is_not_enough(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])

        assert not await new_lock(clients).acquire("door", timeout=0)

        assert not await clients[0].exists(LOCK)

    async def test_a_majority_is_enough(self, clients: list[Redis], new_lock: NewLock) -> None:
        lock = new_lock(clients)
        await _occupy(clients[:1])

        assert await lock.acquire("door", timeout=0)
        assert await lock.extend("door", 10)
        await lock.release("door")

        assert await _left(clients[1:]) == set()
        assert await clients[0].get(LOCK) == b"somebody"

    async def test_grant_that_comes_after_its_ttl_is_released(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients, clock=SlowAnswers())

        assert not await lock.acquire("door", timeout=0, ttl=30)

        assert await _left(clients) == set()

    async def test_possible_grant_without_a_reply_is_released(
        self, clients: list[Redis], troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])
        troubled[0].loses_answers = True

        assert not await new_lock(troubled).acquire("door", timeout=0)

        assert not await clients[0].exists(LOCK)

    async def test_late_release_does_not_end_a_newer_grant(
        self, clients: list[Redis], troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])
        troubled[0].delays_a_release = True
        waiting = asyncio.ensure_future(new_lock(troubled).acquire("door", timeout=30))
        while troubled[0].delayed is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await clients[1].delete(LOCK)
        await asyncio.sleep(0.5)

        await troubled[0].deliver()
        assert await waiting
        await clients[2].delete(LOCK)

        assert not await new_lock(clients).acquire("door", timeout=0)

    async def test_token_is_the_largest_of_all_servers(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await clients[2].set(FENCE, FAR_AHEAD)

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token == FAR_AHEAD + 1

    async def test_a_majority_knows_the_token_before_it_is_granted(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await clients[2].set(FENCE, FAR_AHEAD)
        async with new_lock(clients).hold("door", timeout=1) as lease:
            earlier = lease.fencing_token
        await _occupy(clients[2:])

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token > earlier

    async def test_tokens_grow_with_any_server_away_and_any_token_ahead(
        self, clients: list[Redis], troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        chance, tokens = random.Random(7), []

        for _ in range(30):
            ahead = FAR_AHEAD + chance.randrange(1000)
            if ahead > int(await clients[2].get(FENCE) or 0):
                await clients[2].set(FENCE, ahead)
            away = chance.choice(troubled)
            away.is_away = True
            async with new_lock(troubled).hold("door", timeout=5) as lease:
                tokens.append(lease.fencing_token)
            away.is_away = False

        assert tokens == sorted(set(tokens))

    async def test_tokens_grow_when_every_server_has_forgotten_them(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        async with new_lock(clients).hold("door", timeout=1) as lease:
            earlier = lease.fencing_token
        for client in clients:
            await client.flushdb()

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token > earlier

    async def test_a_clock_that_is_ahead_makes_no_token_that_the_servers_cannot_beat(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        ahead, lock = new_lock(clients, clock=ClockAhead(30.0)), new_lock(clients)
        tokens: list[int] = []

        for holder in (ahead, lock, ahead, ahead, lock):
            async with holder.hold("door") as lease:
                tokens.append(lease.fencing_token)
            for client in clients:
                await client.flushall()

        assert tokens == sorted(set(tokens))

    async def test_repeated_request_of_an_owner_is_granted_once(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)
        asking = ("somebody:1", 10_000, 7, 86_400_000)

        first = await lock._servers.execute(lock._acquire_script, lock._keys("door"), asking)
        second = await lock._servers.execute(lock._acquire_script, lock._keys("door"), asking)

        assert first.values == second.values == [7, 7, 7]

    async def test_waiter_is_woken_by_a_message(
        self, clients: list[Redis], new_lock: NewLock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cqrs_ddd_redis.locking.redlock._PATROL", (1000.0, 1000.0))
        lock, other = new_lock(clients), new_lock(clients)
        assert await lock.acquire("door", timeout=1, ttl=1000)
        waiting = asyncio.ensure_future(other.acquire("door", timeout=1000))
        while not await clients[2].exists(WAITING):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        await lock.release("door")

        assert await asyncio.wait_for(waiting, timeout=20)
        assert not await clients[0].exists(WAITING)

    async def test_missing_majority_is_a_locking_error(
        self, troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled)
        assert await lock.acquire("door", timeout=0)
        troubled[0].is_away = troubled[2].is_away = True

        for asked in (
            lock.extend("door", 10),
            lock.release("door"),
            lock.acquire("door", timeout=0),
            lock.acquire("door", timeout=0.05),
        ):
            with pytest.raises(LockingError, match="1 of 3 servers replied, 2 must") as caught:
                await asked
            assert caught.value.resource == "door"

    async def test_waiter_without_a_turn_reports_that_the_servers_are_away(
        self, troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled)
        for client in troubled:
            client.is_away = True
        first = asyncio.ensure_future(lock.acquire("door", timeout=30))
        await asyncio.sleep(0)

        with pytest.raises(LockingError, match="0 of 3 servers replied"):
            await lock.acquire("door", timeout=0.1)

        for client in troubled:
            client.is_away = False
        assert await first

    async def test_one_server_may_be_away(
        self, clients: list[Redis], troubled: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled)
        troubled[1].is_away = True

        async with lock.hold("door", timeout=1, ttl=0.2) as lease:
            await asyncio.sleep(0.4)
            lease.check()
            assert not await new_lock(clients).acquire("door", timeout=0)

        assert await _left(clients) == set()

    async def test_a_majority_that_has_forgotten_the_lock_has_lost_it(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)
        assert await lock.acquire("door", timeout=0)
        for client in clients[:2]:
            await client.flushdb()

        assert not await lock.extend("door", 10)
        with pytest.raises(LeaseLostError):
            await lock.release("door")

        assert await _left(clients) == set()

    async def test_cancelled_holder_leaves_no_trace(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)

        async def work() -> None:
            async with lock.hold("door", timeout=5, ttl=5):
                await lock.extend("door", 5)

        assert await cancel_sweep(work, lambda: _refuse_traces(clients, lock)) > 0

    async def test_a_waiter_that_is_cancelled_at_any_point_leaves_nothing(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)

        async def work() -> None:
            async with lock.hold("door", timeout=5, ttl=5):
                pass

        async def check() -> None:
            await _refuse_traces(clients, lock)
            await _occupy(clients, milliseconds=40)

        await _occupy(clients, milliseconds=40)

        assert await cancel_sweep(work, check) > 0


async def _refuse_traces(clients: list[Redis], lock: RedlockLockStrategy) -> None:
    for _ in range(100):
        if not await _left(clients):
            break
        await asyncio.sleep(0.01)  # The ttl of the holder may not be over.
    assert await _left(clients) == set()
    assert not lock._queue.current
    assert not lock._queue._waiting
    for client in clients:
        assert not client.connection_pool._in_use_connections
    assert await lock.acquire("door", timeout=1)
    await lock.release("door")


async def _occupy(clients: list[Redis], *, milliseconds: int = 60_000) -> None:
    for client in clients:
        await client.set(LOCK, "somebody", px=milliseconds)


async def _left(clients: list[Redis]) -> set[str]:
    """Return all keys but those of tokens and waiters."""
    keys: set[str] = set()
    for client in clients:
        keys |= {decode_text(key) for key in await client.keys("*")}
    return keys - {FENCE, WAITING}
