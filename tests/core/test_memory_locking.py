from __future__ import annotations

import asyncio
import time

import pytest

from cqrs_ddd_core.adapters.memory.clock import FakeClock
from cqrs_ddd_core.adapters.memory.locking import InMemoryLockStrategy
from cqrs_ddd_core.adapters.renewal import Renewal
from cqrs_ddd_core.ports.clock import SystemClock
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
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
        async with Renewal("door", renew, ttl=0.1, valid_until=until, clock=clock):
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
