"""Tests of the locks that in-memory transactions hold until they end."""

from __future__ import annotations

import asyncio

from cqrs_ddd_advanced_core.adapters.memory.transaction_locks import TransactionLocks
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.testing.faults import cancel_sweep


async def test_exclusive_lock_excludes_all_holders_and_shared_locks_coexist() -> None:
    locks, inside, most, order = TransactionLocks(), 0, 0, []

    async def hold(name: str, shared: bool) -> None:
        nonlocal inside, most
        async with InMemoryUnitOfWork() as uow:
            await locks.acquire("it", uow, shared=shared)
            order.append(name)
            inside += 1
            most = max(most, inside)
            assert shared or inside == 1
            await asyncio.sleep(0.002)
            inside -= 1

    await asyncio.gather(
        hold("a", True), hold("b", True), hold("C", False), hold("d", True), hold("e", True)
    )

    assert order == ["a", "b", "C", "d", "e"]
    assert most == 2
    assert not locks._locks


async def test_transaction_can_acquire_its_lock_again_and_exclusively() -> None:
    locks = TransactionLocks()
    async with InMemoryUnitOfWork() as uow:
        await locks.acquire("it", uow, shared=True)
        await locks.acquire("it", uow, shared=True)
        await locks.acquire("it", uow)
        await locks.acquire("it", uow, shared=True)

        other = InMemoryUnitOfWork()
        waiting = asyncio.ensure_future(locks.acquire("it", other, shared=True))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    await other.rollback()
    assert not locks._locks


async def test_cancelled_lock_request_leaves_no_lock() -> None:
    locks = TransactionLocks()

    async def work() -> None:
        async with InMemoryUnitOfWork() as holder:
            await locks.acquire("it", holder)

            async def wait() -> None:
                async with InMemoryUnitOfWork() as uow:
                    await locks.acquire("it", uow)

            waiting = asyncio.ensure_future(wait())
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                waiting.cancel()
                await asyncio.wait({waiting})

    async def check() -> None:
        assert not locks._locks

    assert await cancel_sweep(work, check) > 0
