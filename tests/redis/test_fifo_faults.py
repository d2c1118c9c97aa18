"""Faults of the lock on one server: dead waiters, frozen holders, lost replies and restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as MaxConnectionsError

from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    LeaseLostError,
    LockAcquisitionError,
    LockingError,
)
from cqrs_ddd_core.spi.leases import LockName, name_lock
from cqrs_ddd_core.testing.contracts.locking import LockContract
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_redis.locking.fifo import FifoAttempt, FifoRedisLockStrategy
from cqrs_ddd_redis.locking.strategy import Grant
from cqrs_ddd_redis.pubsub import PubSubListener
from tests.faults.locking import Contest, fifo, write
from tests.forking import process
from tests.own_redis import OwnRedis, own_redis

HEARTBEAT = 0.5
"""Seconds; a waiter that is late by three of them loses its place, on a busy machine too."""
IMPATIENT = 0.3
"""Seconds to wait for a reply of a server that sends none."""


class GrantsToDeadWaiters(FifoRedisLockStrategy):
    """Wrong variant: grants the lock to a waiter without an expiry, even if the waiter is dead."""

    def _create_owner(self, ttl: float) -> str:
        return super()._create_owner(ttl).rpartition("/")[0] + "/60000"


class TrustsEveryNotification(FifoRedisLockStrategy):
    """Wrong variant: treats any notification as a grant."""

    async def _claim(self, waiter: FifoAttempt) -> Grant | None:
        return Grant(waiter.owner, 1, self._clock.monotonic() + 1)


class NeverLeavesQueue(FifoRedisLockStrategy):
    """Wrong variant: leaves the queue without a request."""

    async def _clean_up(self, name: LockName, owner: str) -> None: ...


class DropsItsTicket(FifoRedisLockStrategy):
    """Wrong variant: rejoins the queue at its end."""

    async def _enqueue(self, waiter: FifoAttempt) -> Grant | None:
        waiter.ticket = 0
        return await super()._enqueue(waiter)


class ReleasesWithoutTombstone(FifoRedisLockStrategy):
    """Wrong variant: expects commands to arrive in the order in which they were sent."""

    async def _release_uncertain(self, name: LockName, owner: str) -> bool:
        return await self._release(name, owner)


class CountsTokens(FifoRedisLockStrategy):
    """Wrong variant: counts tokens from one, although the server may lose its data."""

    async def _try_acquire(
        self, name: LockName, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        grant = await super()._try_acquire(name, owner, timeout, ttl)
        counted = await self._acquire_script._execute("INCR", "counter")
        return grant and replace(grant, fencing_token=counted)


@pytest.fixture
def server() -> Iterator[OwnRedis]:
    with own_redis() as server:
        yield server


@asynccontextmanager
async def open_lock(
    url: str,
    kind: type[FifoRedisLockStrategy] = FifoRedisLockStrategy,
    response_timeout: float = 10.0,
) -> AsyncIterator[FifoRedisLockStrategy]:
    async with Redis.from_url(url) as client:
        yield kind(client, heartbeat=HEARTBEAT, response_timeout=response_timeout, namespace="shop")


async def stand_in_line(url: str, name: str, kind: type[FifoRedisLockStrategy]) -> None:
    async with (
        Redis.from_url(url) as client,
        open_lock(url, kind) as lock,
        lock.hold("door", timeout=60),
    ):
        await client.rpush("served", name)


def run_stand_in_line(url: str, name: str, kind: type[FifoRedisLockStrategy]) -> None:
    asyncio.run(stand_in_line(url, name, kind))


async def serve_after_death(
    client: Redis, url: str, kind: type[FifoRedisLockStrategy]
) -> list[int]:
    """Kill the first of four waiters, and return the waiters that got the lock."""
    async with open_lock(url) as lock:
        assert await lock.acquire("door", ttl=600)
        with ExitStack() as stack:
            victims = []
            for number in range(4):
                standing = process(run_stand_in_line, url, str(number), kind)
                victims.append(stack.enter_context(standing))
                while await client.zcard("shop:fifo:{door}:queue") <= number:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            victims[0].kill()
            await lock.release("door")
            is_naive = kind is not FifoRedisLockStrategy
            deadline = asyncio.get_running_loop().time() + (1.0 if is_naive else 120.0)
            while await client.llen("served") < 3:
                if asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(0.02)
            return [int(each) for each in await client.lrange("served", 0, -1)]


async def test_dead_waiter_is_skipped_in_the_queue(client: Redis, redis_url: str) -> None:
    served = await serve_after_death(client, redis_url, FifoRedisLockStrategy)

    assert served == [1, 2, 3]


async def test_dead_waiter_check_catches_a_fifo_lock_that_grants_to_dead_waiters(
    client: Redis, redis_url: str
) -> None:
    assert await serve_after_death(client, redis_url, GrantsToDeadWaiters) == []


async def ignores_old_notification(client: Redis, kind: type[FifoRedisLockStrategy]) -> bool:
    """Return whether a waiter still waits after an old notification."""
    holder = FifoRedisLockStrategy(client, namespace="shop")
    lock = kind(client, heartbeat=30, namespace="shop")
    async with holder.hold("door"):
        waiting = asyncio.ensure_future(_pass(lock))
        while not lock._attempts or not lock._listener.is_subscribed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        (owner,) = lock._attempts
        lock._notify_owner(owner)
        await asyncio.wait({waiting}, timeout=0.1 if kind is FifoRedisLockStrategy else 60)
        is_waiting = not waiting.done()
    await asyncio.wait({waiting})
    return is_waiting


async def _pass(lock: FifoRedisLockStrategy) -> None:
    async with lock.hold("door", timeout=30):
        pass


async def test_waiter_of_the_fifo_lock_ignores_an_old_notification(client: Redis) -> None:
    assert await ignores_old_notification(client, FifoRedisLockStrategy)


async def test_old_notification_check_catches_a_waiter_that_trusts_every_notification(
    client: Redis,
) -> None:
    assert not await ignores_old_notification(client, TrustsEveryNotification)


async def test_lock_contract_catches_a_fifo_lock_that_keeps_cancelled_waiters(
    client: Redis, other_client: Redis
) -> None:
    naive = NeverLeavesQueue(other_client, namespace="shop")

    with pytest.raises(AssertionError):
        await LockContract().test_waiter_cancelled_at_any_point_never_holds_the_lock(
            FifoRedisLockStrategy(client, namespace="shop"), naive
        )


async def test_cancelled_fifo_waiter_leaves_neither_keys_nor_connections(client: Redis) -> None:
    holder, lock = (
        FifoRedisLockStrategy(client, namespace="shop"),
        FifoRedisLockStrategy(client, namespace="shop"),
    )
    assert await holder.acquire("door", ttl=60)

    async def work() -> None:
        with pytest.raises(LockAcquisitionError):
            async with lock.hold("door", timeout=0.05):
                raise AssertionError("the lock has two holders")

    async def check() -> None:
        assert not client.connection_pool._in_use_connections
        assert sorted(await client.keys("shop:fifo:{*")) == [
            b"shop:fifo:{door}",
            b"shop:fifo:{door}:fence",
        ]
        assert await client.echo("asked") == b"asked"

    assert await cancel_sweep(work, check) > 0
    await holder.release("door")


async def acquires_after_release(client: Redis, kind: type[FifoRedisLockStrategy]) -> bool:
    """Return whether a request that arrives after its owner has left is granted."""
    lock = kind(client, namespace="shop")
    owner = lock._create_owner(30)
    waiter = FifoAttempt(name_lock("door"), owner, 30, 0, waits=False)

    await lock._clean_up(name_lock("door"), owner)

    return await lock._enqueue(waiter) is not None


async def test_lock_request_that_arrives_after_its_owner_has_left_is_ignored(
    client: Redis,
) -> None:
    assert not await acquires_after_release(client, FifoRedisLockStrategy)


async def test_late_request_check_catches_a_release_after_which_the_owner_gets_the_lock(
    client: Redis,
) -> None:
    assert await acquires_after_release(client, ReleasesWithoutTombstone)


async def test_released_fifo_lock_is_not_renewed(client: Redis) -> None:
    clock = FakeClock()
    lock = FifoRedisLockStrategy(client, clock=clock, namespace="shop")

    for turns in range(60):
        async with lock.hold("door", ttl=30):
            # The renewal starts after a third of the ttl, and is a few turns of the loop ahead.
            advancing = asyncio.ensure_future(clock.advance(10))
            for _ in range(turns):
                await asyncio.sleep(0)
        await advancing

        assert not await client.exists("shop:fifo:{door}")


def hold_and_stop(contest: Contest) -> None:
    """Stop between two writes, and continue later."""

    async def work() -> None:
        with closing(contest.open()) as connection:
            async with open_lock(contest.urls[0]) as lock, lock.hold("door", ttl=0.5) as lease:
                write(connection, lease.fencing_token, "one")
                (contest.folder / "stops").touch()
                os.kill(os.getpid(), signal.SIGSTOP)
                write(connection, lease.fencing_token, "one")
                await asyncio.sleep(30)

    try:
        asyncio.run(work())
    except LeaseLostError:
        (contest.folder / "lost it").touch()


async def test_late_write_of_a_frozen_holder_is_rejected_by_the_store(
    client: Redis, redis_url: str, tmp_path: Path
) -> None:
    contest = Contest((redis_url,), fifo, tmp_path)
    contest.prepare()
    with process(hold_and_stop, contest) as one:
        while not (tmp_path / "stops").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        async with open_lock(redis_url) as lock, lock.hold("door", timeout=30) as lease:
            with closing(contest.open()) as connection:
                write(connection, lease.fencing_token, "two")
                assert one.pid is not None
                os.kill(one.pid, signal.SIGCONT)
                await asyncio.to_thread(one.join, 30)
                write(connection, lease.fencing_token, "two")
                rows = _rows(connection)

    assert rows == [("one", 1), ("two", 1), ("one", 0), ("two", 1)]
    assert (tmp_path / "lost it").exists()


def _rows(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT holder, accepted FROM writes ORDER BY seq").fetchall()


async def collect_tokens_across_restart(
    server: OwnRedis, kind: type[FifoRedisLockStrategy]
) -> tuple[list[int], bool]:
    """Return the tokens of three holders, the second of which loses the lock to a restart."""
    tokens: list[int] = []
    is_lost = False

    async def take(ttl: float = 60) -> None:
        async with lock.hold("door", timeout=60, ttl=ttl) as lease:
            tokens.append(lease.fencing_token)
            if len(tokens) == 2:
                await asyncio.sleep(30)

    async with open_lock(server.url, kind) as lock:
        await take()
        second = asyncio.ensure_future(take(ttl=1.5))
        while len(tokens) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        third = asyncio.ensure_future(take())
        await asyncio.sleep(HEARTBEAT)
        server.kill()
        server.start()
        await third
        await asyncio.wait({second})
        is_lost = isinstance(second.exception(), LeaseLostError)
    return tokens, is_lost


async def test_fencing_tokens_increase_across_a_server_restart_without_data(
    server: OwnRedis,
) -> None:
    tokens, is_lost = await collect_tokens_across_restart(server, FifoRedisLockStrategy)

    assert tokens == sorted(set(tokens))
    assert len(tokens) == 3
    assert is_lost


async def test_token_check_catches_a_fifo_lock_whose_tokens_restart_with_the_server(
    server: OwnRedis,
) -> None:
    tokens, _ = await collect_tokens_across_restart(server, CountsTokens)

    assert tokens != sorted(set(tokens))


async def serve_after_data_loss(client: Redis, kind: type[FifoRedisLockStrategy]) -> list[int]:
    """Return the order in which five waiters with staggered heartbeats are served."""
    served: list[int] = []
    holder, lock = (
        FifoRedisLockStrategy(client, namespace="shop"),
        kind(client, heartbeat=0.25, namespace="shop"),
    )

    async def stand(number: int) -> None:
        async with lock.hold("door", timeout=60):
            served.append(number)
            # The first request finds the lock free; it waits until all others are in the queue.
            if len(served) == 1:
                while await client.zcard("shop:fifo:{door}:queue") < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    assert await holder.acquire("door", ttl=60)
    waiting = []
    for number in range(5):
        waiting.append(asyncio.ensure_future(stand(number)))
        await asyncio.sleep(0.2)
    await client.flushdb()
    await asyncio.gather(*waiting)
    return served


async def test_waiters_keep_their_places_after_the_server_lost_the_queue(
    client: Redis,
) -> None:
    served = await serve_after_data_loss(client, FifoRedisLockStrategy)

    assert served[1:] == sorted(served[1:])
    assert len(served) == 5


async def test_data_loss_check_catches_waiters_that_drop_their_tickets(client: Redis) -> None:
    served = await serve_after_data_loss(client, DropsItsTicket)

    assert served[1:] != sorted(served[1:])


async def test_abandoned_fifo_queue_expires(client: Redis) -> None:
    holder, lock = (
        FifoRedisLockStrategy(client, namespace="shop"),
        NeverLeavesQueue(client, namespace="shop"),
    )
    assert await holder.acquire("door", ttl=60)

    assert not await lock.acquire("door", timeout=0.05)

    keys = await client.keys("shop:fifo:*")
    assert len(keys) == 4
    assert all([await client.pttl(key) > 0 for key in keys])


async def test_waiter_with_a_slower_heartbeat_keeps_its_place(client: Redis) -> None:
    holder = FifoRedisLockStrategy(client, namespace="shop")
    slow = FifoRedisLockStrategy(client, heartbeat=5, namespace="shop")
    fast = FifoRedisLockStrategy(client, heartbeat=0.05, namespace="shop")
    assert await holder.acquire("door", ttl=60)
    waiting = asyncio.ensure_future(slow.acquire("door", timeout=60))
    while not await client.exists("shop:fifo:{door}:queue"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    assert not await fast.acquire("door", timeout=0.1)
    await asyncio.sleep(0.3)

    assert await client.zcard("shop:fifo:{door}:queue") == 1
    await holder.release("door")
    assert await waiting


async def test_tombstone_of_a_lock_owner_expires(client: Redis) -> None:
    holder, lock = (
        FifoRedisLockStrategy(client, namespace="shop"),
        FifoRedisLockStrategy(client, namespace="shop"),
    )
    assert await holder.acquire("door", ttl=60)

    assert not await lock.acquire("door", timeout=0.05)

    (mark,) = await client.keys("shop:fifo:gone:*")
    assert await client.pttl(mark) > 0
    await holder.release("door")


async def test_local_records_of_locks_that_are_never_released_are_dropped(client: Redis) -> None:
    clock = FakeClock()
    lock = FifoRedisLockStrategy(client, clock=clock, namespace="shop")

    for number in range(2_100):
        assert await lock.acquire(f"door-{number}", timeout=0, ttl=1)
        await clock.advance(1)

    assert len(lock._holders) <= 2_000


async def test_fifo_lock_is_considered_held_for_less_than_its_ttl(client: Redis) -> None:
    lock = FifoRedisLockStrategy(client, namespace="shop")
    asked = lock._clock.monotonic()

    assert await lock.acquire("door", ttl=100)

    assert lock._holders[name_lock("door")].valid_until < asked + 99.5


async def test_holder_of_a_shortened_lock_loses_it_at_the_new_ttl(client: Redis) -> None:
    lock = FifoRedisLockStrategy(client, namespace="shop")

    async def work() -> None:
        async with lock.hold("door", ttl=30) as lease:
            assert await lock.extend("door", 0.1)
            await asyncio.sleep(0.15)
            lease.check()
            raise AssertionError("the holder does not know that its lock has expired")

    with pytest.raises(LeaseLostError):
        await work()


async def test_fifo_lock_replaces_an_expired_fencing_token(client: Redis) -> None:
    lock = FifoRedisLockStrategy(client, namespace="shop")
    owner = lock._create_owner(30)
    waiter = FifoAttempt(name_lock("door"), owner, 30, 0, waits=False)
    assert await lock._enqueue(waiter)

    await client.delete("shop:fifo:{door}:fence")

    for ask in (lock._enqueue, lock._claim):
        grant = await ask(waiter)
        assert grant is not None
        assert grant.fencing_token > 0


async def serve_after_lost_reply(client: Redis, kind: type[FifoRedisLockStrategy]) -> bool:
    """Return whether a waiter that a lost reply named gets the lock soon."""
    lock = kind(client, heartbeat=60, namespace="shop")
    release = lock._release_script

    async def unread(keys: Sequence[str], args: Sequence[str]) -> object:
        await release(keys, args)
        raise ConnectionResetError("on the way back")

    async with lock.hold("door", cancel_on_loss=False):
        waiting = asyncio.ensure_future(lock.acquire("door", timeout=60))
        while not await client.exists("shop:fifo:{door}:queue"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        lock._release_script = unread  # type: ignore[assignment]
    await asyncio.wait({waiting}, timeout=20 if kind is FifoRedisLockStrategy else 0.5)
    is_served = waiting.done() and waiting.result()
    lock._release_script = release
    waiting.cancel()
    await asyncio.wait({waiting})
    return is_served


class ExpectsEveryReply(FifoRedisLockStrategy):
    """Wrong variant: expects every reply to arrive."""

    async def _send_release(self, name: LockName, owner: str, keys: Sequence[str]) -> bool:
        attempts, self._attempts = self._attempts, {}
        try:
            return await super()._send_release(name, owner, keys)
        finally:
            self._attempts = attempts


async def test_waiter_gets_the_lock_although_the_reply_that_names_it_is_lost(client: Redis) -> None:
    assert await serve_after_lost_reply(client, FifoRedisLockStrategy)


async def test_lost_reply_check_catches_a_release_that_ignores_the_waiter_in_the_reply(
    client: Redis,
) -> None:
    assert not await serve_after_lost_reply(client, ExpectsEveryReply)


async def test_failed_release_of_the_fifo_lock_is_retried(client: Redis) -> None:
    lock = FifoRedisLockStrategy(client, namespace="shop")
    release, failures = lock._release_script, [MaxConnectionsError("Too many connections")]

    async def failing_once(keys: Sequence[str], args: Sequence[str]) -> object:
        if failures:
            raise failures.pop()
        return await release(keys, args)

    lock._release_script = failing_once  # type: ignore[assignment]
    async with lock.hold("door"):
        pass

    assert not await client.exists("shop:fifo:{door}")


async def test_acquire_succeeds_if_the_server_returns_before_the_timeout(server: OwnRedis) -> None:
    async with open_lock(server.url) as lock:
        server.kill()
        acquiring = asyncio.ensure_future(lock.acquire("door", timeout=30))
        await asyncio.sleep(0.2)
        assert not acquiring.done()

        server.start()

        assert await acquiring
        await lock.release("door")


@pytest.mark.parametrize("trouble", ["dead", "frozen"])
async def test_server_without_replies_raises_locking_error(server: OwnRedis, trouble: str) -> None:
    async with open_lock(server.url, response_timeout=IMPATIENT) as lock:
        assert await lock.acquire("held", ttl=60)
        server.kill() if trouble == "dead" else server.freeze()

        for timeout in (0, 0.2):
            with pytest.raises(LockingError, match="cannot lock door: .*check that the Redis"):
                await lock.acquire("door", timeout=timeout)
        with pytest.raises(LockingError, match="cannot extend held"):
            await lock.extend("held", 60)
        with pytest.raises(LockingError, match="cannot release held"):
            await lock.release("held")


async def test_holder_without_replies_treats_its_lock_as_lost(server: OwnRedis) -> None:
    reached: list[str] = []

    async def work() -> None:
        async with lock.hold("door", ttl=0.6):
            server.freeze()
            reached.append("inside")
            await asyncio.sleep(30)
            reached.append("after")

    async with open_lock(server.url, response_timeout=IMPATIENT) as lock:
        with pytest.raises(LeaseLostError):
            await work()
        server.thaw()

        assert reached == ["inside"]
        assert await lock.acquire("door", timeout=10)
        await lock.release("door")


async def test_holder_keeps_its_lock_if_the_server_returns_before_the_ttl_ends(
    server: OwnRedis,
) -> None:
    async with (
        open_lock(server.url, response_timeout=IMPATIENT) as lock,
        lock.hold("door", ttl=3.0) as lease,
    ):
        server.freeze()
        await asyncio.sleep(1.5)
        server.thaw()
        await asyncio.sleep(2.5)

        lease.check()


async def test_hold_block_ends_without_an_error_if_the_server_is_gone(
    server: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = open_lock(server.url, response_timeout=IMPATIENT)
    async with impatient as lock, lock.hold("door", ttl=30):
        server.kill()

    assert "cannot release door" in caplog.text


async def test_fifo_lock_rejects_invalid_settings(client: Redis) -> None:
    for settings in ({"heartbeat": 0}, {"heartbeat": -1}, {"response_timeout": 0}):
        with pytest.raises(InvalidOperationError):
            FifoRedisLockStrategy(client, namespace="shop", **settings)  # type: ignore[arg-type]


async def collect_errors(client: Redis, other: Redis) -> list[BaseException]:
    """Return the errors of many waiters that only notifications wake in time."""
    locks = [
        FifoRedisLockStrategy(each, heartbeat=600, namespace="shop") for each in (client, other)
    ]

    async def hold_repeatedly(number: int) -> None:
        for step in range(40):
            async with locks[number % 2].hold("door", timeout=60):
                await asyncio.sleep((number * 7 + step * 3) % 5 / 2_000)
            await asyncio.sleep((number * 3 + step * 7) % 11 / 1_000)

    ends = await asyncio.gather(*map(hold_repeatedly, range(6)), return_exceptions=True)
    return [end for end in ends if end is not None]


async def test_fifo_waiters_are_notified_without_polling(
    client: Redis, other_client: Redis
) -> None:
    assert await collect_errors(client, other_client) == []


class NeverRepeatsRequest(FifoRedisLockStrategy):
    """Wrong variant: does not send another request after it has subscribed."""

    async def _wait(self, waiter: FifoAttempt) -> Grant | None:
        self._listener.__class__ = AlwaysSubscribed
        return await super()._wait(waiter)


class AlwaysSubscribed(PubSubListener):
    @property
    def is_subscribed(self) -> bool:
        return True


async def notify_before_subscription(
    client: Redis, kind: type[FifoRedisLockStrategy], patience: float
) -> list[bool]:
    """Return whether a waiter notified before its subscription gets the lock soon, twice."""
    holder, lock = (
        FifoRedisLockStrategy(client, namespace="shop"),
        kind(client, heartbeat=60, namespace="shop"),
    )
    listening = lock._listener.subscribe

    @asynccontextmanager
    async def listening_late(patience: float) -> AsyncIterator[None]:
        door = name_lock("door")
        assert await holder._release(door, holder._holders[door].owner)
        async with listening(patience):
            yield

    lock._listener.subscribe = listening_late  # type: ignore[method-assign, assignment]
    served = []
    for _ in range(2):
        assert await holder.acquire("door", ttl=60)
        acquiring = asyncio.ensure_future(lock.acquire("door", timeout=60))
        await asyncio.wait({acquiring}, timeout=patience)
        served.append(acquiring.done() and acquiring.result())
        acquiring.cancel()
        await asyncio.wait({acquiring})
        await client.flushdb()
    return served


async def test_waiter_gets_the_lock_although_its_notification_came_before_it_subscribed(
    client: Redis,
) -> None:
    assert await notify_before_subscription(client, FifoRedisLockStrategy, 20) == [True, True]


async def test_lost_notification_check_catches_a_waiter_that_asks_only_before_it_subscribes(
    client: Redis,
) -> None:
    assert await notify_before_subscription(client, NeverRepeatsRequest, 0.5) == [False, False]
