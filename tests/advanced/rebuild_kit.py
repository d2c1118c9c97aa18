"""What a rebuild must do on every back end."""

from __future__ import annotations

import asyncio

import pytest

from cqrs_ddd_advanced_core.exceptions import (
    PoisonEventError,
    ProjectionError,
    ProjectionVersionError,
)
from cqrs_ddd_advanced_core.projections import (
    LiveProjection,
    ProjectionDocuments,
    ProjectionRebuild,
    RebuildProgress,
)
from cqrs_ddd_advanced_core.projections.run import ProjectionRun
from cqrs_ddd_core import DomainEvent, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_core.primitives.retry import (
    NoRetry,
)
from tests.advanced.background_tasks import run_in_background
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.till_domain import (
    ItemSold,
    LaterTills,
    Tills,
    new_till,
    opened_and_sold,
    stored,
)

ROUNDS_OF_SALES = 100


class ProjectionRebuildKit:
    """Tests that take a fixture ``environment``."""

    async def test_a_rebuild_takes_the_place_of_the_live_one(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await environment.append(stored(till, opened_and_sold(150)))
        await environment.worker(tills).drain()
        progress: list[RebuildProgress] = []

        end = await environment.rebuild(later, batch=1, on_progress=progress.append).run()

        assert end == await environment.events.latest_position()
        assert [each.position for each in progress] == sorted(each.position for each in progress)
        assert (progress[-1].position, progress[-1].target) == (end, end)
        assert await environment.all_of(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 1.5}
        }
        await environment.append(stored(till, [ItemSold(cents=50)], after=2))
        assert await environment.worker(tills).drain() == 0
        assert await environment.worker(later).drain() == 1
        assert await environment.all_of(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 2.0}
        }

    async def test_worker_of_the_old_documents_cannot_commit_after_the_swap(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(1)))
        await environment.store.ensure_collection(tills.collection, tills.fields)
        old = environment.run(tills, "the old one")
        assert await old.claim()
        await old.step()
        await environment.append(stored(till, [ItemSold(cents=2)], after=2))

        await environment.rebuild(LaterTills()).run()

        with pytest.raises(LeaseLostError):
            await old.step()
        found = await environment.all_of(tills, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.03}}

    async def test_a_rebuild_that_was_cancelled_goes_on_where_it_ended(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(*range(1, 10))))
        await environment.worker(tills).drain()
        seen: list[int] = []

        def cancel_after_some(progress: RebuildProgress) -> None:
            seen.append(progress.position)
            if len(seen) == 4:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        async def cancelled() -> None:
            await environment.rebuild(tills, batch=1, on_progress=cancel_after_some).run()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(cancelled())
        before = await environment.all_of(tills, till.aggregate_id)
        await environment.rebuild(
            tills, batch=1, on_progress=lambda progress: seen.append(progress.position)
        ).run(resume=True)

        assert before[till.aggregate_id]["seen"] == list(range(1, 11))
        assert seen == sorted(set(seen)), "an event was taken twice"
        assert await environment.all_of(tills, till.aggregate_id) == before

    async def test_a_rebuild_that_was_given_up_leaves_nothing_to_the_next(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await environment.append(stored(till, opened_and_sold(13, 1)))
        tills.refused = {13}
        with pytest.raises(PoisonEventError):
            await environment.rebuild(tills, retry=NoRetry()).run()

        await environment.rebuild(later).run()

        found = await environment.all_of(later, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.14}}

    async def test_a_rebuild_that_is_run_again_begins_anew(
        self, environment: ProjectionEnvironment
    ) -> None:
        class Scaled(Tills):
            scale = -1

            def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
                super()._add(event, cents * self.scale, documents)

        till, handler = new_till(), Scaled()
        handler.refused = {13}
        await environment.append(stored(till, opened_and_sold(1, 2, 13, 3)))
        with pytest.raises(PoisonEventError):
            await environment.rebuild(handler, batch=1).run()

        handler.scale, handler.refused = 1, set()
        await environment.rebuild(handler, batch=1).run()

        found = await environment.all_of(handler, till.aggregate_id)
        assert (found[till.aggregate_id]["cents"], len(found[till.aggregate_id]["seen"])) == (19, 5)

    async def test_a_rebuild_that_was_frozen_takes_nothing_from_the_one_that_took_over(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, thawed = Tills(), asyncio.Event()
        streams = [new_till() for _ in range(6)]
        await environment.append(*(stored(each, opened_and_sold(5)) for each in streams))

        class Frozen(ProjectionRebuild):
            async def _begin(self, run: ProjectionRun) -> None:
                await thawed.wait()
                await super()._begin(run)

        frozen = Frozen(tills, **environment.stores, lease=0.01, worker_id="frozen")
        task = asyncio.ensure_future(frozen.run())
        await asyncio.sleep(0.1)
        steps = 0

        def thaw_in_the_middle(progress: RebuildProgress) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                thawed.set()

        class Slow(ProjectionRebuild):
            async def _claim(self, run: ProjectionRun, *, restart: bool = False) -> None:
                await super()._claim(run, restart=restart)
                step = run.step

                async def slowly(uow: UnitOfWork | None = None) -> int:
                    if thawed.is_set():
                        await asyncio.wait({task})
                    return await step(uow)

                run.step = slowly  # type: ignore[method-assign]

        await Slow(tills, **environment.stores, batch=2, on_progress=thaw_in_the_middle).run()

        with pytest.raises(LeaseLostError):
            await task
        ids = [each.aggregate_id for each in streams]
        assert list(await environment.all_of(tills, *ids)) == ids

    async def test_one_rebuild_at_a_time(self, environment: ProjectionEnvironment) -> None:
        tills = Tills()
        await environment.append(stored(new_till(), opened_and_sold(1, 2)))
        refusals: list[str] = []

        second = environment.rebuild(tills)
        tasks: list[asyncio.Task[int]] = []

        def begin_another(progress: RebuildProgress) -> None:
            if not tasks:
                tasks.append(asyncio.ensure_future(second.run()))

        await environment.rebuild(tills, batch=1, on_progress=begin_another).run()
        try:
            await tasks[0]
        except ProjectionError as error:
            refusals.append(str(error))

        assert refusals
        assert "another rebuild" in refusals[0]

    async def test_an_older_version_is_refused(self, environment: ProjectionEnvironment) -> None:
        await environment.append(stored(new_till(), opened_and_sold(1)))
        await environment.rebuild(LaterTills()).run()

        with pytest.raises(ProjectionVersionError, match="version 2 of tills is live") as caught:
            await environment.rebuild(Tills()).run()

        assert (caught.value.asked, caught.value.live) == (1, 2)

    async def test_readers_never_see_fewer_documents_while_it_is_rebuilt_under_load(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, later = Tills(), LaterTills()
        streams = [new_till() for _ in range(30)]
        ids = [each.aggregate_id for each in streams]
        await environment.append(*(stored(each, opened_and_sold(100)) for each in streams))
        old = environment.worker(tills)
        await old.drain()
        counts: list[int] = []

        async def read(is_over: asyncio.Event) -> None:
            while not is_over.is_set():
                counts.append(len(await environment.all_of(tills, *ids)))
                await asyncio.sleep(0.001)

        async def sell(is_over: asyncio.Event) -> None:
            # Not for ever, or it may keep the lock of SQLite from all others.
            for version in range(2, 2 + ROUNDS_OF_SALES):
                for each in streams[:5]:
                    await environment.append(stored(each, [ItemSold(cents=1)], after=version))
                    await asyncio.sleep(0.002)
                if is_over.is_set():
                    return

        async with old, run_in_background(read, sell):
            await asyncio.sleep(0.1)
            await environment.rebuild(later, batch=5).run()
            await asyncio.sleep(0.05)
        await environment.worker(later).drain()

        assert set(counts) == {len(ids)}
        found = await environment.all_of(later, *ids)
        fresh = await LiveProjection(later, environment.events).get_all()
        assert found == {each: fresh[each] for each in ids}
