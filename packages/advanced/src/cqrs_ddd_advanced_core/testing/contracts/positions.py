"""Contract of position stores."""

from __future__ import annotations

import asyncio

from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
)
from cqrs_ddd_core.testing.assertions import raises

from ...exceptions import UnknownProjectionError
from ...ports.positions import IPositionStore
from .checkpoints import (
    NewUnitOfWork,
    advance,
    claim,
    new_name,
    share_projection,
)
from .position_leases import PositionLeasesContract
from .position_replacement import PositionReplacementContract


class PositionStoreContract(PositionLeasesContract, PositionReplacementContract):
    """Contract of ``IPositionStore``.

    Your test class provides two fixtures: ``positions``, the store under test, and ``new_uow``, a
    callable that returns a new unit of work.
    """

    async def test_positions_are_listed_by_name_without_unknown_projections(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, other = sorted(new_name() for _ in range(3))
        await share_projection(positions, two, new_uow)
        await claim(positions, one, "worker")
        await claim(positions, other, "worker")

        found = await positions.list_positions([two, new_name(), one])
        all_positions = await positions.list_positions()

        assert [each.projection for each in found] == [one, two]
        names = [each.projection for each in all_positions]
        assert {one, two, other} <= set(names)
        assert names == sorted(names)
        assert await positions.list_positions([]) == []

    async def test_wait_ends_when_all_projections_have_reached_the_position(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, inline = new_name(), new_name(), new_name()
        await share_projection(positions, inline, new_uow)
        first = await claim(positions, one, "worker")
        names = [one, two, inline]

        waiting = asyncio.ensure_future(positions.wait_until(5, names, timeout=10))
        await asyncio.sleep(0.02)
        await advance(positions, first, 6, new_uow)
        await asyncio.sleep(0.02)
        # A projection that begins during the wait counts.
        second = await claim(positions, two, "worker")
        await advance(positions, second, 4, new_uow)
        await asyncio.sleep(0.02)
        was_waiting = not waiting.done()
        await advance(positions, await claim(positions, two, "worker"), 5, new_uow)

        assert await waiting
        assert was_waiting
        assert await positions.wait_until(5, names, timeout=0)
        assert await positions.wait_until(10**6, [inline], timeout=0)
        assert await positions.wait_until(10**6, [], timeout=0)

    async def test_wait_for_a_position_returns_false_after_its_timeout(
        self, positions: IPositionStore
    ) -> None:
        known, unknown = new_name(), new_name()
        await claim(positions, known, "worker")

        assert not await positions.wait_until(1, [known], timeout=0.02)
        with raises(UnknownProjectionError) as caught:
            await positions.wait_until(0, [known, unknown], timeout=0.02)

        assert caught.error.projection == unknown
        assert known in str(caught.error)

    async def test_wait_for_a_position_rejects_a_single_name_instead_of_a_list(
        self, positions: IPositionStore
    ) -> None:
        with raises(InvalidOperationError):
            await positions.wait_until(1, "tills", timeout=0.0)

    async def test_cancelled_wait_for_a_position_leaves_no_task_behind(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        ours = await claim(positions, new_name(), "one")
        before = asyncio.all_tasks()
        waiting = [
            asyncio.ensure_future(positions.wait_until(1, [ours.projection], timeout=30))
            for _ in range(3)
        ]
        await asyncio.sleep(0.03)

        for each in waiting:
            each.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)

        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        assert asyncio.all_tasks() <= before
        await advance(positions, ours, 1, new_uow)
