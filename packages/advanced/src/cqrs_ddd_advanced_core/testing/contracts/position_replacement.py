"""Contract of position stores for inline projections, exclusive locks and replacements."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    LeaseLostError,
)
from cqrs_ddd_core.testing.assertions import raises

from ...exceptions import ProjectionVersionError
from ...ports.positions import IPositionStore, ProjectionPosition
from .checkpoints import (
    NewUnitOfWork,
    advance,
    assert_lease_lost,
    claim,
    find_position,
    list_names,
    new_name,
    replace_projection,
    share_projection,
)


class PositionReplacementContract:
    """Replacement part of ``PositionStoreContract``, with the same fixtures."""

    async def test_claim_of_another_projection_version_is_rejected_unless_it_restarts(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        old = await advance(positions, await claim(positions, name, "one"), 5, new_uow)

        with raises(ProjectionVersionError) as rejection:
            await positions.claim(name, "one", version=2)
        assert (rejection.error.asked, rejection.error.live) == (2, 1)
        same = await claim(positions, name, "one", restart=True)
        assert same.position == 0
        new = await positions.claim(name, "one", version=2, restart=True)

        assert new is not None
        assert (new.version, new.position) == (2, 0)
        await assert_lease_lost(positions, old, new_uow)

    async def test_projection_is_written_inline_or_run_by_workers_but_not_both(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        inline, run = new_name(), new_name()
        await share_projection(positions, inline, new_uow)
        await claim(positions, run, "one")

        for restart in (False, True):
            with raises(ProjectionVersionError):
                await positions.claim(inline, "one", restart=restart)
        with raises(ProjectionVersionError):
            await share_projection(positions, run, new_uow)

        assert await find_position(positions, inline) == ProjectionPosition(
            projection=inline, version=1, position=None
        )

    async def test_first_commit_of_an_inline_write_makes_the_projection_inline(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        async with new_uow() as uow:
            assert await positions.lock_shared(name, version=3, uow=uow) == 3
            assert await positions.lock_shared(name, version=3, uow=uow) == 3
            await uow.rollback()
        assert await positions.list_positions([name]) == []
        assert await share_projection(positions, name, new_uow, version=3) == 3

        assert (await find_position(positions, name)).version == 3

    async def test_inline_write_of_another_version_returns_the_live_version_and_keeps_it(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        await share_projection(positions, name, new_uow, version=2)

        for version in (1, 3):
            assert await share_projection(positions, name, new_uow, version=version) == 2

        assert (await find_position(positions, name)).version == 2

    async def test_many_transactions_can_write_a_projection_inline_at_once(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        async def write() -> None:
            async with new_uow() as uow:
                await positions.lock_shared(name, uow=uow)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(write() for _ in range(5)))
        await asyncio.gather(*(write() for _ in range(5)))

        assert (await find_position(positions, name)).position is None

    async def test_exclusive_lock_returns_the_position_of_the_projection(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        new, run, inline = new_name(), new_name(), new_name()
        await advance(positions, await claim(positions, run, "one"), 5, new_uow)
        await share_projection(positions, inline, new_uow)

        async with new_uow() as uow:
            found = [await positions.lock_exclusive(name, uow=uow) for name in (new, run, inline)]

        assert found == [
            None,
            await find_position(positions, run),
            await find_position(positions, inline),
        ]

    async def test_worker_cannot_advance_a_projection_during_an_exclusive_lock(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        ours = await claim(positions, new_name(), "one")
        is_held = asyncio.Event()

        async def hold() -> None:
            with suppress(ConcurrencyError):
                async with new_uow() as uow:
                    found = await positions.lock_exclusive(ours.projection, uow=uow)
                    is_held.set()
                    await asyncio.sleep(0.1)
                    now = await find_position(positions, ours.projection)
                # Reached only if the commit succeeded.
                assert found is not None
                assert found.position == now.position

        async def advance_during_lock() -> None:
            await is_held.wait()
            await advance(positions, ours, 5, new_uow)

        await asyncio.gather(hold(), advance_during_lock())

        assert (await find_position(positions, ours.projection)).position == 5

    async def test_replacement_sees_every_inline_write_of_the_version_it_replaces(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, marks = new_name(), [new_name() for _ in range(6)]
        await share_projection(positions, name, new_uow)
        by = await claim(positions, new_name(), "rebuild", version=2)
        seen: set[str] = set()
        versions: dict[str, int] = {}

        async def write(mark: str, after: float) -> None:
            await asyncio.sleep(after)
            for _ in range(2):
                with suppress(ConcurrencyError):
                    async with new_uow() as uow:
                        version = await positions.lock_shared(name, uow=uow)
                        await asyncio.sleep(0.03)
                        # Stands for the change of a document, which others see after the commit.
                        await positions.lock_shared(mark, uow=uow)
                    versions[mark] = version
                    return

        async def replace() -> None:
            await asyncio.sleep(0.02)
            async with new_uow() as uow:
                await positions.lock_exclusive(name, uow=uow)
                seen.update(await list_names(positions, marks))
                await asyncio.sleep(0.03)
                await positions.replace(name, by, uow=uow)

        writing = [write(mark, 0.01 * number) for number, mark in enumerate(marks)]
        (failure, *_) = await asyncio.gather(replace(), *writing, return_exceptions=True)

        if failure is None:
            # Every committed write of version 1 was visible to the replacement.
            assert {mark for mark, version in versions.items() if version == 1} == seen
        else:
            assert isinstance(failure, ConcurrencyError), failure
            assert set(versions.values()) <= {1}

    async def test_inline_write_begun_before_a_replacement_does_not_commit_after_it(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, mark = new_name(), new_name()
        await share_projection(positions, name, new_uow)
        by = await claim(positions, new_name(), "rebuild", version=2)
        has_joined, order = asyncio.Event(), list[str]()

        async def write() -> None:
            async with new_uow() as uow:
                await positions.lock_shared(name, uow=uow)
                await positions.lock_shared(mark, uow=uow)
                has_joined.set()
                await asyncio.sleep(0.1)

        async def replace() -> None:
            await has_joined.wait()
            async with new_uow() as uow:
                await positions.lock_exclusive(name, uow=uow)
                order.extend(await list_names(positions, [mark]))
                await positions.replace(name, by, uow=uow)

        failures = await asyncio.gather(write(), replace(), return_exceptions=True)

        # Either the replacement has seen the write, or one of the two has failed.
        failed = [failure for failure in failures if failure is not None]
        assert all(isinstance(failure, ConcurrencyError) for failure in failed), failed
        assert order == [mark] or len(failed) == 1

    async def test_replacement_takes_over_version_and_position_and_ends_both_leases(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, shadow = new_name(), new_name()
        old = await advance(positions, await claim(positions, name, "one"), 5, new_uow)
        by = await claim(positions, shadow, "rebuild", version=2)
        by = await advance(positions, by, 9, new_uow)

        with raises(LookupError):
            async with new_uow() as uow:
                await replace_projection(positions, name, by, uow)
                raise LookupError
        assert (await find_position(positions, name)).version == 1
        async with new_uow() as uow:
            await replace_projection(positions, name, by, uow)

        assert await positions.list_positions([name, shadow]) == [
            ProjectionPosition(projection=name, version=2, position=9)
        ]
        for lost in (old, by):
            await assert_lease_lost(positions, lost, new_uow)
            with raises(LeaseLostError):
                await positions.renew(lost)
        new = await positions.claim(name, "two", version=2)
        assert new is not None
        assert new.position == 9
        assert new.epoch > max(old.epoch, by.epoch)

    async def test_replacement_keeps_an_inline_projection_inline_or_creates_a_new_one(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        inline, new = new_name(), new_name()
        await share_projection(positions, inline, new_uow)

        for name in (inline, new):
            by = await claim(positions, new_name(), "rebuild", version=2)
            by = await advance(positions, by, 9, new_uow)
            async with new_uow() as uow:
                await replace_projection(positions, name, by, uow)

        assert (await find_position(positions, inline)).position is None
        assert (await find_position(positions, new)).position == 9
        assert await share_projection(positions, inline, new_uow) == 2

    async def test_worker_without_the_lease_cannot_replace_a_projection(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, shadow = new_name(), new_name()
        await claim(positions, name, "one")
        lost = await claim(positions, shadow, "rebuild", version=2)
        by = await claim(positions, shadow, "rebuild", version=2)
        await advance(positions, by, 4, new_uow)

        for checkpoint in (lost, by):  # `by` holds the lease, but its position is old.
            with raises(LeaseLostError):
                async with new_uow() as uow:
                    await replace_projection(positions, name, checkpoint, uow)

        assert (await find_position(positions, name)).version == 1
        assert (await find_position(positions, shadow)).position == 4
