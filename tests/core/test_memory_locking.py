from __future__ import annotations

import asyncio
import time

import pytest

from cqrs_ddd_core.adapters.memory.clock import FakeClock
from cqrs_ddd_core.adapters.memory.locking import InMemoryLockStrategy
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_core.spi.leases import LeaseRenewal
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.testing.contracts.locking import FifoLockContract, LockContract


@pytest.fixture
def lock() -> InMemoryLockStrategy:
    return InMemoryLockStrategy()


@pytest.fixture
def other_lock(lock: InMemoryLockStrategy) -> InMemoryLockStrategy:
    return lock


class TestInMemoryLock(LockContract):
    pass


class TestInMemoryLockOrder(FifoLockContract):
    pass


async def test_in_memory_lock_expires_by_the_given_clock() -> None:
    clock = FakeClock()
    lock = InMemoryLockStrategy(clock)
    assert await lock.acquire("door", ttl=30)
    waiting = asyncio.ensure_future(lock.acquire("door", timeout=60, ttl=30))
    await asyncio.sleep(0)

    await clock.advance(29)
    assert not waiting.done()
    await clock.advance(1)

    assert await waiting


async def test_waiter_gets_a_lock_that_expires_at_the_end_of_its_timeout() -> None:
    clock = FakeClock()
    lock = InMemoryLockStrategy(clock)
    assert await lock.acquire("door", ttl=30)
    waiting = asyncio.ensure_future(lock.acquire("door", timeout=30, ttl=30))
    await asyncio.sleep(0)

    await clock.advance(30)

    assert await waiting


async def test_hold_block_is_cancelled_and_raises_lease_lost_error_if_its_lease_is_lost() -> None:
    lock = InMemoryLockStrategy()
    reached: list[str] = []

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05):
            time.sleep(0.1)  # noqa: ASYNC251 - a blocked loop renews no lease
            reached.append("after the pause")
            await asyncio.sleep(5)
            reached.append("after the loss")

    with pytest.raises(LeaseLostError, match="the lease of door was lost while its holder"):
        await work()

    assert reached == ["after the pause"]
    assert await lock.acquire("door", timeout=0)


async def test_lost_lease_is_reported_at_the_end_of_the_block_at_the_latest() -> None:
    lock = InMemoryLockStrategy()
    reached: list[str] = []

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05):
            time.sleep(0.1)  # noqa: ASYNC251
            reached.append("the end")

    with pytest.raises(LeaseLostError):
        await work()

    assert reached == ["the end"]
    assert await lock.acquire("door", timeout=0)


async def test_lease_that_cannot_be_renewed_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def renew() -> bool:
        raise OSError("no connection")

    async def work() -> None:
        clock = SystemClock()
        until = clock.monotonic() + 0.1
        async with LeaseRenewal("door", renew, ttl=0.1, valid_until=lambda: until, clock=clock):
            await asyncio.sleep(30)

    with pytest.raises(LeaseLostError):
        await work()

    assert "the lease of door cannot be renewed" in caplog.text


async def test_cancelled_lock_holder_stays_cancelled() -> None:
    lock = InMemoryLockStrategy()
    inside = asyncio.Event()

    async def work() -> None:
        async with lock.hold("door", timeout=1):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert await lock.acquire("door", timeout=0)


async def test_own_error_of_a_holder_after_a_lost_lease_leaves_its_task_usable() -> None:
    lock = InMemoryLockStrategy()

    async def lose() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05):
            time.sleep(0.1)  # noqa: ASYNC251
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise LookupError("nothing was saved") from None

    async def lose_again() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05):
            time.sleep(0.1)  # noqa: ASYNC251
            await asyncio.sleep(5)

    with pytest.raises(LookupError):
        await lose()
    with pytest.raises(LeaseLostError):
        await lose_again()


async def test_cancellation_after_a_lost_lease_cancels_the_holder() -> None:
    lock = InMemoryLockStrategy()
    saw_loss = asyncio.Event()

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05, cancel_on_loss=False) as lease:
            time.sleep(0.1)  # noqa: ASYNC251
            with pytest.raises(LeaseLostError):
                lease.check()
            saw_loss.set()
            await asyncio.sleep(5)

    task = asyncio.ensure_future(work())
    await saw_loss.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


async def test_lost_lease_is_reported_in_a_task_that_is_being_cancelled() -> None:
    lock = InMemoryLockStrategy()
    reported: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                async with lock.hold("door", timeout=1, ttl=0.05):
                    time.sleep(0.1)  # noqa: ASYNC251
                    await asyncio.sleep(5)
            except LeaseLostError:
                reported.append("lost")

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert reported == ["lost"]


async def test_running_lease_renewal_ends_before_the_block() -> None:
    steps: list[str] = []
    is_renewing = asyncio.Event()

    async def renew() -> bool:
        is_renewing.set()
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.01)
            steps.append("renewal")
        return True

    clock = SystemClock()
    until = clock.monotonic() + 5
    async with LeaseRenewal("door", renew, ttl=0.05, valid_until=lambda: until, clock=clock):
        await is_renewing.wait()
    steps.append("release")

    assert steps == ["renewal", "release"]
