"""Contract of leases on projections: a position store admits one worker at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    LeaseLostError,
)
from cqrs_ddd_core.testing.assertions import raises
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...ports.positions import Checkpoint, IPositionStore, ProjectionPosition
from .checkpoints import (
    NewUnitOfWork,
    advance,
    assert_lease_lost,
    claim,
    find_position,
    new_name,
)


class PositionLeasesContract:
    """Lease part of ``PositionStoreContract``, with the same fixtures."""

    async def test_new_projection_starts_at_position_zero_and_advances_under_one_epoch(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()

        first = await claim(positions, name, "one")
        then = await advance(positions, first, 7, new_uow)
        last = await advance(positions, then, 9, new_uow)

        assert (first.projection, first.version, first.position) == (name, 1, 0)
        assert (then.position, last.position) == (7, 9)
        assert {first.epoch, then.epoch, last.epoch} == {first.epoch}
        assert await find_position(positions, name) == ProjectionPosition(
            projection=name, version=1, position=9, worker_id="one"
        )

    async def test_claim_returns_none_while_another_worker_holds_the_lease(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()
        ours = await claim(positions, name, "one")

        assert await positions.claim(name, "two") is None
        assert await positions.claim(name, "two", version=2, restart=True) is None

        await positions.renew(ours)
        assert (await find_position(positions, name)).worker_id == "one"

    async def test_exactly_one_of_many_concurrent_claims_gets_the_projection(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()

        for _ in range(3):
            got = await asyncio.gather(*(positions.claim(name, f"w-{n}") for n in range(8)))

            winners = [checkpoint for checkpoint in got if checkpoint is not None]
            assert len(winners) == 1
            await positions.release(winners[0])

    async def test_every_claim_of_any_projection_gets_a_greater_epoch(
        self, positions: IPositionStore
    ) -> None:
        one, two = new_name(), new_name()
        epochs = []

        for name in (one, two, one, two):
            checkpoint = await claim(positions, name, "worker")
            epochs.append(checkpoint.epoch)
            await positions.release(checkpoint)

        assert epochs == sorted(set(epochs))

    async def test_projection_with_an_expired_lease_is_claimed_at_its_last_position(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        old = await advance(positions, await claim(positions, name, "one"), 5, new_uow, 0.02)
        await asyncio.sleep(0.05)

        assert (await find_position(positions, name)).worker_id is None
        new = await claim(positions, name, "two")

        assert new.position == 5
        assert new.epoch > old.epoch

    async def test_worker_without_the_lease_cannot_advance_even_if_the_new_holder_is_idle(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        frozen = await claim(positions, name, "one", lease=0.02)
        await asyncio.sleep(0.05)
        new = await claim(positions, name, "two")

        await assert_lease_lost(positions, frozen, new_uow)
        await advance(positions, new, 3, new_uow)
        await assert_lease_lost(positions, frozen, new_uow)

        assert (await find_position(positions, name)).position == 3

    async def test_second_claim_by_the_same_worker_id_ends_its_first_lease(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        before = await claim(positions, name, "one")

        again = await claim(positions, name, "one")

        assert again.epoch > before.epoch
        await assert_lease_lost(positions, before, new_uow)
        with raises(LeaseLostError):
            await positions.renew(before)
        await positions.release(before)
        assert (await find_position(positions, name)).worker_id == "one"
        await advance(positions, again, 1, new_uow)

    async def test_worker_with_an_expired_lease_advances_unless_another_worker_claimed(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claim(positions, name, "one", lease=0.02)
        await asyncio.sleep(0.05)

        await advance(positions, ours, 4, new_uow)

        # The advance renewed the lease.
        assert await positions.claim(name, "two") is None

    async def test_renewal_extends_the_projection_lease_or_raises_if_it_was_lost(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()
        ours = await claim(positions, name, "one", lease=0.02)

        await positions.renew(ours)
        await asyncio.sleep(0.05)
        assert await positions.claim(name, "two") is None

        await positions.renew(ours, lease=0.02)
        await asyncio.sleep(0.05)
        await claim(positions, name, "two")
        with raises(LeaseLostError) as lost:
            await positions.renew(ours)
        assert lost.error.resource == name

    async def test_released_projection_can_be_claimed_at_once_but_not_advanced(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claim(positions, name, "one")

        await positions.release(ours)
        await positions.release(ours)

        assert (await find_position(positions, name)).worker_id is None
        await assert_lease_lost(positions, ours, new_uow)
        new = await claim(positions, name, "two")
        await positions.release(ours)
        assert await positions.claim(name, "three") is None
        await positions.renew(new)

    async def test_lease_must_be_positive_and_position_must_not_decrease(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await advance(positions, await claim(positions, name, "one"), 5, new_uow)

        with raises(InvalidOperationError):
            await positions.claim(name, "one", lease=0.0)
        with raises(InvalidOperationError):
            await positions.renew(ours, lease=-1.0)
        with raises(InvalidOperationError):
            await advance(positions, ours, 4, new_uow)
        same = await advance(positions, ours, 5, new_uow)

        assert same == ours

    async def test_advanced_position_becomes_visible_when_its_transaction_commits(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        name = new_name()
        ours = await claim(positions, name, "one")

        with raises(LookupError):
            async with new_uow() as uow:
                await positions.advance(ours, 5, uow=uow)
                assert (await find_position(positions, name)).position == 0
                raise LookupError
        async with new_uow() as uow:
            then = await positions.advance(ours, 6, uow=uow)
            await positions.advance(then, 8, uow=uow)
            assert (await find_position(positions, name)).position == 0

        assert (await find_position(positions, name)).position == 8

    async def test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        for _ in range(3):
            ours = await claim(positions, new_name(), "one")
            reached: list[int] = []

            async def step(to: int, ours: Checkpoint = ours, reached: list[int] = reached) -> None:
                with suppress(LeaseLostError):
                    async with new_uow() as uow:
                        await positions.advance(ours, to, uow=uow)
                        await asyncio.sleep(0.02)
                    reached.append(to)

            await asyncio.gather(*(step(to) for to in (3, 4, 5)))

            assert [(await find_position(positions, ours.projection)).position] == reached

    async def test_claim_during_an_advance_never_lets_two_workers_process_the_same_events(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        ours = await claim(positions, new_name(), "one", lease=0.02)
        await asyncio.sleep(0.05)
        is_under_way = asyncio.Event()

        async def step() -> bool:
            with suppress(LeaseLostError):
                async with new_uow() as uow:
                    await positions.advance(ours, 5, uow=uow)
                    is_under_way.set()
                    await asyncio.sleep(0.1)
                return True
            return False

        async def claim_for_two() -> Checkpoint | None:
            await is_under_way.wait()
            return await positions.claim(ours.projection, "two")

        has_advanced, claimed = await asyncio.gather(step(), claim_for_two())

        assert has_advanced == (claimed is None or claimed.position == 5)

    async def test_claim_and_release_take_effect_even_if_the_open_unit_of_work_rolls_back(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, gone = new_name(), new_name()

        async with new_uow() as uow:
            ours = await claim(positions, kept, "one")
            await positions.renew(ours)
            await positions.release(await claim(positions, gone, "one"))
            await uow.rollback()

        assert await positions.claim(kept, "two") is None
        assert await positions.claim(gone, "two") is not None

    async def test_cancelled_claim_of_a_projection_can_be_repeated(
        self, positions: IPositionStore
    ) -> None:
        name = new_name()

        async def work() -> None:
            await claim(positions, name, "one")

        async def check() -> None:
            for each in await positions.list_positions([name]):
                assert each.worker_id == "one"

        assert await cancel_sweep(work, check) > 0
        await claim(positions, name, "one")

    async def test_cancelled_transaction_advances_all_its_projections_or_none(
        self, positions: IPositionStore, new_uow: NewUnitOfWork
    ) -> None:
        one, two = new_name(), new_name()
        checkpoints: list[Checkpoint] = []

        async def claim_both() -> None:
            checkpoints[:] = [await claim(positions, name, "one") for name in (one, two)]

        async def work() -> None:
            async with new_uow() as uow:
                for each in checkpoints:
                    await positions.advance(each, each.position + 1, uow=uow)

        async def check() -> None:
            found = await positions.list_positions([one, two])
            assert len({each.position for each in found}) == 1
            await claim_both()

        await claim_both()
        assert await cancel_sweep(work, check) > 0
