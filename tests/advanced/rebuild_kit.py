"""Tests of rebuilds of projections, run on every back end."""

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
    open_and_sell,
    to_stored,
)

ROUNDS_OF_SALES = 100


class ProjectionRebuildKit:
    """Tests of a rebuild, over the fixture ``environment``."""

    async def test_rebuild_replaces_the_live_projection(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await environment.append(to_stored(till, open_and_sell(150)))
        await environment.worker(tills).drain()
        progress: list[RebuildProgress] = []

        end = await environment.rebuild(later, batch=1, on_progress=progress.append).run()

        assert end == await environment.events.latest_position()
        assert [each.position for each in progress] == sorted(each.position for each in progress)
        assert (progress[-1].position, progress[-1].target) == (end, end)
        assert await environment.get_documents(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 1.5}
        }
        await environment.append(to_stored(till, [ItemSold(cents=50)], after=2))
        assert await environment.worker(tills).drain() == 0
        assert await environment.worker(later).drain() == 1
        assert await environment.get_documents(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 2.0}
        }

    async def test_worker_of_the_old_documents_cannot_commit_after_the_rebuild(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(1)))
        await environment.store.ensure_collection(tills.collection, tills.fields)
        old = environment.run(tills, "old worker")
        assert await old.claim()
        await old.step()
        await environment.append(to_stored(till, [ItemSold(cents=2)], after=2))

        await environment.rebuild(LaterTills()).run()

        with pytest.raises(LeaseLostError):
            await old.step()
        found = await environment.get_documents(tills, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.03}}

    async def test_cancelled_rebuild_resumes_at_its_last_position(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(*range(1, 10))))
        await environment.worker(tills).drain()
        seen: list[int] = []

        def cancel_after_some(progress: RebuildProgress) -> None:
            seen.append(progress.position)
            if len(seen) == 4:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        async def run_until_cancelled() -> None:
            await environment.rebuild(tills, batch=1, on_progress=cancel_after_some).run()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(run_until_cancelled())
        before = await environment.get_documents(tills, till.aggregate_id)
        await environment.rebuild(
            tills, batch=1, on_progress=lambda progress: seen.append(progress.position)
        ).run(resume=True)

        assert before[till.aggregate_id]["seen"] == list(range(1, 11))
        assert seen == sorted(set(seen)), "an event was processed twice"
        assert await environment.get_documents(tills, till.aggregate_id) == before

    async def test_failed_rebuild_leaves_no_documents_to_the_next_rebuild(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await environment.append(to_stored(till, open_and_sell(13, 1)))
        tills.rejected = {13}
        with pytest.raises(PoisonEventError):
            await environment.rebuild(tills, retry=NoRetry()).run()

        await environment.rebuild(later).run()

        found = await environment.get_documents(later, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.14}}

    async def test_second_run_of_a_failed_rebuild_starts_from_the_first_event(
        self, environment: ProjectionEnvironment
    ) -> None:
        class Scaled(Tills):
            scale = -1

            def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
                super()._add(event, cents * self.scale, documents)

        till, handler = new_till(), Scaled()
        handler.rejected = {13}
        await environment.append(to_stored(till, open_and_sell(1, 2, 13, 3)))
        with pytest.raises(PoisonEventError):
            await environment.rebuild(handler, batch=1).run()

        handler.scale, handler.rejected = 1, set()
        await environment.rebuild(handler, batch=1).run()

        found = await environment.get_documents(handler, till.aggregate_id)
        assert (found[till.aggregate_id]["cents"], len(found[till.aggregate_id]["seen"])) == (19, 5)

    async def test_frozen_rebuild_does_not_disturb_the_rebuild_that_replaced_it(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, claimed, thawed = Tills(), asyncio.Event(), asyncio.Event()
        streams = [new_till() for _ in range(6)]
        await environment.append(*(to_stored(each, open_and_sell(5)) for each in streams))

        class FrozenRebuild(ProjectionRebuild):
            async def _begin(self, run: ProjectionRun) -> None:
                claimed.set()
                await thawed.wait()
                await super()._begin(run)

        frozen = FrozenRebuild(tills, **environment.stores, lease=0.01, worker_id="frozen")
        task = asyncio.ensure_future(frozen.run())
        await claimed.wait()
        await asyncio.sleep(0.1)  # The lease has expired, however late the claim was.
        steps = 0

        def thaw_in_the_middle(progress: RebuildProgress) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                thawed.set()

        class SlowRebuild(ProjectionRebuild):
            async def _claim(self, run: ProjectionRun, *, restart: bool = False) -> None:
                await super()._claim(run, restart=restart)
                step = run.step

                async def step_slowly(uow: UnitOfWork | None = None) -> int:
                    if thawed.is_set():
                        await asyncio.wait({task})
                    return await step(uow)

                run.step = step_slowly  # type: ignore[method-assign]

        await SlowRebuild(
            tills, **environment.stores, batch=2, on_progress=thaw_in_the_middle
        ).run()

        with pytest.raises(LeaseLostError):
            await task
        ids = [each.aggregate_id for each in streams]
        assert list(await environment.get_documents(tills, *ids)) == ids

    async def test_second_rebuild_of_a_projection_is_rejected_while_one_runs(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills = Tills()
        await environment.append(to_stored(new_till(), open_and_sell(1, 2)))
        errors: list[str] = []

        second = environment.rebuild(tills)
        tasks: list[asyncio.Task[int]] = []

        def begin_another(progress: RebuildProgress) -> None:
            if not tasks:
                tasks.append(asyncio.ensure_future(second.run()))

        class WaitingRebuild(ProjectionRebuild):
            async def _claim(self, run: ProjectionRun, *, restart: bool = False) -> None:
                await super()._claim(run, restart=restart)
                step = run.step

                async def step_after_the_second(uow: UnitOfWork | None = None) -> int:
                    if tasks:
                        await asyncio.wait(tasks)
                    return await step(uow)

                run.step = step_after_the_second  # type: ignore[method-assign]

        await WaitingRebuild(tills, **environment.stores, batch=1, on_progress=begin_another).run()
        try:
            await tasks[0]
        except ProjectionError as error:
            errors.append(str(error))

        assert errors
        assert "another rebuild" in errors[0]

    async def test_rebuild_of_an_older_version_must_be_requested(
        self, environment: ProjectionEnvironment
    ) -> None:
        till = new_till()
        await environment.append(to_stored(till, open_and_sell(1)))
        await environment.rebuild(LaterTills()).run()

        with pytest.raises(ProjectionVersionError, match="version 2 of tills is live") as caught:
            await environment.rebuild(Tills()).run()
        assert (caught.value.asked, caught.value.live) == (1, 2)
        await environment.rebuild(Tills()).run(replace_later=True)

        (document,) = (await environment.get_documents(Tills(), till.aggregate_id)).values()
        assert document["cents"] == 1
        assert await environment.worker(LaterTills()).drain() == 0

    async def test_worker_with_two_versions_runs_the_live_one_before_and_after_a_rebuild(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, later = new_till(), LaterTills()
        await environment.append(to_stored(till, open_and_sell(100)))
        await environment.worker(Tills()).drain()
        both = environment.worker(Tills(), later)

        await environment.append(to_stored(till, [ItemSold(cents=20)], after=2))
        await both.drain()
        (before,) = (await environment.get_documents(later, till.aggregate_id)).values()
        await environment.rebuild(later).run()
        await environment.append(to_stored(till, [ItemSold(cents=3)], after=3))
        await both.drain()
        (after,) = (await environment.get_documents(later, till.aggregate_id)).values()

        assert (before["cents"], after) == (120, {"euros": 1.23})

    async def test_new_projection_begins_with_the_latest_version_of_the_worker(
        self, environment: ProjectionEnvironment
    ) -> None:
        till = new_till()
        await environment.append(to_stored(till, open_and_sell(100)))

        await environment.worker(Tills(), LaterTills()).drain()

        found = await environment.get_documents(Tills(), till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 1.0}}

    async def test_readers_never_see_fewer_documents_during_a_rebuild_under_load(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, later = Tills(), LaterTills()
        streams = [new_till() for _ in range(30)]
        ids = [each.aggregate_id for each in streams]
        await environment.append(*(to_stored(each, open_and_sell(100)) for each in streams))
        old = environment.worker(tills)
        await old.drain()
        counts: list[int] = []

        async def read(is_over: asyncio.Event) -> None:
            while not is_over.is_set():
                counts.append(len(await environment.get_documents(tills, *ids)))
                await asyncio.sleep(0.001)

        async def sell(is_over: asyncio.Event) -> None:
            # The loop is bounded because the lock of SQLite is not fair to the other tasks.
            for version in range(2, 2 + ROUNDS_OF_SALES):
                for each in streams[:5]:
                    await environment.append(to_stored(each, [ItemSold(cents=1)], after=version))
                    await asyncio.sleep(0.002)
                if is_over.is_set():
                    return

        async with old, run_in_background(read, sell):
            await asyncio.sleep(0.1)
            await environment.rebuild(later, batch=5).run()
            await asyncio.sleep(0.05)
        await environment.worker(later).drain()

        assert set(counts) == {len(ids)}
        found = await environment.get_documents(later, *ids)
        fresh = await LiveProjection(later, environment.events).get_all()
        assert found == {each: fresh[each] for each in ids}
