"""What every lock must do."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any

from ...ports.locking import ILeasedLock
from ...primitives.exceptions import InvalidOperationError, LeaseLostError, LockAcquisitionError
from ..assertions import raises
from ..faults import cancel_sweep


class LockContract:
    """Fixtures: ``lock``, and ``other_lock``, which is another process's view of the same locks."""

    async def test_a_held_lock_is_refused_until_it_is_released(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        assert await lock.acquire(name, timeout=1)
        assert not await _run_in_task(other_lock.acquire(name, timeout=0.05))
        await lock.release(name)

        assert await other_lock.acquire(name, timeout=1)
        await other_lock.release(name)

    async def test_a_time_out_of_zero_asks_once(self, lock: ILeasedLock) -> None:
        name = _name()

        assert await lock.acquire(name, timeout=0)
        assert not await _run_in_task(lock.acquire(name, timeout=0))
        await lock.release(name)

    async def test_different_names_do_not_meet(self, lock: ILeasedLock) -> None:
        one, two = _name(), _name()

        assert await lock.acquire(one, timeout=1)
        assert await lock.acquire(two, timeout=1)

        await lock.release(one)
        await lock.release(two)

    async def test_one_at_a_time_is_inside(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        inside: list[int] = []
        most = 0

        async def work(number: int) -> None:
            nonlocal most
            async with (lock, other_lock)[number % 2].hold(name, timeout=30, ttl=10):
                inside.append(number)
                most = max(most, len(inside))
                await asyncio.sleep(0.001)
                inside.remove(number)

        await asyncio.gather(*(work(number) for number in range(10)))

        assert most == 1

    async def test_a_lock_that_ran_out_is_free_and_can_neither_be_extended_nor_released(
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

    async def test_an_acquired_lock_ends_with_its_ttl(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1, ttl=0.05)

        assert await _run_in_task(other_lock.acquire(name, timeout=1))

    async def test_an_extended_lock_lasts_longer(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1, ttl=0.1)

        assert await lock.extend(name, 10)
        await asyncio.sleep(0.15)

        assert not await _run_in_task(other_lock.acquire(name, timeout=0))
        await lock.release(name)

    async def test_a_stranger_can_neither_release_nor_extend(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)

        async def meddle(with_: ILeasedLock) -> None:
            with raises(LeaseLostError):
                await with_.release(name)
            assert not await with_.extend(name, 5)

        await _run_in_task(meddle(lock))
        await _run_in_task(meddle(other_lock))

        assert await lock.extend(name, 5)
        await lock.release(name)

    async def test_what_nobody_holds_cannot_be_released(self, lock: ILeasedLock) -> None:
        name = _name()

        with raises(LeaseLostError):
            await lock.release(name)
        assert await lock.acquire(name, timeout=1)
        await lock.release(name)
        with raises(LeaseLostError):
            await lock.release(name)

    async def test_a_helper_task_that_has_ended_leaves_the_lock_to_its_caller(
        self, lock: ILeasedLock
    ) -> None:
        name = _name()

        assert await asyncio.wait_for(lock.acquire(name, timeout=1), timeout=5)
        assert await asyncio.wait_for(lock.extend(name, 5), timeout=5)

        await lock.release(name)

    async def test_fencing_tokens_grow(self, lock: ILeasedLock, other_lock: ILeasedLock) -> None:
        name = _name()
        tokens: list[int] = []

        for holder in (lock, other_lock, lock):
            async with holder.hold(name, timeout=5) as lease:
                assert lease.resource == name
                lease.check()
                tokens.append(lease.fencing_token)

        assert tokens == sorted(set(tokens))

    async def test_a_held_block_outlives_its_ttl(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        async with lock.hold(name, timeout=1, ttl=0.3) as lease:
            await asyncio.sleep(0.7)
            lease.check()
            assert not await _run_in_task(other_lock.acquire(name, timeout=0))

        assert await other_lock.acquire(name, timeout=1)
        await other_lock.release(name)

    async def test_holding_what_is_not_granted_says_how_long_was_waited(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()
        assert await lock.acquire(name, timeout=1)

        async def hold() -> None:
            with raises(LockAcquisitionError) as caught:
                async with other_lock.hold(name, timeout=0.05):
                    raise AssertionError("two are inside")
            assert (caught.error.resource, caught.error.timeout) == (name, 0.05)

        await _run_in_task(hold())
        await lock.release(name)

    async def test_an_error_in_the_block_releases_the_lock(self, lock: ILeasedLock) -> None:
        name = _name()

        with raises(LookupError):
            async with lock.hold(name, timeout=1):
                raise LookupError

        assert await lock.acquire(name, timeout=0)
        await lock.release(name)

    async def test_a_cancelled_waiter_leaves_no_trace(
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

    async def test_a_cancellation_at_any_point_leaves_the_lock_free(
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

    async def test_a_lost_lease_says_so_before_the_block_is_cancelled(
        self, lock: ILeasedLock
    ) -> None:
        was_told = False

        async def work() -> None:
            nonlocal was_told
            async with lock.hold(_name(), timeout=1, ttl=0.1) as lease:
                _block_loop(0.3)
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    was_told = lease.lost.is_set()
                    raise

        with raises(LeaseLostError):
            await work()

        assert was_told

    async def test_a_block_that_is_not_to_be_cancelled_runs_on_and_learns_of_the_loss(
        self, lock: ILeasedLock
    ) -> None:
        name, ran_on = _name(), False

        with raises(LeaseLostError) as caught:
            async with lock.hold(name, timeout=1, ttl=0.1, cancel_on_loss=False) as lease:
                _block_loop(0.3)
                for _ in range(500):
                    await asyncio.sleep(0.01)
                    if lease.lost.is_set():
                        break
                await asyncio.sleep(0.01)
                ran_on = lease.lost.is_set()

        assert ran_on
        assert caught.error.resource == name

    async def test_a_block_that_releases_its_lock_ends_as_lost_and_leaves_the_next_holder_alone(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = _name()

        with raises(LeaseLostError):
            async with lock.hold(name, timeout=1):
                await lock.release(name)
                assert await _run_in_task(other_lock.acquire(name, timeout=1))

        assert not await _run_in_task(lock.acquire(name, timeout=0))
        await other_lock.release(name)

    async def test_a_waiter_that_is_cancelled_at_any_point_leaves_no_trace(
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

    async def test_unusable_arguments_are_refused(self, lock: ILeasedLock) -> None:
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
    """Fixtures: as ``LockContract``; for locks that promise to serve in order."""

    async def test_waiters_are_served_in_the_order_they_came(
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
            await asyncio.sleep(0.01)
        waiters[1].cancel()
        await asyncio.wait({waiters[1]})
        await lock.release(name)
        await asyncio.gather(*waiters, return_exceptions=True)

        assert served == [0, 2, 3, 4]


_numbers = count(1)


def _name() -> str:
    """A lock that no other test of this process uses."""
    return f"lock-{next(_numbers)}"


def _block_loop(seconds: float) -> None:
    """As a process that is stopped: nothing is renewed meanwhile."""
    time.sleep(seconds)


async def _run_in_task(work: Any) -> Any:
    return await asyncio.ensure_future(work)
