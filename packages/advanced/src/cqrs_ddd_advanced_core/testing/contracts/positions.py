"""What every store of positions must do."""

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
    """Fixtures: ``positions``, and ``new_uow``, which makes units of work."""

    async def test_positions_come_by_name_and_unknown_ones_are_left_out(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, other = sorted(new_name() for _ in range(3))
        await share_projection(positions, two, new_uow)
        await claim(positions, one, "worker")
        await claim(positions, other, "worker")

        found = await positions.list_positions([two, new_name(), one])
        everything = await positions.list_positions()

        assert [each.projection for each in found] == [one, two]
        names = [each.projection for each in everything]
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
        # One that begins meanwhile counts.
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

    async def test_wait_returns_false_after_its_timeout(self, positions: IPositionStore) -> None:
        known, unknown = new_name(), new_name()
        await claim(positions, known, "worker")

        assert not await positions.wait_until(1, [known], timeout=0.02)
        with raises(UnknownProjectionError) as told:
            await positions.wait_until(0, [known, unknown], timeout=0.02)

        assert told.error.projection == unknown
        assert known in str(told.error)

    async def test_a_single_name_instead_of_a_list_is_refused(
        self, positions: IPositionStore
    ) -> None:
        with raises(InvalidOperationError):
            await positions.wait_until(1, "tills", timeout=0.0)

    async def test_a_wait_that_is_cancelled_leaves_nothing_behind(
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
