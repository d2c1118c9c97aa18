"""Contracts of distributed locks."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any

from ...ports.locking import ILeasedLock
from ...primitives.exceptions import InvalidOperationError, LeaseLostError, LockAcquisitionError
from ..assertions import raises
from ..faults import cancel_sweep
from .tenancy import LockTenancyContract


class LockContract(LockTenancyContract):
    """Contract of ``ILeasedLock``.

    Fixtures:
        lock: The lock strategy under test.
        other_lock: Another strategy for the same locks, as another process would have it.
    """

    async def test_held_lock_cannot_be_acquired_until_it_is_released(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        assert await lock.acquire(name, timeout=1)
        assert not await _run_in_task(other_lock.acquire(name, timeout=0.05))
        await lock.release(name)

        assert await other_lock.acquire(name, timeout=1)
        await other_lock.release(name)

    async def test_held_locks_are_listed_until_they_end(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        one, two, expiring = sorted((_name(), _name(), f"{{{_name()}}}:fence"))
        assert await lock.acquire(one, timeout=1, ttl=20)
        assert await lock.acquire(expiring, timeout=1, ttl=0.05)
        async with other_lock.hold(two, timeout=1, ttl=10) as lease:
            await asyncio.sleep(0.1)
            held = [
                each for each in await lock.list_held() if each.resource in (one, two, expiring)
            ]
            assert [(each.tenant_id, each.resource) for each in held] == [("", one), ("", two)]
            assert held[1].fencing_token == lease.fencing_token
            assert 10 < held[0].ttl <= 20
            assert 0 < held[1].ttl <= 10
        await lock.release(one)

        assert not {one, two} & {each.resource for each in await other_lock.list_held()}

    async def test_health_check_leaves_no_lock(self, lock: ILeasedLock) -> None:
        before = {each.resource for each in await lock.list_held()}

        await asyncio.gather(*(lock.health_check() for _ in range(3)))

        assert {each.resource for each in await lock.list_held()} <= before

    async def test_acquire_with_a_timeout_of_zero_does_not_wait(self, lock: ILeasedLock) -> None:
        name = _name()

        assert await lock.acquire(name, timeout=0)
        assert not await _run_in_task(lock.acquire(name, timeout=0))
        await lock.release(name)

    async def test_locks_with_different_names_are_independent(self, lock: ILeasedLock) -> None:
        one, two = _name(), _name()

        assert await lock.acquire(one, timeout=1)
        assert await lock.acquire(two, timeout=1)

        await lock.release(one)
        await lock.release(two)

    async def test_lock_has_at_most_one_holder_at_a_time(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        inside: list[int] = []
        most_holders = 0

        async def work(number: int) -> None:
            nonlocal most_holders
            async with (lock, other_lock)[number % 2].hold(name, timeout=30, ttl=10):
                inside.append(number)
                most_holders = max(most_holders, len(inside))
                await asyncio.sleep(0.001)
                inside.remove(number)

        await asyncio.gather(*(work(number) for number in range(10)))

        assert most_holders == 1

    async def test_holder_of_an_expired_lock_can_neither_extend_nor_release_it(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        held, done = asyncio.Event(), asyncio.Event()
        assert await lock.acquire(name, timeout=1, ttl=0.05)

        async def take_over() -> None:
            async with other_lock.hold(name, timeout=5):
                held.set()
                await done.wait()

        successor = asyncio.ensure_future(take_over())
        await held.wait()

        assert not await lock.extend(name, 5)
        with raises(LeaseLostError) as caught:
            await lock.release(name)
        assert caught.error.resource == name
        assert not await lock.acquire(name, timeout=0)
        done.set()
        await successor

    async def test_acquired_lock_expires_after_its_ttl(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1, ttl=0.05)

        assert await _run_in_task(other_lock.acquire(name, timeout=1))

    async def test_extended_lock_outlives_its_first_ttl(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1, ttl=0.1)

        assert await lock.extend(name, 10)
        await asyncio.sleep(0.15)

        assert not await _run_in_task(other_lock.acquire(name, timeout=0))
        await lock.release(name)

    async def test_only_its_holder_can_release_or_extend_a_lock(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)

        async def fail_to_release(strategy: ILeasedLock) -> None:
            with raises(LeaseLostError):
                await strategy.release(name)
            assert not await strategy.extend(name, 5)

        await _run_in_task(fail_to_release(lock))
        await _run_in_task(fail_to_release(other_lock))

        assert await lock.extend(name, 5)
        await lock.release(name)

    async def test_release_of_a_free_lock_raises_lease_lost_error(self, lock: ILeasedLock) -> None:
        name = _name()

        with raises(LeaseLostError):
            await lock.release(name)
        assert await lock.acquire(name, timeout=1)
        await lock.release(name)
        with raises(LeaseLostError):
            await lock.release(name)

    async def test_lock_acquired_through_wait_for_belongs_to_the_calling_task(
        self, lock: ILeasedLock
    ) -> None:
        name = _name()

        assert await asyncio.wait_for(lock.acquire(name, timeout=1), timeout=5)
        assert await asyncio.wait_for(lock.extend(name, 5), timeout=5)

        await lock.release(name)

    async def test_fencing_token_increases_with_each_holder(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        tokens: list[int] = []

        for holder in (lock, other_lock, lock):
            async with holder.hold(name, timeout=5) as lease:
                assert lease.resource == name
                lease.check()
                tokens.append(lease.fencing_token)

        assert tokens == sorted(set(tokens))

    async def test_hold_keeps_the_lock_beyond_its_ttl(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        async with lock.hold(name, timeout=1, ttl=0.3) as lease:
            await asyncio.sleep(0.7)
            lease.check()
            assert not await _run_in_task(other_lock.acquire(name, timeout=0))

        assert await other_lock.acquire(name, timeout=1)
        await other_lock.release(name)

    async def test_hold_that_times_out_raises_an_error_with_resource_and_timeout(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)

        async def hold() -> None:
            with raises(LockAcquisitionError) as caught:
                async with other_lock.hold(name, timeout=0.05):
                    raise AssertionError("the lock has two holders")
            assert (caught.error.resource, caught.error.timeout) == (name, 0.05)

        await _run_in_task(hold())
        await lock.release(name)

    async def test_error_in_a_hold_block_releases_the_lock(self, lock: ILeasedLock) -> None:
        name = _name()

        with raises(LookupError):
            async with lock.hold(name, timeout=1):
                raise LookupError

        assert await lock.acquire(name, timeout=0)
        await lock.release(name)

    async def test_cancelled_waiter_never_holds_the_lock(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)
        waiting = asyncio.ensure_future(other_lock.acquire(name, timeout=30))
        await asyncio.sleep(0.02)

        waiting.cancel()
        await asyncio.wait({waiting})
        await lock.release(name)

        assert waiting.cancelled()
        assert await lock.acquire(name, timeout=0)
        await lock.release(name)

    async def test_hold_cancelled_at_any_point_leaves_the_lock_free(
        self, lock: ILeasedLock
    ) -> None:
        name = _name()

        async def work() -> None:
            async with lock.hold(name, timeout=5, ttl=5):
                await asyncio.sleep(0)

        async def check() -> None:
            assert await lock.acquire(name, timeout=1)
            await lock.release(name)

        assert await cancel_sweep(work, check) > 0

    async def test_lease_is_marked_lost_before_its_block_is_cancelled(
        self, lock: ILeasedLock
    ) -> None:
        was_marked_lost = False

        async def work() -> None:
            nonlocal was_marked_lost
            async with lock.hold(_name(), timeout=1, ttl=0.1) as lease:
                _block_loop(0.3)
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    was_marked_lost = lease.lost.is_set()
                    raise

        with raises(LeaseLostError):
            await work()

        assert was_marked_lost

    async def test_hold_block_without_cancel_on_loss_keeps_running_and_can_see_the_loss(
        self, lock: ILeasedLock
    ) -> None:
        name, saw_loss = _name(), False

        with raises(LeaseLostError) as caught:
            async with lock.hold(name, timeout=1, ttl=0.1, cancel_on_loss=False) as lease:
                _block_loop(0.3)
                for _ in range(500):
                    await asyncio.sleep(0.01)
                    if lease.lost.is_set():
                        break
                await asyncio.sleep(0.01)
                saw_loss = lease.lost.is_set()

        assert saw_loss
        assert caught.error.resource == name

    async def test_hold_block_that_releases_its_lock_fails_and_the_next_holder_keeps_it(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        with raises(LeaseLostError):
            async with lock.hold(name, timeout=1):
                await lock.release(name)
                assert await _run_in_task(other_lock.acquire(name, timeout=1))

        assert not await _run_in_task(lock.acquire(name, timeout=0))
        await other_lock.release(name)

    async def test_waiter_cancelled_at_any_point_never_holds_the_lock(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)

        async def wait() -> None:
            assert not await other_lock.acquire(name, timeout=0.02)

        async def check() -> None:
            await lock.release(name)
            assert await lock.acquire(name, timeout=0)

        assert await cancel_sweep(wait, check) > 0
        await lock.release(name)

    async def test_lock_rejects_invalid_names_timeouts_and_ttls(self, lock: ILeasedLock) -> None:
        nothing: Any = None
        for arguments in (
            {"ttl": 0},
            {"ttl": -1.0},
            {"timeout": -1.0},
            {"ttl": float("nan")},
            {"ttl": 1e300},
        ):
            with raises(InvalidOperationError):
                await lock.acquire(_name(), **arguments)
        for name in ("", nothing, "half a pair \ud800"):
            with raises(InvalidOperationError):
                await lock.acquire(name)
        with raises(InvalidOperationError):
            await lock.extend(_name(), -1)


class FifoLockContract:
    """Contract of lock strategies that serve waiters in order of arrival.

    Fixtures:
        lock: The lock strategy under test.
        other_lock: Another strategy for the same locks, as another process would have it.
    """

    async def test_fifo_lock_serves_waiters_in_order_of_arrival(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        served: list[int] = []
        assert await lock.acquire(name, timeout=1)

        async def wait(number: int) -> None:
            async with (lock, other_lock)[number % 2].hold(name, timeout=30):
                served.append(number)

        waiters = []
        for number in range(5):
            waiters.append(asyncio.ensure_future(wait(number)))
            await self.wait_for_waiters(lock, name, number + 1)
        waiters[1].cancel()
        await asyncio.wait({waiters[1]})
        await lock.release(name)
        await asyncio.gather(*waiters, return_exceptions=True)

        assert served == [0, 2, 3, 4]

    async def wait_for_waiters(self, lock: ILeasedLock, resource: str, count: int) -> None:
        """Wait until the queue of the lock has `count` waiters.

        A contract of a lock with its queue on a server overrides this and polls the server.
        """
        await asyncio.sleep(0.01)


_numbers = count(1)


def _name() -> str:
    """Return the name of a lock that no other test of this process uses."""
    return f"lock-{next(_numbers)}"


def _block_loop(seconds: float) -> None:
    """Block the event loop, like a stopped process, so that no lease is renewed."""
    time.sleep(seconds)


async def _run_in_task(work: Any) -> Any:
    return await asyncio.ensure_future(work)
