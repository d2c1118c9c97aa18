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
from cqrs_ddd_core.spi.leases import name_lock
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_redis import RedlockLockStrategy
from cqrs_ddd_redis.driver import decode_text

NewLock = Callable[..., RedlockLockStrategy]
LOCK = "shop:redlock:{door}"
FENCE = f"{LOCK}:fence"
WAITING = f"{LOCK}:waiting"
FAR_AHEAD = 8 * 10**15
"""Fencing token from a clock that is two centuries ahead."""


class Troubled(Redis):
    """Client with faults on demand."""

    is_away = False
    loses_replies = False
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
        if self.loses_replies:
            raise exceptions.TimeoutError("lost")
        return answer

    async def deliver(self) -> None:
        assert self.delayed is not None
        await self.execute_command(*self.delayed)


class ClockAhead(SystemClock):
    """Clock that is ahead by a number of seconds."""

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
    """Tests of Redlock on three servers.

    Fixtures: ``clients`` of three empty servers, ``troubled_clients`` of the same servers, and
    ``new_lock``.
    """

    async def test_redlock_is_not_granted_by_a_minority_of_the_servers(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])

        assert not await new_lock(clients).acquire("door", timeout=0)

        assert not await clients[0].exists(LOCK)

    async def test_redlock_is_granted_extended_and_released_by_a_majority(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)
        await _occupy(clients[:1])

        assert await lock.acquire("door", timeout=0)
        assert await lock.extend("door", 10)
        await lock.release("door")

        assert await _list_keys(clients[1:]) == set()
        assert await clients[0].get(LOCK) == b"another"

    async def test_redlock_releases_a_grant_that_took_longer_than_its_ttl(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients, clock=SlowAnswers())

        assert not await lock.acquire("door", timeout=0, ttl=30)

        assert await _list_keys(clients) == set()

    async def test_redlock_releases_a_possible_grant_of_a_server_without_a_reply(
        self, clients: list[Redis], troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])
        troubled_clients[0].loses_replies = True

        assert not await new_lock(troubled_clients).acquire("door", timeout=0)

        assert not await clients[0].exists(LOCK)

    async def test_late_release_of_redlock_does_not_end_a_newer_grant(
        self, clients: list[Redis], troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        await _occupy(clients[1:])
        troubled_clients[0].delays_a_release = True
        waiting = asyncio.ensure_future(new_lock(troubled_clients).acquire("door", timeout=30))
        while troubled_clients[0].delayed is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await clients[1].delete(LOCK)
        await asyncio.sleep(0.5)

        await troubled_clients[0].deliver()
        assert await waiting
        await clients[2].delete(LOCK)

        assert not await new_lock(clients).acquire("door", timeout=0)

    async def test_redlock_fencing_token_is_larger_than_the_tokens_of_all_servers(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await clients[2].set(FENCE, FAR_AHEAD)

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token == FAR_AHEAD + 1

    async def test_majority_stores_the_fencing_token_before_redlock_grants_it(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        await clients[2].set(FENCE, FAR_AHEAD)
        async with new_lock(clients).hold("door", timeout=1) as lease:
            earlier = lease.fencing_token
        await _occupy(clients[2:])

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token > earlier

    async def test_redlock_fencing_tokens_increase_with_any_server_unreachable(
        self, clients: list[Redis], troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        chance, tokens = random.Random(7), []

        for _ in range(30):
            ahead = FAR_AHEAD + chance.randrange(1000)
            if ahead > int(await clients[2].get(FENCE) or 0):
                await clients[2].set(FENCE, ahead)
            away = chance.choice(troubled_clients)
            away.is_away = True
            async with new_lock(troubled_clients).hold("door", timeout=5) as lease:
                tokens.append(lease.fencing_token)
            away.is_away = False

        assert tokens == sorted(set(tokens))

    async def test_redlock_fencing_tokens_increase_after_every_server_lost_its_data(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        async with new_lock(clients).hold("door", timeout=1) as lease:
            earlier = lease.fencing_token
        for client in clients:
            await client.flushdb()

        async with new_lock(clients).hold("door", timeout=1) as lease:
            assert lease.fencing_token > earlier

    async def test_redlock_fencing_tokens_increase_after_a_holder_with_a_fast_clock(
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

    async def test_repeated_redlock_request_of_an_owner_gets_the_same_grant(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)
        asking = ("another:1", 10_000, 7, 86_400_000)
        keys = lock._keys(name_lock("door"))

        first = await lock._servers.execute(lock._acquire_script, keys, asking)
        second = await lock._servers.execute(lock._acquire_script, keys, asking)

        assert first.values == second.values == [7, 7, 7]

    async def test_redlock_waiter_is_woken_by_a_notification(
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

    async def test_redlock_without_a_majority_raises_locking_error(
        self, troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled_clients)
        assert await lock.acquire("door", timeout=0)
        troubled_clients[0].is_away = troubled_clients[2].is_away = True

        for asked in (
            lock.extend("door", 10),
            lock.release("door"),
            lock.acquire("door", timeout=0),
            lock.acquire("door", timeout=0.05),
        ):
            with pytest.raises(LockingError, match="1 of 3 servers replied, 2 must") as caught:
                await asked
            assert caught.value.resource == "door"

    async def test_queued_redlock_waiter_reports_unreachable_servers(
        self, troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled_clients)
        for client in troubled_clients:
            client.is_away = True
        first = asyncio.ensure_future(lock.acquire("door", timeout=30))
        await asyncio.sleep(0)

        with pytest.raises(LockingError, match="0 of 3 servers replied"):
            await lock.acquire("door", timeout=0.1)

        for client in troubled_clients:
            client.is_away = False
        assert await first

    async def test_redlock_works_with_one_server_unreachable(
        self, clients: list[Redis], troubled_clients: list[Troubled], new_lock: NewLock
    ) -> None:
        lock = new_lock(troubled_clients)
        troubled_clients[1].is_away = True

        async with lock.hold("door", timeout=1, ttl=0.2) as lease:
            await asyncio.sleep(0.4)
            lease.check()
            assert not await new_lock(clients).acquire("door", timeout=0)

        assert await _list_keys(clients) == set()

    async def test_redlock_is_lost_if_a_majority_lost_its_data(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)
        assert await lock.acquire("door", timeout=0)
        for client in clients[:2]:
            await client.flushdb()

        assert not await lock.extend("door", 10)
        with pytest.raises(LeaseLostError):
            await lock.release("door")

        assert await _list_keys(clients) == set()

    async def test_cancelled_redlock_holder_leaves_no_trace(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)

        async def work() -> None:
            async with lock.hold("door", timeout=5, ttl=5):
                await lock.extend("door", 5)

        assert await cancel_sweep(work, lambda: _ensure_no_traces(clients, lock)) > 0

    async def test_redlock_waiter_cancelled_at_any_point_leaves_no_trace(
        self, clients: list[Redis], new_lock: NewLock
    ) -> None:
        lock = new_lock(clients)

        async def work() -> None:
            async with lock.hold("door", timeout=5, ttl=5):
                pass

        async def check() -> None:
            await _ensure_no_traces(clients, lock)
            await _occupy(clients, milliseconds=40)

        await _occupy(clients, milliseconds=40)

        assert await cancel_sweep(work, check) > 0


async def _ensure_no_traces(clients: list[Redis], lock: RedlockLockStrategy) -> None:
    for _ in range(100):
        if not await _list_keys(clients):
            break
        await asyncio.sleep(0.01)  # The ttl of the holder may not be over.
    assert await _list_keys(clients) == set()
    assert not lock._queue.current
    assert not lock._queue._waiting
    for client in clients:
        assert not client.connection_pool._in_use_connections
    assert await lock.acquire("door", timeout=1)
    await lock.release("door")


async def _occupy(clients: list[Redis], *, milliseconds: int = 60_000) -> None:
    for client in clients:
        await client.set(LOCK, "another", px=milliseconds)


async def _list_keys(clients: list[Redis]) -> set[str]:
    """Return all keys except the keys of tokens and waiters."""
    keys: set[str] = set()
    for client in clients:
        keys |= {decode_text(key) for key in await client.keys("*")}
    return keys - {FENCE, WAITING}
