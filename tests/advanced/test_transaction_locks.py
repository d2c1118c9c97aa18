"""Locks of the fakes."""

from __future__ import annotations

import asyncio

import pytest

from cqrs_ddd_advanced_core.spi.transaction_locks import TransactionLocks
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_core.testing.faults import cancel_sweep


async def test_an_exclusive_one_goes_alone_and_shared_ones_together() -> None:
    locks, inside, most, order = TransactionLocks(), 0, 0, []

    async def hold(name: str, shared: bool) -> None:
        nonlocal inside, most
        async with InMemoryUnitOfWork() as uow:
            await locks.take("it", uow, shared=shared)
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
    assert not locks._keys


async def test_who_has_it_may_take_it_again_and_alone() -> None:
    locks = TransactionLocks()
    async with InMemoryUnitOfWork() as uow:
        await locks.take("it", uow, shared=True)
        await locks.take("it", uow, shared=True)
        await locks.take("it", uow)
        await locks.take("it", uow, shared=True)

        other = InMemoryUnitOfWork()
        waiting = asyncio.ensure_future(locks.take("it", other, shared=True))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    await other.rollback()
    assert not locks._keys


@pytest.mark.parametrize("shared", [False, True])
async def test_of_two_that_wait_for_each_other_one_is_refused(shared: bool) -> None:
    locks, refused = TransactionLocks(), 0
    first, second = ("it", "it") if shared else ("one", "other")

    async def work(one: str, other: str) -> None:
        nonlocal refused
        try:
            async with InMemoryUnitOfWork() as uow:
                await locks.take(one, uow, shared=shared)
                await asyncio.sleep(0.001)
                await locks.take(other, uow)
        except ConcurrencyError:
            refused += 1

    await asyncio.wait_for(asyncio.gather(work(first, second), work(second, first)), 5)

    assert refused == 1
    assert not locks._keys


async def test_a_cancellation_while_waiting_leaves_nothing() -> None:
    locks = TransactionLocks()

    async def work() -> None:
        async with InMemoryUnitOfWork() as holder:
            await locks.take("it", holder)

            async def wait() -> None:
                async with InMemoryUnitOfWork() as uow:
                    await locks.take("it", uow)

            waiting = asyncio.ensure_future(wait())
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                waiting.cancel()
                await asyncio.wait({waiting})

    async def check() -> None:
        assert not locks._keys

    assert await cancel_sweep(work, check) > 0
