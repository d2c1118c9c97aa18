"""What every store of positions must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import count

from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    InvalidOperationError,
    LeaseLostError,
)
from cqrs_ddd_core.testing.expecting import raises
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...exceptions import ProjectionVersionError, UnknownProjectionError
from ...ports.positions import Checkpoint, IPositionStore, ProjectionPosition

NewUnitOfWork = Callable[[], UnitOfWork]


class PositionStoreContract:
    """Fixtures: ``positions``, and ``new_uow``, which makes units of work."""

    async def test_a_new_one_begins_at_zero_and_goes_on_from_where_it_is(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        first = await claimed(positions, name, "one")
        then = await advanced(positions, first, 7, new_uow)
        last = await advanced(positions, then, 9, new_uow)

        assert (first.projection, first.version, first.position) == (name, 1, 0)
        assert (then.position, last.position) == (7, 9)
        assert {first.epoch, then.epoch, last.epoch} == {first.epoch}
        assert await standing(positions, name) == ProjectionPosition(
            projection=name, version=1, position=9, worker_id="one"
        )

    async def test_nobody_gets_it_while_another_worker_has_it(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()
        ours = await claimed(positions, name, "one")

        assert await positions.claim(name, "two") is None
        assert await positions.claim(name, "two", version=2, restart=True) is None

        await positions.renew(ours)
        assert (await standing(positions, name)).worker_id == "one"

    async def test_of_many_that_claim_at_once_one_gets_it(self, positions: IPositionStore) -> None:
        name = new_name()

        for _ in range(3):
            got = await asyncio.gather(*(positions.claim(name, f"w-{n}") for n in range(8)))

            winners = [checkpoint for checkpoint in got if checkpoint is not None]
            assert len(winners) == 1
            await positions.release(winners[0])

    async def test_epochs_grow_over_all_projections(self, positions: IPositionStore) -> None:
        one, two = new_name(), new_name()
        epochs = []

        for name in (one, two, one, two):
            checkpoint = await claimed(positions, name, "worker")
            epochs.append(checkpoint.epoch)
            await positions.release(checkpoint)

        assert epochs == sorted(set(epochs))

    async def test_when_the_lease_has_run_out_others_go_on_where_it_stands(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        old = await advanced(positions, await claimed(positions, name, "one"), 5, new_uow, 0.02)
        await asyncio.sleep(0.05)

        assert (await standing(positions, name)).worker_id is None
        new = await claimed(positions, name, "two")

        assert new.position == 5
        assert new.epoch > old.epoch

    async def test_who_lost_the_lease_cannot_advance_though_the_new_owner_stands_still(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        frozen = await claimed(positions, name, "one", lease=0.02)
        await asyncio.sleep(0.05)
        new = await claimed(positions, name, "two")

        await refused(positions, frozen, new_uow)
        await advanced(positions, new, 3, new_uow)
        await refused(positions, frozen, new_uow)

        assert (await standing(positions, name)).position == 3

    async def test_who_claims_it_again_under_the_same_id_locks_out_who_had_it_before(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        before = await claimed(positions, name, "one")

        again = await claimed(positions, name, "one")

        assert again.epoch > before.epoch
        await refused(positions, before, new_uow)
        with raises(LeaseLostError):
            await positions.renew(before)
        await positions.release(before)
        assert (await standing(positions, name)).worker_id == "one"
        await advanced(positions, again, 1, new_uow)

    async def test_a_lease_that_ran_out_and_that_nobody_took_still_advances(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claimed(positions, name, "one", lease=0.02)
        await asyncio.sleep(0.05)

        await advanced(positions, ours, 4, new_uow)

        # It has the lease again.
        assert await positions.claim(name, "two") is None

    async def test_a_renewal_extends_the_lease_and_says_when_it_was_lost(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()
        ours = await claimed(positions, name, "one", lease=0.02)

        await positions.renew(ours)
        await asyncio.sleep(0.05)
        assert await positions.claim(name, "two") is None

        await positions.renew(ours, lease=0.02)
        await asyncio.sleep(0.05)
        await claimed(positions, name, "two")
        with raises(LeaseLostError) as lost:
            await positions.renew(ours)
        assert lost.error.resource == name

    async def test_what_is_released_can_be_claimed_at_once_and_is_ours_no_more(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claimed(positions, name, "one")

        await positions.release(ours)
        await positions.release(ours)

        assert (await standing(positions, name)).worker_id is None
        await refused(positions, ours, new_uow)
        new = await claimed(positions, name, "two")
        await positions.release(ours)
        assert await positions.claim(name, "three") is None
        await positions.renew(new)

    async def test_times_that_are_none_and_steps_back_are_refused(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await advanced(positions, await claimed(positions, name, "one"), 5, new_uow)

        with raises(InvalidOperationError):
            await positions.claim(name, "one", lease=0.0)
        with raises(InvalidOperationError):
            await positions.renew(ours, lease=-1.0)
        with raises(InvalidOperationError):
            await advanced(positions, ours, 4, new_uow)
        same = await advanced(positions, ours, 5, new_uow)

        assert same == ours

    async def test_a_step_is_seen_with_its_transaction_and_not_before(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claimed(positions, name, "one")

        with raises(LookupError):
            async with new_uow() as uow:
                await positions.advance(ours, 5, uow=uow)
                assert (await standing(positions, name)).position == 0
                raise LookupError
        async with new_uow() as uow:
            then = await positions.advance(ours, 6, uow=uow)
            await positions.advance(then, 8, uow=uow)
            assert (await standing(positions, name)).position == 0

        assert (await standing(positions, name)).position == 8

    async def test_of_two_that_advance_from_one_checkpoint_at_once_one_fails(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        for _ in range(3):
            ours = await claimed(positions, new_name(), "one")
            went_on: list[int] = []

            async def go_on(to: int, ours: Checkpoint = ours, went_on: list[int] = went_on) -> None:
                with suppress(LeaseLostError):
                    async with new_uow() as uow:
                        await positions.advance(ours, to, uow=uow)
                        await asyncio.sleep(0.02)
                    went_on.append(to)

            await asyncio.gather(*(go_on(to) for to in (3, 4, 5)))

            assert [(await standing(positions, ours.projection)).position] == went_on

    async def test_a_claim_during_a_step_never_lets_both_go_on_from_one_place(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        ours = await claimed(positions, new_name(), "one", lease=0.02)
        await asyncio.sleep(0.05)
        is_under_way = asyncio.Event()

        async def go_on() -> bool:
            with suppress(LeaseLostError):
                async with new_uow() as uow:
                    await positions.advance(ours, 5, uow=uow)
                    is_under_way.set()
                    await asyncio.sleep(0.1)
                return True
            return False

        async def take() -> Checkpoint | None:
            await is_under_way.wait()
            return await positions.claim(ours.projection, "two")

        went_on, taken = await asyncio.gather(go_on(), take())

        assert went_on == (taken is None or taken.position == 5)

    async def test_leases_are_given_and_ended_at_once_whichever_unit_of_work_is_open(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, gone = new_name(), new_name()

        async with new_uow() as uow:
            ours = await claimed(positions, kept, "one")
            await positions.renew(ours)
            await positions.release(await claimed(positions, gone, "one"))
            await uow.rollback()

        assert await positions.claim(kept, "two") is None
        assert await positions.claim(gone, "two") is not None

    async def test_another_version_is_refused_unless_it_is_to_begin_anew(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        old = await advanced(positions, await claimed(positions, name, "one"), 5, new_uow)

        with raises(ProjectionVersionError) as refusal:
            await positions.claim(name, "one", version=2)
        assert (refusal.error.asked, refusal.error.live) == (2, 1)
        same = await claimed(positions, name, "one", restart=True)
        assert same.position == 0
        new = await positions.claim(name, "one", version=2, restart=True)

        assert new is not None
        assert (new.version, new.position) == (2, 0)
        await refused(positions, old, new_uow)

    async def test_one_that_is_written_inline_is_not_run_by_workers_nor_the_other_way_round(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        inline, run = new_name(), new_name()
        await joined(positions, inline, new_uow)
        await claimed(positions, run, "one")

        for restart in (False, True):
            with raises(ProjectionVersionError):
                await positions.claim(inline, "one", restart=restart)
        with raises(ProjectionVersionError):
            await joined(positions, run, new_uow)
        with raises(ProjectionVersionError) as refusal:
            await joined(positions, inline, new_uow, version=2)

        assert (refusal.error.asked, refusal.error.live) == (2, 1)
        assert await standing(positions, inline) == ProjectionPosition(
            projection=inline, version=1, position=None
        )

    async def test_who_joins_first_makes_it_inline_with_the_commit(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        async with new_uow() as uow:
            await positions.join(name, version=3, uow=uow)
            await positions.join(name, version=3, uow=uow)
            await uow.rollback()
        assert await positions.positions([name]) == []
        await joined(positions, name, new_uow, version=3)

        assert (await standing(positions, name)).version == 3

    async def test_any_number_may_write_inline_at_once(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        async def write() -> None:
            async with new_uow() as uow:
                await positions.join(name, uow=uow)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(write() for _ in range(5)))
        await asyncio.gather(*(write() for _ in range(5)))

        assert (await standing(positions, name)).position is None

    async def test_who_holds_one_is_told_where_it_stands(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        new, run, inline = new_name(), new_name(), new_name()
        await advanced(positions, await claimed(positions, run, "one"), 5, new_uow)
        await joined(positions, inline, new_uow)

        async with new_uow() as uow:
            found = [await positions.hold(name, uow=uow) for name in (new, run, inline)]

        assert found == [None, await standing(positions, run), await standing(positions, inline)]

    async def test_no_worker_advances_what_is_held(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        ours = await claimed(positions, new_name(), "one")
        is_held = asyncio.Event()

        async def hold() -> None:
            with suppress(ConcurrencyError):
                async with new_uow() as uow:
                    found = await positions.hold(ours.projection, uow=uow)
                    is_held.set()
                    await asyncio.sleep(0.1)
                    now = await standing(positions, ours.projection)
                # Or the commit has failed.
                assert found is not None
                assert found.position == now.position

        async def go_on() -> None:
            await is_held.wait()
            await advanced(positions, ours, 5, new_uow)

        await asyncio.gather(hold(), go_on())

        assert (await standing(positions, ours.projection)).position == 5

    async def test_who_writes_inline_does_so_before_a_replacement_or_after_it(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, marks = new_name(), [new_name() for _ in range(6)]
        await joined(positions, name, new_uow)
        by = await claimed(positions, new_name(), "rebuild", version=2)
        seen: set[str] = set()
        versions: dict[str, int] = {}

        async def write(mark: str, after: float) -> None:
            await asyncio.sleep(after)
            for version in (1, 2):
                with suppress(ConcurrencyError, ProjectionVersionError):
                    async with new_uow() as uow:
                        await positions.join(name, version=version, uow=uow)
                        await asyncio.sleep(0.03)
                        # Stands for the change of the view: others see it with the commit.
                        await positions.join(mark, uow=uow)
                    versions[mark] = version
                    return

        async def replace() -> None:
            await asyncio.sleep(0.02)
            async with new_uow() as uow:
                await positions.hold(name, uow=uow)
                seen.update(await names_of(positions, marks))
                await asyncio.sleep(0.03)
                await positions.replace(name, by, uow=uow)

        writing = [write(mark, 0.01 * number) for number, mark in enumerate(marks)]
        (failure, *_) = await asyncio.gather(replace(), *writing, return_exceptions=True)

        if failure is None:
            # Who wrote the old view was there to be seen, and was seen.
            assert {mark for mark, version in versions.items() if version == 1} == seen
        else:
            assert isinstance(failure, ConcurrencyError), failure
            assert set(versions.values()) <= {1}

    async def test_who_joined_before_a_replacement_does_not_write_the_old_view_after_it(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, mark = new_name(), new_name()
        await joined(positions, name, new_uow)
        by = await claimed(positions, new_name(), "rebuild", version=2)
        has_joined, order = asyncio.Event(), list[str]()

        async def write() -> None:
            async with new_uow() as uow:
                await positions.join(name, uow=uow)
                await positions.join(mark, uow=uow)
                has_joined.set()
                await asyncio.sleep(0.1)

        async def replace() -> None:
            await has_joined.wait()
            async with new_uow() as uow:
                await positions.hold(name, uow=uow)
                order.extend(await names_of(positions, [mark]))
                await positions.replace(name, by, uow=uow)

        failures = await asyncio.gather(write(), replace(), return_exceptions=True)

        # Either the replacement has seen it, or one of the two has failed.
        failed = [failure for failure in failures if failure is not None]
        assert all(isinstance(failure, ConcurrencyError) for failure in failed), failed
        assert order == [mark] or len(failed) == 1

    async def test_a_replacement_takes_version_and_position_and_locks_out_who_ran_both(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, shadow = new_name(), new_name()
        old = await advanced(positions, await claimed(positions, name, "one"), 5, new_uow)
        by = await claimed(positions, shadow, "rebuild", version=2)
        by = await advanced(positions, by, 9, new_uow)

        with raises(LookupError):
            async with new_uow() as uow:
                await replaced(positions, name, by, uow)
                raise LookupError
        assert (await standing(positions, name)).version == 1
        async with new_uow() as uow:
            await replaced(positions, name, by, uow)

        assert await positions.positions([name, shadow]) == [
            ProjectionPosition(projection=name, version=2, position=9)
        ]
        for lost in (old, by):
            await refused(positions, lost, new_uow)
            with raises(LeaseLostError):
                await positions.renew(lost)
        new = await positions.claim(name, "two", version=2)
        assert new is not None
        assert new.position == 9
        assert new.epoch > max(old.epoch, by.epoch)

    async def test_a_replacement_leaves_inline_what_is_inline_and_makes_what_is_new(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        inline, new = new_name(), new_name()
        await joined(positions, inline, new_uow)

        for name in (inline, new):
            by = await claimed(positions, new_name(), "rebuild", version=2)
            by = await advanced(positions, by, 9, new_uow)
            async with new_uow() as uow:
                await replaced(positions, name, by, uow)

        assert (await standing(positions, inline)).position is None
        assert (await standing(positions, new)).position == 9
        with raises(ProjectionVersionError):
            await joined(positions, inline, new_uow)
        await joined(positions, inline, new_uow, version=2)

    async def test_who_lost_the_lease_cannot_replace(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name, shadow = new_name(), new_name()
        await claimed(positions, name, "one")
        lost = await claimed(positions, shadow, "rebuild", version=2)
        by = await claimed(positions, shadow, "rebuild", version=2)
        await advanced(positions, by, 4, new_uow)

        for checkpoint in (lost, by):  # The second one is not where it was.
            with raises(LeaseLostError):
                async with new_uow() as uow:
                    await replaced(positions, name, checkpoint, uow)

        assert (await standing(positions, name)).version == 1
        assert (await standing(positions, shadow)).position == 4

    async def test_positions_come_by_name_and_unknown_ones_are_left_out(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, other = sorted(new_name() for _ in range(3))
        await joined(positions, two, new_uow)
        await claimed(positions, one, "worker")
        await claimed(positions, other, "worker")

        found = await positions.positions([two, new_name(), one])
        everything = await positions.positions()

        assert [each.projection for each in found] == [one, two]
        names = [each.projection for each in everything]
        assert {one, two, other} <= set(names)
        assert names == sorted(names)
        assert await positions.positions([]) == []

    async def test_who_waits_goes_on_when_all_have_got_there(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two, inline = new_name(), new_name(), new_name()
        await joined(positions, inline, new_uow)
        first = await claimed(positions, one, "worker")
        names = [one, two, inline]

        waiting = asyncio.ensure_future(positions.wait_until(5, names, timeout=10))
        await asyncio.sleep(0.02)
        await advanced(positions, first, 6, new_uow)
        await asyncio.sleep(0.02)
        # One that begins meanwhile counts.
        second = await claimed(positions, two, "worker")
        await advanced(positions, second, 4, new_uow)
        await asyncio.sleep(0.02)
        was_waiting = not waiting.done()
        await advanced(positions, await claimed(positions, two, "worker"), 5, new_uow)

        assert await waiting
        assert was_waiting
        assert await positions.wait_until(5, names, timeout=0)
        assert await positions.wait_until(10**6, [inline], timeout=0)
        assert await positions.wait_until(10**6, [], timeout=0)

    async def test_who_waits_in_vain_is_told_so(self, positions: IPositionStore) -> None:
        known, unknown = new_name(), new_name()
        await claimed(positions, known, "worker")

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
        ours = await claimed(positions, new_name(), "one")
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
        await advanced(positions, ours, 1, new_uow)

    async def test_a_cancellation_at_any_point_leaves_a_claim_that_can_be_repeated(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()

        async def work() -> None:
            await claimed(positions, name, "one")

        async def check() -> None:
            for each in await positions.positions([name]):
                assert each.worker_id == "one"

        assert await cancel_sweep(work, check) > 0
        await claimed(positions, name, "one")

    async def test_a_cancellation_at_any_point_takes_all_steps_or_none(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two = new_name(), new_name()
        checkpoints: list[Checkpoint] = []

        async def claim() -> None:
            checkpoints[:] = [await claimed(positions, name, "one") for name in (one, two)]

        async def work() -> None:
            async with new_uow() as uow:
                for each in checkpoints:
                    await positions.advance(each, each.position + 1, uow=uow)

        async def check() -> None:
            found = await positions.positions([one, two])
            assert len({each.position for each in found}) == 1
            await claim()

        await claim()
        assert await cancel_sweep(work, check) > 0


_numbers = count(1)


def new_name() -> str:
    """One that no other test of this process uses."""
    return f"projection-{next(_numbers):05}"


async def claimed(
    positions: IPositionStore,
    projection: str,
    worker_id: str,
    *,
    version: int = 1,
    lease: float = 30.0,
    restart: bool = False,
) -> Checkpoint:
    checkpoint = await positions.claim(
        projection, worker_id, version=version, lease=lease, restart=restart
    )
    assert checkpoint is not None, f"{worker_id} did not get {projection}"
    return checkpoint


async def advanced(
    positions: IPositionStore,
    checkpoint: Checkpoint,
    position: int,
    new_uow: NewUnitOfWork,
    lease: float = 30.0,
) -> Checkpoint:
    async with new_uow() as uow:
        return await positions.advance(checkpoint, position, lease=lease, uow=uow)


async def refused(
    positions: IPositionStore, checkpoint: Checkpoint, new_uow: NewUnitOfWork
) -> None:
    """It cannot advance."""
    with raises(LeaseLostError) as lost:
        await advanced(positions, checkpoint, checkpoint.position + 1, new_uow)
    assert lost.error.resource == checkpoint.projection


async def joined(
    positions: IPositionStore, projection: str, new_uow: NewUnitOfWork, *, version: int = 1
) -> None:
    async with new_uow() as uow:
        await positions.join(projection, version=version, uow=uow)


async def replaced(
    positions: IPositionStore, projection: str, by: Checkpoint, uow: UnitOfWork
) -> None:
    await positions.hold(projection, uow=uow)
    await positions.replace(projection, by, uow=uow)


async def standing(positions: IPositionStore, projection: str) -> ProjectionPosition:
    (found,) = await positions.positions([projection])
    return found


async def names_of(positions: IPositionStore, projections: Collection[str]) -> list[str]:
    return [each.projection for each in await positions.positions(projections)]
