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


async def test_time_is_the_clocks() -> None:
    clock = FakeClock()
    lock = InMemoryLockStrategy(clock)
    assert await lock.acquire("door", ttl=30)
    waiting = asyncio.ensure_future(lock.acquire("door", timeout=60, ttl=30))
    await asyncio.sleep(0)

    await clock.advance(29)
    assert not waiting.done()
    await clock.advance(1)

    assert await waiting


async def test_waiter_gets_a_lock_whose_ttl_ends_with_its_timeout() -> None:
    clock = FakeClock()
    lock = InMemoryLockStrategy(clock)
    assert await lock.acquire("door", ttl=30)
    waiting = asyncio.ensure_future(lock.acquire("door", timeout=30, ttl=30))
    await asyncio.sleep(0)

    await clock.advance(30)

    assert await waiting


async def test_a_block_whose_lease_is_lost_is_cancelled_and_says_so() -> None:
    lock = InMemoryLockStrategy()
    reached: list[str] = []

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05):
            time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still, and with it every renewal
            reached.append("after the pause")
            await asyncio.sleep(5)
            reached.append("after the loss")

    with pytest.raises(LeaseLostError, match="the lease of door was lost while its holder"):
        await work()

    assert reached == ["after the pause"]
    assert await lock.acquire("door", timeout=0)


async def test_a_lost_lease_is_found_at_the_end_of_the_block_at_the_latest() -> None:
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


async def test_a_lease_that_cannot_be_renewed_is_taken_for_lost(
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


async def test_a_cancelled_holder_stays_cancelled() -> None:
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


async def test_a_holder_that_answers_a_loss_by_an_error_of_its_own_can_go_on() -> None:
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


async def test_a_cancellation_that_comes_after_a_loss_is_one() -> None:
    lock = InMemoryLockStrategy()
    went_on = asyncio.Event()

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.05, cancel_on_loss=False) as lease:
            time.sleep(0.1)  # noqa: ASYNC251
            with pytest.raises(LeaseLostError):
                lease.check()
            went_on.set()
            await asyncio.sleep(5)

    task = asyncio.ensure_future(work())
    await went_on.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


async def test_a_loss_while_its_task_is_being_cancelled_is_told() -> None:
    lock = InMemoryLockStrategy()
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                async with lock.hold("door", timeout=1, ttl=0.05):
                    time.sleep(0.1)  # noqa: ASYNC251
                    await asyncio.sleep(5)
            except LeaseLostError:
                told.append("lost")

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert told == ["lost"]


async def test_a_renewal_that_is_on_its_way_ends_before_the_block() -> None:
    steps: list[str] = []
    is_asking = asyncio.Event()

    async def renew() -> bool:
        is_asking.set()
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.01)
            steps.append("renewal")
        return True

    clock = SystemClock()
    until = clock.monotonic() + 5
    async with LeaseRenewal("door", renew, ttl=0.05, valid_until=lambda: until, clock=clock):
        await is_asking.wait()
    steps.append("release")

    assert steps == ["renewal", "release"]
