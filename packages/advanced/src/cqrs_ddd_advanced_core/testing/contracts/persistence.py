"""Contract of persistence dispatchers, with and without a cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.testing.assertions import raises
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel, new_parcel_id
from cqrs_ddd_core.testing.contracts.repository import Options, Where
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...ports.persistence import Criteria, IPersistenceDispatcher
from .parcel_registry import (
    REJECTED,
    ParcelLabel,
    ParcelSummary,
    fetch_summaries,
    load_parcel,
    read_parcel,
    run_in_new_context,
    store_parcel,
)

NewUnitOfWork = Callable[[], UnitOfWork]


class PersistenceDispatcherContract:
    """Contract of ``IPersistenceDispatcher``.

    Your test class provides these fixtures: ``dispatcher``, the dispatcher under test, built from
    a ``parcel_registry`` of your handlers; ``new_uow``, a callable that returns a new unit of work;
    ``where`` and ``options``, which build specifications and query options, for the searches.
    """

    async def test_applied_aggregate_is_found_as_an_aggregate_and_as_every_result_type(
        self, dispatcher: IPersistenceDispatcher
    ) -> None:
        parcel = make_parcel()
        parcel.weigh(5)

        applied_id = await dispatcher.apply(parcel)

        assert applied_id == parcel.id
        found = await load_parcel(dispatcher, parcel.id)
        assert found == parcel
        assert (found.version, found.pending_events) == (2, ())
        assert await fetch_summaries(dispatcher, [parcel.id]) == [
            ParcelSummary(id=parcel.id, owner="anna", grams=5)
        ]
        labels = await (await dispatcher.fetch(ParcelLabel, [parcel.id]))
        assert labels == [ParcelLabel(parcel.id, "anna: 5")]

    async def test_caller_reads_its_own_change_at_once_in_the_aggregate_and_all_results(
        self, dispatcher: IPersistenceDispatcher
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=0)

        for grams in range(1, 4):
            await read_parcel(dispatcher, parcel.id)
            found = await load_parcel(dispatcher, parcel.id)
            found.weigh(grams)
            await dispatcher.apply(found)

            assert await read_parcel(dispatcher, parcel.id) == (grams, grams, f"anna: {grams}")

    async def test_applied_change_is_visible_to_other_callers_only_after_the_commit(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=0)
        before = await read_parcel(dispatcher, parcel.id)

        async with new_uow() as uow:
            (found,) = await dispatcher.fetch_domain(Parcel, [parcel.id], uow=uow)
            found.weigh(7)
            await dispatcher.apply(found, uow=uow)
            own = await read_parcel(dispatcher, parcel.id, uow)
            of_others = await run_in_new_context(read_parcel(dispatcher, parcel.id))
            # The read of the other request may have filled a cache by now.
            assert await read_parcel(dispatcher, parcel.id, uow) == own
        after = await read_parcel(dispatcher, parcel.id)

        assert of_others == before == (0, 0, "anna: 0")
        assert own == after == (7, 7, "anna: 7")

    async def test_rolled_back_change_of_an_aggregate_is_never_fetched(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=0)
        (found,) = await dispatcher.fetch_domain(Parcel, [parcel.id])
        found.weigh(7)

        async with new_uow() as uow:
            await dispatcher.apply(found, uow=uow)
            await read_parcel(dispatcher, parcel.id, uow)
            await uow.rollback()

        assert (found.version, len(found.pending_events)) == (2, 1)
        assert await read_parcel(dispatcher, parcel.id) == (0, 0, "anna: 0")

    async def test_persistence_dispatcher_joins_the_open_unit_of_work(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        parcel = make_parcel()

        async with new_uow() as uow:
            await dispatcher.apply(parcel)
            assert await read_parcel(dispatcher, parcel.id) == (None, None, "anna: None")
            await uow.rollback()

        assert await dispatcher.fetch_domain(Parcel, [parcel.id]) == []
        assert await fetch_summaries(dispatcher, [parcel.id]) == []

    async def test_commit_fails_if_a_fetched_aggregate_has_events_that_were_not_applied(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(dispatcher)
        await read_parcel(dispatcher, parcel.id)

        with raises(errors.InvalidOperationError):
            async with new_uow() as uow:
                (found,) = await dispatcher.fetch_domain(Parcel, [parcel.id], uow=uow)
                found.weigh(1)

    async def test_all_operation_handlers_of_an_aggregate_type_share_one_unit_of_work(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        alone, in_uow = make_parcel(note=REJECTED), make_parcel(note=REJECTED)

        with raises(errors.BusinessRuleError):
            await dispatcher.apply(alone)
        with raises(errors.BusinessRuleError):
            async with new_uow() as uow:
                await dispatcher.apply(in_uow, uow=uow)

        assert await dispatcher.fetch_domain(Parcel, [alone.id, in_uow.id]) == []
        assert alone.version == 0

    async def test_fetch_by_ids_returns_each_object_once_in_the_order_of_the_ids(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        one, two, three = [await store_parcel(dispatcher) for _ in range(3)]
        await read_parcel(dispatcher, two.id)  # So that a cache holds only a part of them.
        asked = [three.id, two.id, new_parcel_id(), three.id, one.id, two.id]
        expected = [three.id, two.id, one.id]

        for _ in range(2):
            assert [p.id for p in await dispatcher.fetch_domain(Parcel, asked)] == expected
            assert [s.id for s in await fetch_summaries(dispatcher, asked)] == expected
            labels = await (await dispatcher.fetch(ParcelLabel, asked))
            assert [label.parcel_id for label in labels] == expected
        async with new_uow() as uow:
            assert [p.id for p in await dispatcher.fetch_domain(Parcel, asked, uow)] == expected

    async def test_fetch_without_ids_returns_an_empty_list(
        self, dispatcher: IPersistenceDispatcher
    ) -> None:
        assert await dispatcher.fetch_domain(Parcel, []) == []
        assert await fetch_summaries(dispatcher, []) == []

    async def test_every_fetch_returns_independent_copies(
        self, dispatcher: IPersistenceDispatcher
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=1)

        for _ in range(3):
            found = await load_parcel(dispatcher, parcel.id)
            (summary,) = await fetch_summaries(dispatcher, [parcel.id])
            assert (found.grams, summary.grams) == (1, 1)
            found.grams = summary.grams = 2

    async def test_repeated_search_finds_every_committed_aggregate(
        self, dispatcher: IPersistenceDispatcher, where: Where, options: Options
    ) -> None:
        owner = f"owner of {new_parcel_id()}"
        mine: ISpecification = where("owner", "=", owner)
        page: Any = options(mine, ordering=("-grams",), limit=2)

        for grams in range(1, 4):
            await store_parcel(dispatcher, owner, grams=grams)

            found = await (await dispatcher.fetch(ParcelSummary, mine))
            first = await (await dispatcher.fetch(ParcelSummary, page))

            assert sorted(s.grams or 0 for s in found) == list(range(1, grams + 1))
            assert [s.grams for s in first] == [grams, grams - 1][: min(grams, 2)]

    async def test_search_result_can_be_streamed_only_within_a_unit_of_work(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        owner = f"owner of {new_parcel_id()}"
        ids = [(await store_parcel(dispatcher, owner)).id for _ in range(5)]
        mine: Any = where("owner", "=", owner)

        async with new_uow() as uow:
            for criteria in (ids, mine):
                for given in (uow, None):
                    result = await dispatcher.fetch(ParcelSummary, criteria, uow=given)
                    streamed = [s.id async for s in result.stream(batch_size=2)]
                    assert sorted(streamed) == sorted(ids)

        for criteria in (ids, mine):
            result = await dispatcher.fetch(ParcelSummary, criteria)
            with raises(errors.InvalidOperationError) as caught:
                async for _ in result.stream():
                    pass
            assert "uow=uow" in str(caught.error)
            assert len(await result) == 5

    async def test_result_reads_first_item_only_item_and_count_with_and_without_a_unit_of_work(
        self,
        dispatcher: IPersistenceDispatcher,
        new_uow: NewUnitOfWork,
        where: Where,
        options: Options,
    ) -> None:
        owner = f"owner of {new_parcel_id()}"
        ids = [(await store_parcel(dispatcher, owner, grams=grams)).id for grams in range(1, 4)]
        mine: Any = where("owner", "=", owner)
        heaviest: Any = options(mine, ordering=("-grams",))

        async def read(uow: UnitOfWork | None) -> list[object]:
            by_id = await dispatcher.fetch(ParcelSummary, [new_parcel_id(), *ids], uow)
            searched = await dispatcher.fetch(ParcelSummary, heaviest, uow)
            only = await dispatcher.fetch(ParcelSummary, where("id", "=", ids[0]), uow)
            firsts = [await by_id.first(), await searched.first(), await only.one()]
            with raises(errors.MultipleResultsError):
                await searched.one()
            counts = [await result.count() for result in (by_id, searched, only)]
            return [*(each and each.grams for each in firsts), *counts, len(await by_id.take(2))]

        async with new_uow() as uow:
            in_uow = await read(uow)
            joined = await read(None)

        assert in_uow == joined == await read(None) == [1, 3, 1, 3, 3, 1, 2]

    async def test_tenant_never_receives_results_that_another_tenant_fetched(
        self, dispatcher: IPersistenceDispatcher, where: Where, new_uow: NewUnitOfWork
    ) -> None:
        with request_context(tenant_id="north"):
            parcel = await store_parcel(dispatcher, "north")
            same_parcel: Any = where("id", "=", parcel.id)
            result_of_north = await dispatcher.fetch(ParcelSummary, [parcel.id])

        for _ in range(2):
            for tenant, count in (("north", 1), ("south", 0)):
                with request_context(tenant_id=tenant):
                    assert len(await dispatcher.fetch_domain(Parcel, [parcel.id])) == count
                    assert len(await fetch_summaries(dispatcher, [parcel.id])) == count
                    assert len(await (await dispatcher.fetch(ParcelSummary, same_parcel))) == count
                    async with new_uow() as uow:
                        assert len(await fetch_summaries(dispatcher, [parcel.id], uow)) == count

        with request_context(tenant_id="south"):
            assert len(await result_of_north) == 1

    async def test_error_for_an_unregistered_type_names_the_registration_call(
        self, dispatcher: IPersistenceDispatcher, where: Where
    ) -> None:
        class Unknown(Parcel):
            pass

        anything: Any = where("owner", "=", "anna")
        unknown: Any = Unknown(id="u-1", owner="anna")
        for call, work in (
            ("register_operation(Unknown", lambda: dispatcher.apply(unknown)),
            ("register_retrieval(Unknown", lambda: dispatcher.fetch_domain(Unknown, ["u-1"])),
            ("register_query(Unknown", lambda: dispatcher.fetch(Unknown, ["u-1"])),
            ("register_query_spec(Unknown", lambda: dispatcher.fetch(Unknown, anything)),
        ):
            with raises(errors.HandlerNotRegisteredError) as caught:
                await work()
            assert call in str(caught.error)
            assert caught.error.message_type == "Unknown"

    async def test_persistence_dispatcher_rejects_arguments_of_wrong_types(
        self, dispatcher: IPersistenceDispatcher
    ) -> None:
        parcel = await store_parcel(dispatcher)
        wrong: list[Any] = [parcel.id, 7, None, {parcel.id: 1}, [[parcel.id]]]
        for ids in wrong:
            with raises(errors.InvalidOperationError):
                await dispatcher.fetch_domain(Parcel, ids)
            with raises(errors.InvalidOperationError):
                await (await dispatcher.fetch(ParcelSummary, ids))
        not_an_aggregate: Any = "parcel"
        with raises(errors.HandlerNotRegisteredError):
            await dispatcher.apply(not_an_aggregate)
        not_a_uow: Any = "uow"
        with raises(errors.InvalidOperationError):
            await dispatcher.apply(parcel, not_a_uow)
        with raises(errors.InvalidOperationError):
            await dispatcher.fetch_domain(Parcel, [parcel.id], not_a_uow)
        with raises(errors.InvalidOperationError):
            await dispatcher.fetch(ParcelSummary, [parcel.id], not_a_uow)

    async def test_persistence_dispatcher_rejects_a_unit_of_work_that_has_ended(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        parcel = await store_parcel(dispatcher)
        await read_parcel(dispatcher, parcel.id)
        async with new_uow() as uow:
            pass

        with raises(errors.InvalidOperationError):
            await dispatcher.fetch_domain(Parcel, [parcel.id], uow)
        with raises(errors.InvalidOperationError):
            await fetch_summaries(dispatcher, [parcel.id], uow)
        with raises(errors.InvalidOperationError):
            await dispatcher.apply(parcel, uow)

    async def test_search_result_cannot_be_read_after_its_unit_of_work_has_ended(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork, where: Where
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=1)
        criteria: list[Criteria] = [[parcel.id], where("owner", "=", parcel.owner)]

        for each in criteria:
            async with new_uow() as uow:
                given = await dispatcher.fetch(ParcelSummary, each, uow)
                joined = await dispatcher.fetch(ParcelSummary, each)
                assert len(await given) == len(await joined) == 1
            for result in (given, joined):
                for read in (result.all, result.first, result.count):
                    with raises(errors.InvalidOperationError):
                        await read()
                with raises(errors.InvalidOperationError):
                    async for _ in result.stream():
                        break

    async def test_cancelled_apply_changes_the_aggregate_and_all_results_or_nothing(
        self, dispatcher: IPersistenceDispatcher, where: Where
    ) -> None:
        parcel = await store_parcel(dispatcher, grams=0)
        stored: Any = where("id", "=", parcel.id)

        async def work() -> None:
            found = await load_parcel(dispatcher, parcel.id)
            found.weigh((found.grams or 0) + 1)
            await dispatcher.apply(found)

        async def check() -> None:
            (summary,) = await (await dispatcher.fetch(ParcelSummary, stored))
            grams = summary.grams
            assert await read_parcel(dispatcher, parcel.id) == (grams, grams, f"anna: {grams}")
            assert await read_parcel(dispatcher, parcel.id) == (grams, grams, f"anna: {grams}")

        assert await cancel_sweep(work, check) > 0

    async def test_caller_reads_its_own_changes_while_others_change_the_same_aggregates(
        self, dispatcher: IPersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        seed = 20261121
        ids = [(await store_parcel(dispatcher, grams=1)).id for _ in range(2)]

        async def change_and_read(random: Random) -> None:
            for _ in range(6):
                parcel_id = random.choice(ids)
                mine = await change(parcel_id, random)
                for _ in range(random.randrange(3)):
                    await asyncio.sleep(0)
                state, summary, label = await read_parcel(dispatcher, parcel_id)
                assert min(state or 0, summary or 0, int(label.split()[1])) >= mine, f"seed {seed}"

        async def change(parcel_id: str, random: Random) -> int:
            while True:
                found = await load_parcel(dispatcher, parcel_id)
                mine = found.version + 1
                found.weigh(mine)
                try:
                    if random.random() < 0.5:
                        await dispatcher.apply(found)
                    else:
                        async with new_uow() as uow:
                            await dispatcher.apply(found, uow)
                    return mine
                except errors.OptimisticConcurrencyError:
                    for _ in range(random.randrange(20)):
                        await asyncio.sleep(0)

        await asyncio.gather(*(change_and_read(Random(seed + each)) for each in range(8)))
