"""Tests of projection workers, run on every back end."""

from __future__ import annotations

import asyncio
import random
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
from cqrs_ddd_core.context import get_tenant_id, request_context
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
    open_and_sell,
    random_events,
    to_stored,
)


class ProjectionWorkerKit:
    """Tests of a projection worker, over the fixture ``environment``."""

    async def test_projection_worker_writes_documents_and_resumes_at_its_position(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(100, 250)))
        first = await environment.worker(handler).drain()
        await environment.append(to_stored(till, [ItemSold(cents=7)], after=3))

        then = await environment.worker(handler).drain()

        assert (first, then) == (3, 1)
        assert await environment.get_documents(handler, till.aggregate_id) == {
            till.aggregate_id: {"place": "hall", "cents": 357, "seen": [1, 2, 3, 4]}
        }
        assert await environment.position(handler) == await environment.events.latest_position()

    async def test_document_deleted_by_an_event_is_gone(
        self, environment: ProjectionEnvironment
    ) -> None:
        one, other, handler = new_till(), new_till(), Tills()
        await environment.append(
            to_stored(one, open_and_sell(5)), to_stored(other, [*open_and_sell(5), TillClosed()])
        )
        worker = environment.worker(handler)
        await worker.drain()
        await environment.append(to_stored(one, [TillClosed()], after=2))
        await worker.drain()

        assert await environment.get_documents(handler, one.aggregate_id, other.aggregate_id) == {}

    async def test_events_of_many_streams_can_change_one_document(
        self, environment: ProjectionEnvironment
    ) -> None:
        tills, handler = [new_till() for _ in range(5)], Days()
        await environment.append(*(to_stored(each, open_and_sell(10, 20)) for each in tills))

        await environment.worker(handler, batch=3).drain()

        assert await environment.get_documents(handler, "monday") == {
            "monday": {"cents": 150, "count": 10}
        }

    async def test_projection_worker_skips_unhandled_events_and_advances_its_position(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Days()
        stranger = to_stored(till, open_and_sell(5))
        object.__setattr__(stranger[1], "event_type", "UnknownEvent")
        await environment.append(stranger)

        await environment.worker(handler).drain()

        assert await environment.get_documents(handler, "monday") == {}
        assert await environment.position(handler) == await environment.events.latest_position()

    async def test_cancelled_projection_worker_commits_documents_and_checkpoint_together(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(*range(1, 40))))
        await environment.worker(handler, batch=1).drain()
        at = 40

        async def work() -> None:
            nonlocal at
            at += 1
            await environment.append(to_stored(till, [ItemSold(cents=1)], after=at - 1))
            await environment.worker(handler, worker_id="it").drain()

        async def check() -> None:
            found = await environment.get_documents(handler, till.aggregate_id)
            seen = found[till.aggregate_id]["seen"]
            assert seen == list(range(1, len(seen) + 1)), (
                "an event was lost, repeated or out of order"
            )

        events: list[Any] = []

        async def read_events_and_check() -> None:
            # A cancelled append stores no event, and the next append must use its version.
            nonlocal at
            events[:] = await environment.events.get_events(till.aggregate_id)
            at = len(events)
            await check()

        assert await cancel_sweep(work, read_events_and_check) > 0
        await environment.worker(handler, worker_id="it").drain()
        await check()

    async def test_only_one_of_two_workers_runs_a_projection(
        self, environment: ProjectionEnvironment
    ) -> None:
        handler = Tills()
        await environment.append(to_stored(new_till(), open_and_sell(1, 2, 3)))
        holder = environment.run(handler)
        assert await holder.claim()

        taken = await environment.worker(handler).drain()

        assert taken == 0
        await environment.store.ensure_collection(handler.collection, handler.fields)
        assert await holder.step() == 4
        await holder.release()
        assert await environment.worker(handler).drain() == 0

    async def test_projection_worker_that_lost_its_lease_cannot_commit(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(1)))
        await environment.store.ensure_collection(handler.collection, handler.fields)
        frozen = environment.run(handler, "frozen", lease=0.01)
        assert await frozen.claim()
        await asyncio.sleep(0.05)
        other = environment.run(handler, "other")
        assert await other.claim()

        with pytest.raises(LeaseLostError):
            await frozen.step()
        assert await environment.get_documents(handler, till.aggregate_id) == {}

        await other.step()
        with pytest.raises(LeaseLostError):
            await frozen.step()
        found = await environment.get_documents(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2]

    async def test_poison_event_blocks_its_own_stream_and_no_other(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, well, handler = new_till(), new_till(), Tills()
        handler.rejected = {13}
        await environment.append(
            to_stored(sick, open_and_sell(1, 13, 2)), to_stored(well, open_and_sell(1, 2))
        )
        worker = environment.worker(handler)
        await worker.drain()
        await environment.append(to_stored(sick, [ItemSold(cents=3)], after=4))
        await environment.append(to_stored(well, [ItemSold(cents=3)], after=3))
        await worker.drain()

        found = await environment.get_documents(handler, sick.aggregate_id, well.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert found[well.aggregate_id]["seen"] == [1, 2, 3, 4]
        poison, *waiting = await environment.dead_letters.list_dead_letters(handler.collection)
        assert (poison.state, poison.attempts) == (DeadLetterState.POISON, 1)
        assert "13" not in str(poison.error).partition(" at ")[0]
        assert [each.state for each in waiting] == [DeadLetterState.WAITING] * 2

    async def test_retry_processes_the_dead_letters_of_a_stream_in_order(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.rejected = {13}
        await environment.append(to_stored(sick, open_and_sell(1, 13, 2, 3)))
        worker = environment.worker(handler)
        await worker.drain()
        poison, *_ = await environment.dead_letters.list_dead_letters(handler.collection)

        # The first retry fails again.
        await environment.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()
        again, *_ = await environment.dead_letters.list_dead_letters(handler.collection)
        assert (again.state, again.attempts) == (DeadLetterState.POISON, 2)

        handler.rejected = set()
        await environment.append(to_stored(sick, [ItemSold(cents=4)], after=5))
        await environment.dead_letters.retry(handler.collection, poison.position)
        await worker.drain()

        found = await environment.get_documents(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4, 5, 6]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_discard_of_a_poison_event_releases_its_stream(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.rejected = {13}
        await environment.append(to_stored(sick, open_and_sell(1, 13, 2, 3)))
        worker = environment.worker(handler)
        await worker.drain()
        poison, *_ = await environment.dead_letters.list_dead_letters(handler.collection)

        await environment.dead_letters.discard(handler.collection, poison.position)
        await worker.drain()

        found = await environment.get_documents(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4, 5]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_skipped_poison_event_does_not_block_its_stream(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.rejected = {13}
        await environment.append(to_stored(sick, open_and_sell(1, 13, 2)))

        await environment.worker(handler, on_poison=PoisonEventPolicy.SKIP).drain()

        found = await environment.get_documents(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 4]
        (dead_letter,) = await environment.dead_letters.list_dead_letters(handler.collection)
        assert dead_letter.state is DeadLetterState.SKIPPED

    async def test_projection_with_the_stop_policy_stops_before_a_poison_event(
        self, environment: ProjectionEnvironment
    ) -> None:
        sick, handler = new_till(), Tills()
        handler.rejected = {13}
        await environment.append(to_stored(sick, open_and_sell(1, 13, 2)))

        with pytest.raises(PoisonEventError, match="ItemSold at position") as caught:
            await environment.worker(handler, on_poison=PoisonEventPolicy.STOP).drain()

        found = await environment.get_documents(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2]
        assert caught.value.position == (await environment.position(handler) or 0) + 1
        handler.rejected = set()
        await environment.worker(handler, on_poison=PoisonEventPolicy.STOP).drain()
        found = await environment.get_documents(handler, sick.aggregate_id)
        assert found[sick.aggregate_id]["seen"] == [1, 2, 3, 4]

    async def test_event_with_a_transient_error_is_retried_without_a_dead_letter(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        await environment.append(to_stored(till, open_and_sell(1, 2)))
        # The second policy does not wait between its attempts.
        waiting, at_once = FixedRetryPolicy(max_attempts=3, delay=0.001), RetryPolicy(3)

        handler.failures = 2
        await environment.worker(handler, retry=waiting).drain()
        await environment.append(to_stored(till, [ItemSold(cents=3)], after=3))
        handler.failures = 2
        await environment.worker(handler, retry=at_once).drain()

        found = await environment.get_documents(handler, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == [1, 2, 3, 4]
        assert await environment.dead_letters.list_dead_letters(handler.collection) == []

    async def test_event_whose_document_the_store_rejects_becomes_a_dead_letter(
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
            to_stored(one, open_and_sell(1, 13, 2)), to_stored(other, open_and_sell(1, 2))
        )

        await environment.worker(handler).drain()

        found = await environment.get_documents(handler, one.aggregate_id, other.aggregate_id)
        assert found[one.aggregate_id]["seen"] == [1, 2]
        assert found[other.aggregate_id]["seen"] == [1, 2, 3]
        poison, waiting = await environment.dead_letters.list_dead_letters(handler.collection)
        assert poison.state is DeadLetterState.POISON
        assert waiting.state is DeadLetterState.WAITING

    async def test_started_projection_worker_processes_new_events_until_it_stops(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, tills, days = new_till(), Tills(), Days()
        async with environment.worker(tills, days):
            for version, cents in enumerate(range(1, 11), 1):
                await environment.append(
                    to_stored(till, [ItemSold(cents=cents)], after=version - 1)
                )
            end = await environment.events.latest_position()
            has_caught_up = await environment.positions.wait_until(
                end, [tills.collection, days.collection], timeout=20.0
            )

        assert has_caught_up
        found = await environment.get_documents(tills, till.aggregate_id)
        assert found[till.aggregate_id]["seen"] == list(range(1, 11))
        assert await environment.get_documents(days, "monday") == {
            "monday": {"cents": 55, "count": 10}
        }
        # The worker released its lease, so another worker can claim it at once.
        assert await environment.run(tills, "another").claim()

    async def test_projection_worker_calls_on_change_after_the_commit(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        calls: list[tuple[str, list[str], dict[str, Any]]] = []

        async def on_change(collection: str, ids: Any) -> None:
            calls.append((collection, sorted(ids), await environment.get_documents(handler, *ids)))

        await environment.append(to_stored(till, open_and_sell(5)))
        await environment.worker(handler, on_change=on_change).drain()

        ((collection, ids, found),) = calls
        assert (collection, ids) == ("tills", [till.aggregate_id])
        assert found[till.aggregate_id]["cents"] == 5

    async def test_on_change_runs_in_the_context_of_the_tenant_of_the_events(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler = new_till(), Tills()
        calls: list[tuple[str | None, list[str]]] = []

        async def on_change(collection: str, ids: Any) -> None:
            calls.append((get_tenant_id(), sorted(ids)))

        for tenant in ("red", "blue"):
            with request_context(tenant_id=tenant):
                await environment.append(to_stored(till, open_and_sell(5)))
        await environment.worker(handler, on_change=on_change).drain()

        assert calls == [("blue", [till.aggregate_id]), ("red", [till.aggregate_id])]

    async def test_worker_and_rebuild_keep_documents_and_failures_of_tenants_apart(
        self, environment: ProjectionEnvironment
    ) -> None:
        till, handler, sales = new_till(), Tills(), {"north": (1, 13), "south": (2, 3)}
        handler.rejected = {13}
        for tenant, cents in sales.items():
            with request_context(tenant_id=tenant):
                await environment.append(to_stored(till, open_and_sell(*cents)))

        async def read_sums() -> list[int]:
            sums = []
            for tenant in sales:
                with request_context(tenant_id=tenant):
                    found = await environment.get_documents(handler, till.aggregate_id)
                sums.append(found[till.aggregate_id]["cents"])
            return sums

        with request_context(tenant_id="south"):
            await environment.worker(handler).drain()
            assert await environment.dead_letters.list_dead_letters() == []
        assert await read_sums() == [1, 5]
        with request_context(tenant_id="north"):
            (dead_letter,) = await environment.dead_letters.list_dead_letters()
            await environment.append(to_stored(till, open_and_sell(5)[1:], after=3))
            await environment.worker(handler).drain()
        assert dead_letter.tenant_id == "north"
        assert await read_sums() == [1, 5]
        handler.rejected = set()
        with request_context(tenant_id="south"):
            await environment.rebuild(handler).run()
        assert await read_sums() == [19, 5]

    async def test_live_rebuilt_and_worker_written_documents_are_equal(
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
            await environment.append(to_stored(stream, events, after=at[stream]))
            at[stream] += len(events)
            if chance.random() < 0.5:
                await worker.drain()
        await worker.drain()
        followed = [
            await environment.get_documents(tills, *(each.aggregate_id for each in streams)),
            await environment.get_documents(days, "monday", "tuesday", "sunday"),
        ]

        for each in (tills, days):
            await environment.rebuild(each, batch=11).run()
        rebuilt = [
            await environment.get_documents(tills, *(each.aggregate_id for each in streams)),
            await environment.get_documents(days, "monday", "tuesday", "sunday"),
        ]
        live = [
            await LiveProjection(tills, environment.events).get_all(),
            await LiveProjection(days, environment.events).get_all(),
        ]

        assert followed == rebuilt == live
        one = streams[0].aggregate_id
        assert await LiveProjection(tills, environment.events).get(one) == live[0].get(one)
