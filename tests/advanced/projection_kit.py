"""What projections that a worker runs must do on every back end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from cqrs_ddd_advanced_core.exceptions import (
    PoisonEventError,
)
from cqrs_ddd_advanced_core.ports.dead_letters import DeadLetterState
from cqrs_ddd_advanced_core.projections import (
    LiveProjection,
    PoisonEventPolicy,
    ProjectionDocuments,
)
from cqrs_ddd_core import DomainEvent
from cqrs_ddd_core.context import get_tenant_id
from cqrs_ddd_core.primitives.exceptions import LeaseLostError
from cqrs_ddd_core.primitives.retry import (
    FixedRetryPolicy,
    RetryPolicy,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from tests.advanced.projection_environment import SEED, ProjectionEnvironment
from tests.advanced.till_domain import (
    Days,
    ItemSold,
    TillClosed,
    Tills,
    new_till,
    opened_and_sold,
    random_events,
    stored,
)


class ProjectionWorkerKit:
    """Tests that take a fixture ``environment``."""

    async def test_a_worker_makes_the_documents_and_goes_on_where_it_ended(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(100, 250)))
        first = await environment.worker(handler).drain()
        await environment.append(stored(till, [ItemSold(cents=7)], after=3))

        then = await environment.worker(handler).drain()

        assert (first, then) == (3, 1)
        assert await environment.all_of(handler, till.aggregate_id) == {
            till.aggregate_id: {"place": "hall", "cents": 357, "seen": [1, 2, 3, 4]}
        }
        assert await environment.position(handler) == await environment.events.latest_position()

    async def test_a_document_that_an_event_deletes_is_gone(
        self, environment: ProjectionEnvironment
    ) -> None:
        one, other, handler = new_till(), new_till(), Tills()
        await environment.append(
            stored(one, opened_and_sold(5)), stored(other, [*opened_and_sold(5), TillClosed()])
        )
        worker = environment.worker(handler)
        await worker.drain()
        await environment.append(stored(one, [TillClosed()], after=2))
        await worker.drain()

        assert await environment.all_of(handler, one.aggregate_id, other.aggregate_id) == {}

    async def test_one_document_may_be_made_by_many_streams(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, handler = [new_till() for _ in range(5)], Days()
        await environment.append(*(stored(each, opened_and_sold(10, 20)) for each in tills))

        await environment.worker(handler, batch=3).drain()

        assert await environment.all_of(handler, "monday") == {
            "monday": {"cents": 150, "count": 10}
        }

    async def test_events_of_others_are_passed_and_the_position_moves_on(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Days()
        stranger = stored(till, opened_and_sold(5))
        object.__setattr__(stranger[1], "event_type", "NobodyKnowsThisEvent")
        await environment.append(stranger)

        await environment.worker(handler).drain()

        assert await environment.all_of(handler, "monday") == {}
        assert await environment.position(handler) == await environment.events.latest_position()

    async def test_documents_and_checkpoint_are_committed_together_wherever_it_is_cancelled(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(*range(1, 40))))
        await environment.worker(handler, batch=1).drain()
        at = 40

        async def work() -> None:
            nonlocal at
            at += 1
            await environment.append(stored(till, [ItemSold(cents=1)], after=at - 1))
            await environment.worker(handler, worker_id="it").drain()

        async def check() -> None:
            found = await environment.all_of(handler, till.aggregate_id)
            seen = found[till.aggregate_id]["seen"]
            assert seen == list(range(1, len(seen) + 1)), "lost, doubled or out of order"

        events: list[Any] = []

        async def append_all_the_same() -> None:
            # A cancelled append leaves no event, and the next one must have its version.
            nonlocal at
            events[:] = await environment.events.get_events(till.aggregate_id)
            at = len(events)
            await check()

        assert await cancel_sweep(work, append_all_the_same) > 0
        await environment.worker(handler, worker_id="it").drain()
        await check()

    async def test_of_two_workers_one_has_the_projection(
        self, environment: ProjectionEnvironment
    ) -> None:
        handler = Tills()
        await environment.append(stored(new_till(), opened_and_sold(1, 2, 3)))
        holder = environment.run(handler)
        assert await holder.claim()

        taken = await environment.worker(handler).drain()

        assert taken == 0
        await environment.store.ensure_collection(handler.collection, handler.fields)
        assert await holder.step() == 4
        await holder.release()
        assert await environment.worker(handler).drain() == 0

    async def test_overtaken_worker_cannot_commit(self, environment: ProjectionEnvironment) -> None:
        till, handler = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(1)))
        await environment.store.ensure_collection(handler.collection, handler.fields)
        frozen = environment.run(handler, "frozen", lease=0.01)
        assert await frozen.claim()
        await asyncio.sleep(0.05)
        other = environment.run(handler, "other")
        assert await other.claim()

        with pytest.raises(LeaseLostError):
            await frozen.step()
        assert await environment.all_of(handler, till.aggregate_id) == {}

        await other.step()
        with pytest.raises(LeaseLostError):
            await frozen.step()
        found = await environment.all_of(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2]

    async def test_a_stream_with_a_poison_event_waits_and_the_others_go_on(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, well, handler = new_till(), new_till(), Tills()
        handler.refused = {13}
        await environment.append(
            stored(sick, opened_and_sold(1, 13, 2)), stored(well, opened_and_sold(1, 2))
        )
        worker = environment.worker(handler)
        await worker.drain()
        await environment.append(stored(sick, [ItemSold(cents=3)], after=4))
        await environment.append(stored(well, [ItemSold(cents=3)], after=3))
        await worker.drain()

        found = await environment.all_of(handler, sick.aggregate_id, well.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert found[well.aggregate_id]["seen"] == [1, 2, 3, 4]
        poison, *waiting = await environment.dead_letters.list_dead_letters(handler.collection)
        assert (poison.state, poison.attempts) == (DeadLetterState.POISON, 1)
        assert "cannot take 13" in str(poison.error)
        assert [each.state for each in waiting] == [DeadLetterState.WAITING] * 2

    async def test_a_retry_takes_the_stream_in_order(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await environment.append(stored(sick, opened_and_sold(1, 13, 2, 3)))
        worker = environment.worker(handler)
        await worker.drain()
        poison, *_ = await environment.dead_letters.list_dead_letters(handler.collection)

        # In vain at first.
        await environment.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()
        again, *_ = await environment.dead_letters.list_dead_letters(handler.collection)
        assert (again.state, again.attempts) == (DeadLetterState.POISON, 2)

        handler.refused = set()
        await environment.append(stored(sick, [ItemSold(cents=4)], after=5))
        await environment.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()

        found = await environment.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4, 5, 6]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_behind_a_discarded_event_its_stream_goes_on(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await environment.append(stored(sick, opened_and_sold(1, 13, 2, 3)))
        worker = environment.worker(handler)
        await worker.drain()
        poison, *_ = await environment.dead_letters.list_dead_letters(handler.collection)

        await environment.dead_letters.discard(handler.collection, poison.position)
        await worker.drain()

        found = await environment.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4, 5]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_a_skipped_event_holds_up_nothing(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await environment.append(stored(sick, opened_and_sold(1, 13, 2)))

        await environment.worker(handler, on_poison=PoisonEventPolicy.SKIP).drain()

        found = await environment.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4]
        (letter,) = await environment.dead_letters.list_dead_letters(handler.collection)
        assert letter.state is DeadLetterState.SKIPPED

    async def test_a_projection_may_stop_before_what_it_cannot_take(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.refused = {13}
        await environment.append(stored(sick, opened_and_sold(1, 13, 2)))

        with pytest.raises(PoisonEventError, match="ItemSold at position") as caught:
            await environment.worker(handler, on_poison=PoisonEventPolicy.STOP).drain()

        found = await environment.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert caught.value.position == (await environment.position(handler) or 0) + 1
        handler.refused = set()
        await environment.worker(handler, on_poison=PoisonEventPolicy.STOP).drain()
        found = await environment.all_of(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4]

    async def test_event_with_a_transient_error_is_retried(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(stored(till, opened_and_sold(1, 2)))
        # The second one does not wait between its tries.
        waiting, at_once = FixedRetryPolicy(max_attempts=3, delay=0.001), RetryPolicy(3)

        handler.failures = 2
        await environment.worker(handler, retry=waiting).drain()
        await environment.append(stored(till, [ItemSold(cents=3)], after=3))
        handler.failures = 2
        await environment.worker(handler, retry=at_once).drain()

        found = await environment.all_of(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2, 3, 4]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_a_document_that_the_store_refuses_is_put_down_to_its_event(
        self, environment: ProjectionEnvironment
    ) -> None:
        one, other = new_till(), new_till()

        class Misfits(Tills):
            collection = "misfits"

            def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
                super()._add(event, cents, documents)
                if cents == 13:
                    documents.upsert(str(event.aggregate_id), {"cents": "not a number", "seen": []})

        handler = Misfits()
        await environment.append(
            stored(one, opened_and_sold(1, 13, 2)), stored(other, opened_and_sold(1, 2))
        )

        await environment.worker(handler).drain()

        found = await environment.all_of(handler, one.aggregate_id, other.aggregate_id)
        assert found[one.aggregate_id]["seen"] == [1, 2]
        assert found[other.aggregate_id]["seen"] == [1, 2, 3]
        poison, waiting = await environment.dead_letters.list_dead_letters(handler.collection)
        assert poison.state is DeadLetterState.POISON
        assert waiting.state is DeadLetterState.WAITING

    async def test_a_started_worker_follows_new_events_and_stops(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, days = new_till(), Tills(), Days()
        async with environment.worker(tills, days):
            for version, cents in enumerate(range(1, 11), 1):
                await environment.append(stored(till, [ItemSold(cents=cents)], after=version - 1))
            end = await environment.events.latest_position()
            there = await environment.positions.wait_until(
                end, [tills.collection, days.collection], timeout=20.0
            )

        assert there
        found = await environment.all_of(tills, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == list(range(1, 11))
        assert await environment.all_of(days, "monday") == {"monday": {"cents": 55, "count": 10}}
        # Given back: another one need not wait for the end of the lease.
        assert await environment.run(tills, "another").claim()

    async def test_on_change_is_called_after_the_commit(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        told: list[tuple[str, list[str], dict[str, Any]]] = []

        async def on_change(collection: str, ids: Any) -> None:
            told.append((collection, sorted(ids), await environment.all_of(handler, *ids)))

        await environment.append(stored(till, opened_and_sold(5)))
        await environment.worker(handler, on_change=on_change).drain()

        ((collection, ids, found),) = told
        assert (collection, ids) == ("tills", [till.aggregate_id])
        assert found[till.aggregate_id]["cents"] == 5

    async def test_a_cached_read_model_is_dropped_in_the_name_of_the_tenant_of_its_events(
        self, environment: ProjectionEnvironment
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
        await environment.append(events)
        await environment.worker(handler, on_change=on_change).drain()

        assert told == [("red", [till.aggregate_id]), ("blue", [till.aggregate_id])]

    async def test_live_rebuilt_and_followed_are_the_same(
        self, environment: ProjectionEnvironment
    ) -> None:
        chance = random.Random(SEED)
        tills, days = Tills(), Days()
        streams = [new_till() for _ in range(6)]
        at = dict.fromkeys(streams, 0)
        worker = environment.worker(tills, days, batch=7)
        for _ in range(12):
            stream = chance.choice(streams)
            events = random_events(chance, chance.randrange(1, 9))
            await environment.append(stored(stream, events, after=at[stream]))
            at[stream] += len(events)
            if chance.random() < 0.5:
                await worker.drain()
        await worker.drain()
        followed = [
            await environment.all_of(tills, *(each.aggregate_id for each in streams)),
            await environment.all_of(days, "monday", "tuesday", "sunday"),
        ]

        for each in (tills, days):
            await environment.rebuild(each, batch=11).run()
        rebuilt = [
            await environment.all_of(tills, *(each.aggregate_id for each in streams)),
            await environment.all_of(days, "monday", "tuesday", "sunday"),
        ]
        live = [
            await LiveProjection(tills, environment.events).get_all(),
            await LiveProjection(days, environment.events).get_all(),
        ]

        assert followed == rebuilt == live
        one = streams[0].aggregate_id
        assert await LiveProjection(tills, environment.events).get(one) == live[0].get(one)
