"""What projections must do on every back end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cqrs_ddd_advanced_core.conflict import ConflictRetryMiddleware
from cqrs_ddd_advanced_core.exceptions import (
    PoisonEventError,
    ProjectionError,
    ProjectionVersionError,
)
from cqrs_ddd_advanced_core.ports.dead_letters import DeadLetterState, IDeadLetterStore
from cqrs_ddd_advanced_core.ports.positions import IPositionStore
from cqrs_ddd_advanced_core.ports.projections import IProjectionStore
from cqrs_ddd_advanced_core.projections import (
    InlineProjectionMiddleware,
    LiveProjection,
    OnPoison,
    ProjectionHandler,
    ProjectionRebuild,
    ProjectionView,
    ProjectionWorker,
    RebuildProgress,
)
from cqrs_ddd_advanced_core.projections.run import ProjectionRun, Surroundings
from cqrs_ddd_core import DomainEvent, HandlerRegistry, Mediator, UnitOfWork
from cqrs_ddd_core.context import get_tenant_id, request_context
from cqrs_ddd_core.ports import IEventLog
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_core.primitives.retry import (
    ExponentialBackoffPolicy,
    FixedRetryPolicy,
    NoRetry,
    RetryPolicy,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from tests.advanced.tills import (
    Days,
    ItemSold,
    LaterTills,
    Sell,
    SellHandler,
    TillClosed,
    Tills,
    new_till,
    opened_and_sold,
    random_events,
    stored,
)

NewUnitOfWork = Callable[[], UnitOfWork]
SEED = 8_081


class Surrounded:
    """The stores of one back end, and projections over them."""

    def __init__(
        self,
        events: IEventLog,
        store: IProjectionStore,
        positions: IPositionStore,
        dead_letters: IDeadLetterStore,
        uow_factory: NewUnitOfWork,
    ) -> None:
        self.events = events
        self.store = store
        self.positions = positions
        self.dead_letters = dead_letters
        self.uow_factory = uow_factory

    @property
    def stores(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "positions": self.positions,
            "dead_letters": self.dead_letters,
            "uow_factory": self.uow_factory,
        }

    def worker(self, *handlers: ProjectionHandler, **options: Any) -> ProjectionWorker:
        options.setdefault("retry", NoRetry())
        options.setdefault("poll_interval", 0.02)
        return ProjectionWorker(handlers, **self.stores, **options)

    def rebuild(self, handler: ProjectionHandler, **options: Any) -> ProjectionRebuild:
        return ProjectionRebuild(handler, **{**self.stores, **options})

    def run(
        self, handler: ProjectionHandler, worker_id: str = "a worker", **options: Any
    ) -> ProjectionRun:
        return ProjectionRun(handler, Surroundings(**self.stores, worker_id=worker_id, **options))

    async def append(self, *streams: list[Any]) -> None:
        for stream in streams:
            await self.events.append_batch(stream)

    async def all_of(self, handler: ProjectionHandler, *ids: str) -> dict[str, dict[str, Any]]:
        return await self.store.get_batch(handler.collection, ids)

    async def position(self, handler: ProjectionHandler) -> int | None:
        (found,) = await self.positions.positions([handler.collection])
        return found.position


class ProjectionWorkerKit:
    """Asks for a fixture ``surrounded``."""

    async def test_a_worker_makes_the_documents_and_goes_on_where_it_ended(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Tills()
        await surrounded.append(stored(till, opened_and_sold(100, 250)))
        first = await surrounded.worker(handler).drain()
        await surrounded.append(stored(till, [ItemSold(cents=7)], after=3))

        then = await surrounded.worker(handler).drain()

        assert (first, then) == (3, 1)
        assert await surrounded.all_of(handler, till.aggregate_id) == {
            till.aggregate_id: {"place": "hall", "cents": 357, "seen": [1, 2, 3, 4]}
        }
        assert await surrounded.position(handler) == await surrounded.events.latest_position()

    async def test_a_document_that_an_event_deletes_is_gone(self, surrounded: Surrounded) -> None:
        one, other, handler = new_till(), new_till(), Tills()
        await surrounded.append(
            stored(one, opened_and_sold(5)), stored(other, [*opened_and_sold(5), TillClosed()])
        )
        worker = surrounded.worker(handler)
        await worker.drain()
        await surrounded.append(stored(one, [TillClosed()], after=2))
        await worker.drain()

        assert await surrounded.all_of(handler, one.aggregate_id, other.aggregate_id) == {}

    async def test_one_document_may_be_made_by_many_streams(self, surrounded: Surrounded) -> None:
        tills, handler = [new_till() for _ in range(5)], Days()
        await surrounded.append(*(stored(each, opened_and_sold(10, 20)) for each in tills))

        await surrounded.worker(handler, batch=3).drain()

        assert await surrounded.all_of(handler, "monday") == {"monday": {"cents": 150, "count": 10}}

    async def test_events_of_others_are_passed_and_the_position_moves_on(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Days()
        stranger = stored(till, opened_and_sold(5))
        object.__setattr__(stranger[1], "event_type", "NobodyKnowsThisEvent")
        await surrounded.append(stranger)

        await surrounded.worker(handler).drain()

        assert await surrounded.all_of(handler, "monday") == {}
        assert await surrounded.position(handler) == await surrounded.events.latest_position()

    async def test_documents_and_checkpoint_are_committed_together_wherever_it_is_cancelled(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Tills()
        await surrounded.append(stored(till, opened_and_sold(*range(1, 40))))
        await surrounded.worker(handler, batch=1).drain()
        at = 40

        async def work() -> None:
            nonlocal at
            at += 1
            await surrounded.append(stored(till, [ItemSold(cents=1)], after=at - 1))
            await surrounded.worker(handler, worker_id="it").drain()

        async def check() -> None:
            found = await surrounded.all_of(handler, till.aggregate_id)
            seen = found[till.aggregate_id]["seen"]
            assert seen == list(range(1, len(seen) + 1)), "lost, doubled or out of order"

        events: list[Any] = []

        async def append_all_the_same() -> None:
            # A cancelled append leaves no event, and the next one must have its version.
            nonlocal at
            events[:] = await surrounded.events.get_events(till.aggregate_id)
            at = len(events)
            await check()

        assert await cancel_sweep(work, append_all_the_same) > 0
        await surrounded.worker(handler, worker_id="it").drain()
        await check()

    async def test_of_two_workers_one_has_the_projection(self, surrounded: Surrounded) -> None:
        handler = Tills()
        await surrounded.append(stored(new_till(), opened_and_sold(1, 2, 3)))
        holder = surrounded.run(handler)
        assert await holder.claim()

        taken = await surrounded.worker(handler).drain()

        assert taken == 0
        await surrounded.store.ensure_collection(handler.collection, handler.fields)
        assert await holder.step() == 4
        await holder.release()
        assert await surrounded.worker(handler).drain() == 0

    async def test_who_was_overtaken_cannot_commit(self, surrounded: Surrounded) -> None:
        till, handler = new_till(), Tills()
        await surrounded.append(stored(till, opened_and_sold(1)))
        await surrounded.store.ensure_collection(handler.collection, handler.fields)
        frozen = surrounded.run(handler, "frozen", lease=0.01)
        assert await frozen.claim()
        await asyncio.sleep(0.05)
        other = surrounded.run(handler, "other")
        assert await other.claim()

        with pytest.raises(LeaseLostError):
            await frozen.step()
        assert await surrounded.all_of(handler, till.aggregate_id) == {}

        await other.step()
        with pytest.raises(LeaseLostError):
            await frozen.step()
        found = await surrounded.all_of(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2]

    async def test_a_stream_with_a_poison_event_waits_and_the_others_go_on(
        self, surrounded: Surrounded
    ) -> None:
        sick, well, handler = new_till(), new_till(), Tills()
        handler.refused = {13}
        await surrounded.append(
            stored(sick, opened_and_sold(1, 13, 2)), stored(well, opened_and_sold(1, 2))
        )
        worker = surrounded.worker(handler)
        await worker.drain()
        await surrounded.append(stored(sick, [ItemSold(cents=3)], after=4))
        await surrounded.append(stored(well, [ItemSold(cents=3)], after=3))
        await worker.drain()

        found = await surrounded.all_of(handler, sick.aggregate_id, well.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert found[well.aggregate_id]["seen"] == [1, 2, 3, 4]
        poison, *waiting = await surrounded.dead_letters.letters(handler.collection)
        assert (poison.state, poison.attempts) == (DeadLetterState.POISON, 1)
        assert "cannot take 13" in str(poison.error)
        assert [each.state for each in waiting] == [DeadLetterState.WAITING] * 2

    async def test_a_retry_takes_the_stream_in_order(self, surrounded: Surrounded) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await surrounded.append(stored(sick, opened_and_sold(1, 13, 2, 3)))
        worker = surrounded.worker(handler)
        await worker.drain()
        poison, *_ = await surrounded.dead_letters.letters(handler.collection)

        # In vain at first.
        await surrounded.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()
        again, *_ = await surrounded.dead_letters.letters(handler.collection)
        assert (again.state, again.attempts) == (DeadLetterState.POISON, 2)

        handler.refused = set()
        await surrounded.append(stored(sick, [ItemSold(cents=4)], after=5))
        await surrounded.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()

        found = await surrounded.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4, 5, 6]
        assert await surrounded.dead_letters.letters(handler.collection) == []

    async def test_behind_a_discarded_event_its_stream_goes_on(
        self, surrounded: Surrounded
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await surrounded.append(stored(sick, opened_and_sold(1, 13, 2, 3)))
        worker = surrounded.worker(handler)
        await worker.drain()
        poison, *_ = await surrounded.dead_letters.letters(handler.collection)

        await surrounded.dead_letters.discard(handler.collection, poison.position)
        await worker.drain()

        found = await surrounded.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4, 5]
        assert await surrounded.dead_letters.letters(handler.collection) == []

    async def test_a_skipped_event_holds_up_nothing(self, surrounded: Surrounded) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await surrounded.append(stored(sick, opened_and_sold(1, 13, 2)))

        await surrounded.worker(handler, on_poison=OnPoison.SKIP).drain()

        found = await surrounded.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4]
        (letter,) = await surrounded.dead_letters.letters(handler.collection)
        assert letter.state is DeadLetterState.SKIPPED

    async def test_a_projection_may_stop_before_what_it_cannot_take(
        self, surrounded: Surrounded
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await surrounded.append(stored(sick, opened_and_sold(1, 13, 2)))

        with pytest.raises(PoisonEventError, match="ItemSold at position") as caught:
            await surrounded.worker(handler, on_poison=OnPoison.STOP).drain()

        found = await surrounded.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert caught.value.position == (await surrounded.position(handler) or 0) + 1
        handler.refused = set()
        await surrounded.worker(handler, on_poison=OnPoison.STOP).drain()
        found = await surrounded.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4]

    async def test_what_fails_for_no_lasting_reason_is_tried_again(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Tills()
        handler.failures = 2
        await surrounded.append(stored(till, opened_and_sold(1, 2)))
        retry: RetryPolicy = FixedRetryPolicy(max_attempts=3, delay=0.001)

        await surrounded.worker(handler, retry=retry).drain()

        found = await surrounded.all_of(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2, 3]
        assert await surrounded.dead_letters.letters(handler.collection) == []

    async def test_a_document_that_the_store_refuses_is_put_down_to_its_event(
        self, surrounded: Surrounded
    ) -> None:
        one, other = new_till(), new_till()

        class Misfits(Tills):
            collection = "misfits"

            def _add(self, event: DomainEvent, cents: int, view: ProjectionView) -> None:
                super()._add(event, cents, view)
                if cents == 13:
                    view.upsert(str(event.aggregate_id), {"cents": "not a number", "seen": []})

        handler = Misfits()
        await surrounded.append(
            stored(one, opened_and_sold(1, 13, 2)), stored(other, opened_and_sold(1, 2))
        )

        await surrounded.worker(handler).drain()

        found = await surrounded.all_of(handler, one.aggregate_id, other.aggregate_id)
        assert found[one.aggregate_id]["seen"] == [1, 2]
        assert found[other.aggregate_id]["seen"] == [1, 2, 3]
        poison, waiting = await surrounded.dead_letters.letters(handler.collection)
        assert poison.state is DeadLetterState.POISON
        assert waiting.state is DeadLetterState.WAITING

    async def test_a_started_worker_follows_new_events_and_stops(
        self, surrounded: Surrounded
    ) -> None:
        till, tills, days = new_till(), Tills(), Days()
        async with surrounded.worker(tills, days):
            for version, cents in enumerate(range(1, 11), 1):
                await surrounded.append(stored(till, [ItemSold(cents=cents)], after=version - 1))
            end = await surrounded.events.latest_position()
            there = await surrounded.positions.wait_until(
                end, [tills.collection, days.collection], timeout=20.0
            )

        assert there
        found = await surrounded.all_of(tills, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == list(range(1, 11))
        assert await surrounded.all_of(days, "monday") == {"monday": {"cents": 55, "count": 10}}
        # Given back: another one need not wait for the end of the lease.
        assert await surrounded.run(tills, "another").claim()

    async def test_who_caches_documents_is_told_after_the_commit(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Tills()
        told: list[tuple[str, list[str], dict[str, Any]]] = []

        async def on_change(collection: str, ids: Any) -> None:
            told.append((collection, sorted(ids), await surrounded.all_of(handler, *ids)))

        await surrounded.append(stored(till, opened_and_sold(5)))
        await surrounded.worker(handler, on_change=on_change).drain()

        ((collection, ids, found),) = told
        assert (collection, ids) == ("tills", [till.aggregate_id])
        assert found[till.aggregate_id]["cents"] == 5

    async def test_a_cached_read_model_is_dropped_in_the_name_of_the_tenant_of_its_events(
        self, surrounded: Surrounded
    ) -> None:
        till, handler = new_till(), Tills()
        told: list[tuple[str | None, list[str]]] = []

        async def on_change(collection: str, ids: Any) -> None:
            told.append((get_tenant_id(), sorted(ids)))

        events = [
            replace(event, metadata={"tenant_id": tenant})
            for event, tenant in zip(
                stored(till, opened_and_sold(5, 6)), ("red", "red", "blue"), strict=True
            )
        ]
        await surrounded.append(events)
        await surrounded.worker(handler, on_change=on_change).drain()

        assert told == [("red", [till.aggregate_id]), ("blue", [till.aggregate_id])]

    async def test_live_rebuilt_and_followed_are_the_same(self, surrounded: Surrounded) -> None:
        chance = random.Random(SEED)
        tills, days = Tills(), Days()
        streams = [new_till() for _ in range(6)]
        at = dict.fromkeys(streams, 0)
        worker = surrounded.worker(tills, days, batch=7)
        for _ in range(12):
            stream = chance.choice(streams)
            events = random_events(chance, chance.randrange(1, 9))
            await surrounded.append(stored(stream, events, after=at[stream]))
            at[stream] += len(events)
            if chance.random() < 0.5:
                await worker.drain()
        await worker.drain()
        followed = [
            await surrounded.all_of(tills, *(each.aggregate_id for each in streams)),
            await surrounded.all_of(days, "monday", "tuesday", "sunday"),
        ]

        for each in (tills, days):
            await surrounded.rebuild(each, batch=11).run()
        rebuilt = [
            await surrounded.all_of(tills, *(each.aggregate_id for each in streams)),
            await surrounded.all_of(days, "monday", "tuesday", "sunday"),
        ]
        live = [
            await LiveProjection(tills, surrounded.events).documents(),
            await LiveProjection(days, surrounded.events).documents(),
        ]

        assert followed == rebuilt == live
        one = streams[0].aggregate_id
        assert await LiveProjection(tills, surrounded.events).get(one) == live[0].get(one)


class ProjectionRebuildKit:
    """Asks for a fixture ``surrounded``."""

    async def test_a_rebuild_takes_the_place_of_the_live_one(self, surrounded: Surrounded) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await surrounded.append(stored(till, opened_and_sold(150)))
        await surrounded.worker(tills).drain()
        progress: list[RebuildProgress] = []

        end = await surrounded.rebuild(later, batch=1, on_progress=progress.append).run()

        assert end == await surrounded.events.latest_position()
        assert [each.position for each in progress] == sorted(each.position for each in progress)
        assert (progress[-1].position, progress[-1].target) == (end, end)
        assert await surrounded.all_of(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 1.5}
        }
        await surrounded.append(stored(till, [ItemSold(cents=50)], after=2))
        assert await surrounded.worker(tills).drain() == 0
        assert await surrounded.worker(later).drain() == 1
        assert await surrounded.all_of(later, till.aggregate_id) == {
            till.aggregate_id: {"euros": 2.0}
        }

    async def test_who_ran_the_old_one_cannot_commit_after_the_swap(
        self, surrounded: Surrounded
    ) -> None:
        till, tills = new_till(), Tills()
        await surrounded.append(stored(till, opened_and_sold(1)))
        await surrounded.store.ensure_collection(tills.collection, tills.fields)
        old = surrounded.run(tills, "the old one")
        assert await old.claim()
        await old.step()
        await surrounded.append(stored(till, [ItemSold(cents=2)], after=2))

        await surrounded.rebuild(LaterTills()).run()

        with pytest.raises(LeaseLostError):
            await old.step()
        found = await surrounded.all_of(tills, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.03}}

    async def test_a_rebuild_that_was_cancelled_goes_on_where_it_ended(
        self, surrounded: Surrounded
    ) -> None:
        till, tills = new_till(), Tills()
        await surrounded.append(stored(till, opened_and_sold(*range(1, 10))))
        await surrounded.worker(tills).drain()
        seen: list[int] = []

        def cancel_after_some(progress: RebuildProgress) -> None:
            seen.append(progress.position)
            if len(seen) == 4:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        async def cancelled() -> None:
            await surrounded.rebuild(tills, batch=1, on_progress=cancel_after_some).run()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(cancelled())
        before = await surrounded.all_of(tills, till.aggregate_id)
        await surrounded.rebuild(
            tills, batch=1, on_progress=lambda progress: seen.append(progress.position)
        ).run(resume=True)

        assert before[till.aggregate_id]["seen"] == list(range(1, 11))
        assert seen == sorted(set(seen)), "an event was taken twice"
        assert await surrounded.all_of(tills, till.aggregate_id) == before

    async def test_a_rebuild_that_was_given_up_leaves_nothing_to_the_next(
        self, surrounded: Surrounded
    ) -> None:
        till, tills, later = new_till(), Tills(), LaterTills()
        await surrounded.append(stored(till, opened_and_sold(13, 1)))
        tills.refused = {13}
        with pytest.raises(PoisonEventError):
            await surrounded.rebuild(tills, retry=NoRetry()).run()

        await surrounded.rebuild(later).run()

        found = await surrounded.all_of(later, till.aggregate_id)
        assert found == {till.aggregate_id: {"euros": 0.14}}

    async def test_a_rebuild_that_is_run_again_begins_anew(self, surrounded: Surrounded) -> None:
        class Scaled(Tills):
            scale = -1

            def _add(self, event: DomainEvent, cents: int, view: ProjectionView) -> None:
                super()._add(event, cents * self.scale, view)

        till, handler = new_till(), Scaled()
        handler.refused = {13}
        await surrounded.append(stored(till, opened_and_sold(1, 2, 13, 3)))
        with pytest.raises(PoisonEventError):
            await surrounded.rebuild(handler, batch=1).run()

        handler.scale, handler.refused = 1, set()
        await surrounded.rebuild(handler, batch=1).run()

        found = await surrounded.all_of(handler, till.aggregate_id)
        assert (found[till.aggregate_id]["cents"], len(found[till.aggregate_id]["seen"])) == (19, 5)

    async def test_a_rebuild_that_was_frozen_takes_nothing_from_the_one_that_took_over(
        self, surrounded: Surrounded
    ) -> None:
        tills, thawed = Tills(), asyncio.Event()
        streams = [new_till() for _ in range(6)]
        await surrounded.append(*(stored(each, opened_and_sold(5)) for each in streams))

        class Frozen(ProjectionRebuild):
            async def _begin(self, run: ProjectionRun) -> None:
                await thawed.wait()
                await super()._begin(run)

        frozen = Frozen(tills, **surrounded.stores, lease=0.01, worker_id="frozen")
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

        await Slow(tills, **surrounded.stores, batch=2, on_progress=thaw_in_the_middle).run()

        with pytest.raises(LeaseLostError):
            await task
        ids = [each.aggregate_id for each in streams]
        assert list(await surrounded.all_of(tills, *ids)) == ids

    async def test_one_rebuild_at_a_time(self, surrounded: Surrounded) -> None:
        tills = Tills()
        await surrounded.append(stored(new_till(), opened_and_sold(1, 2)))
        refusals: list[str] = []

        second = surrounded.rebuild(tills)
        tasks: list[asyncio.Task[int]] = []

        def begin_another(progress: RebuildProgress) -> None:
            if not tasks:
                tasks.append(asyncio.ensure_future(second.run()))

        await surrounded.rebuild(tills, batch=1, on_progress=begin_another).run()
        try:
            await tasks[0]
        except ProjectionError as error:
            refusals.append(str(error))

        assert refusals
        assert "under way elsewhere" in refusals[0]

    async def test_an_older_version_is_refused(self, surrounded: Surrounded) -> None:
        await surrounded.append(stored(new_till(), opened_and_sold(1)))
        await surrounded.rebuild(LaterTills()).run()

        with pytest.raises(ProjectionVersionError, match="version 2 of tills is live") as caught:
            await surrounded.rebuild(Tills()).run()

        assert (caught.value.asked, caught.value.live) == (1, 2)

    async def test_readers_never_see_fewer_documents_while_it_is_rebuilt_under_load(
        self, surrounded: Surrounded
    ) -> None:
        tills, later = Tills(), LaterTills()
        streams = [new_till() for _ in range(30)]
        ids = [each.aggregate_id for each in streams]
        await surrounded.append(*(stored(each, opened_and_sold(100)) for each in streams))
        old = surrounded.worker(tills)
        await old.drain()
        is_over = asyncio.Event()
        counts: list[int] = []

        async def read() -> None:
            while not is_over.is_set():
                counts.append(len(await surrounded.all_of(tills, *ids)))
                await asyncio.sleep(0.001)

        async def sell() -> None:
            version = 2
            while not is_over.is_set():
                for each in streams[:5]:
                    await surrounded.append(stored(each, [ItemSold(cents=1)], after=version))
                    await asyncio.sleep(0.002)
                version += 1

        others = [asyncio.ensure_future(each()) for each in (read, sell)]
        async with old:
            await asyncio.sleep(0.1)
            await surrounded.rebuild(later, batch=5).run()
            await asyncio.sleep(0.05)
            is_over.set()
            await asyncio.gather(*others)
        await surrounded.worker(later).drain()

        assert set(counts) == {len(ids)}
        found = await surrounded.all_of(later, *ids)
        fresh = await LiveProjection(later, surrounded.events).documents()
        assert found == {each: fresh[each] for each in ids}


class InlineProjectionKit:
    """Asks for a fixture ``surrounded``."""

    async def test_a_view_is_written_with_the_events(self, surrounded: Surrounded) -> None:
        days, till = Days(), new_till()
        mediator = await with_inline(surrounded, days)

        await mediator.send(Sell(till_id=till.aggregate_id, cents=120))
        await mediator.send(Sell(till_id=till.aggregate_id, cents=30))

        assert await surrounded.all_of(days, "monday") == {"monday": {"cents": 150, "count": 2}}
        assert await surrounded.positions.wait_until(10**6, [days.collection], timeout=0.0)

    async def test_a_handler_sees_the_event_as_it_is_stored(self, surrounded: Surrounded) -> None:
        class Tenants(Days):
            collection = "tenants"

            def ids_of(self, event: DomainEvent) -> tuple[str, ...]:
                return (str(event.metadata.get("tenant_id")),)

            def _add(self, day: str, cents: int, view: ProjectionView) -> None:
                view.upsert("red", {"cents": cents})

        handler, told = Tenants(), []

        async def on_change(collection: str, ids: Any) -> None:
            told.append((get_tenant_id(), list(ids)))

        mediator = await with_inline(surrounded, handler, on_change=on_change)
        with request_context(tenant_id="red"):
            await mediator.send(Sell(till_id=new_till().aggregate_id, cents=4))

        assert await surrounded.all_of(handler, "red") == {"red": {"cents": 4}}
        assert told == [("red", ["red"])]
        assert await LiveProjection(handler, surrounded.events).get("red") == {"cents": 4}

    async def test_an_event_that_the_view_cannot_take_fails_the_command(
        self, surrounded: Surrounded
    ) -> None:
        tills, till = Tills(), new_till()
        tills.refused = {13}
        mediator = await with_inline(surrounded, tills)
        await mediator.send(Sell(till_id=till.aggregate_id, cents=1))

        with pytest.raises(ValueError, match="cannot take 13"):
            await mediator.send(Sell(till_id=till.aggregate_id, cents=13))

        assert len(await surrounded.events.get_events(till.aggregate_id)) == 1
        found = await surrounded.all_of(tills, till.aggregate_id)
        assert found[till.aggregate_id]["cents"] == 1

    async def test_commands_that_change_one_document_lose_no_change(
        self, surrounded: Surrounded
    ) -> None:
        days = Days()
        mediator = await with_inline(surrounded, days)

        async def sell(number: int) -> None:
            # Each till is of its own: nothing but the view is common to them.
            for _ in range(5):
                await mediator.send(Sell(till_id=f"stall-{number}", cents=number))

        await asyncio.gather(*(sell(number) for number in range(10)))

        found = await surrounded.all_of(days, "monday")
        assert found == {"monday": {"cents": 225, "count": 50}}

    async def test_a_rebuild_while_commands_are_under_way_loses_no_event(
        self, surrounded: Surrounded
    ) -> None:
        days = Days()
        mediator = await with_inline(surrounded, days)
        ends = asyncio.Event()
        sent = 0

        async def sell(number: int) -> None:
            nonlocal sent
            while not ends.is_set():
                await mediator.send(Sell(till_id=f"booth-{number}", cents=1))
                sent += 1
                await asyncio.sleep(0.002 * number)

        others = [asyncio.ensure_future(sell(number)) for number in range(4)]
        for _ in range(4):
            await asyncio.sleep(0.01)
            await surrounded.rebuild(
                days, batch=50, positions=Lingering(surrounded.positions)
            ).run()
        ends.set()
        await asyncio.gather(*others)

        assert await surrounded.all_of(days, "monday") == {"monday": {"cents": sent, "count": sent}}
        assert sent > 3

    async def test_another_version_than_the_live_one_is_not_written(
        self, surrounded: Surrounded
    ) -> None:
        mediator = await with_inline(surrounded, Tills())
        await mediator.send(Sell(till_id=new_till().aggregate_id, cents=1))
        await surrounded.rebuild(LaterTills()).run()

        with pytest.raises(ProjectionVersionError, match="2"):
            await mediator.send(Sell(till_id=new_till().aggregate_id, cents=1))

    async def test_what_workers_run_is_not_written_inline_too(self, surrounded: Surrounded) -> None:
        days = Days()
        await surrounded.worker(days).drain()

        with pytest.raises(ProjectionVersionError, match="is run by workers"):
            await with_inline(surrounded, days)

    async def test_a_rebuild_adds_what_was_before_an_inline_one_was_there(
        self, surrounded: Surrounded
    ) -> None:
        days, till = Days(), new_till()
        await surrounded.append(stored(till, [ItemSold(cents=3)]))
        mediator = await with_inline(surrounded, days)

        await surrounded.rebuild(days).run()
        await mediator.send(Sell(till_id=new_till().aggregate_id, cents=4))

        assert await surrounded.all_of(days, "monday") == {"monday": {"cents": 7, "count": 2}}

    async def test_commands_that_are_cancelled_leave_view_and_events_in_step(
        self, surrounded: Surrounded
    ) -> None:
        chance, days = random.Random(SEED), Days()
        mediator = await with_inline(surrounded, days)

        async def sell(number: int) -> None:
            command = Sell(till_id=f"kiosk-{number % 5}", cents=number)
            task = asyncio.ensure_future(mediator.send(command))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.02)
                task.cancel()
            await asyncio.wait({task})

        for _ in range(4):
            await asyncio.gather(*(sell(number) for number in range(12)))

        live = await LiveProjection(days, surrounded.events).documents()
        assert await surrounded.all_of(days, "monday") == live
        await asyncio.wait_for(mediator.send(Sell(till_id="kiosk-0", cents=1)), 30)


class Lingering:
    """Lets others go on, if anything does, between the last look at the events and the swap."""

    def __init__(self, positions: IPositionStore) -> None:
        self._positions = positions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._positions, name)

    async def replace(self, *given: Any, **options: Any) -> None:
        await asyncio.sleep(0.03)
        await self._positions.replace(*given, **options)


async def with_inline(
    surrounded: Surrounded, *handlers: ProjectionHandler, **options: Any
) -> Mediator:
    """Commands are sent again after a conflict, as an application would."""
    inline = InlineProjectionMiddleware(handlers, positions=surrounded.positions, **options)
    await inline.prepare(surrounded.uow_factory)
    registry = HandlerRegistry()
    registry.register_command_handler(Sell, SellHandler())
    retry = ExponentialBackoffPolicy(max_attempts=200, base=0.002, maximum=0.05)
    return Mediator(
        registry,
        uow_factory=surrounded.uow_factory,
        middlewares=[ConflictRetryMiddleware(retry), inline],
    )
