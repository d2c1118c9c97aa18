"""Naive dispatchers, and the sentence of the contract that each of them breaks."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any

import pytest

from cqrs_ddd_advanced_core.persistence import CachingPersistenceDispatcher, PersistenceDispatcher
from cqrs_ddd_advanced_core.persistence.registry import RETRIEVAL
from cqrs_ddd_advanced_core.persistence.request_binding import current_uow
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core import AggregateRoot, SearchResult, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryCacheService, InMemoryUnitOfWork
from cqrs_ddd_core.spi.caching import aggregate_codec
from cqrs_ddd_core.spi.caching.read_through import ReadThrough
from tests.advanced.parcels import CountedParcels, in_memory_dispatcher
from tests.core.conftest import Equals, QueryOptions


class ChainInPieces(PersistenceDispatcher):
    """Each handler in a unit of work of its own."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        answers = []
        for registration in self._registry.find_operations(type(entity)):
            async with InMemoryUnitOfWork() as own:
                answers.append(await self._persist((registration,), entity, own, events))
        return answers[0]


class AnswersTheLast(PersistenceDispatcher):
    """The id of whichever handler came last."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        await super().apply(entity, uow, events)
        return "the answer of the second handler"


class AsksAsItIsAsked(PersistenceDispatcher):
    """Hands on the ids, and the answer in the handler's order."""

    async def fetch_domain(
        self, entity_type: Any, ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[Any]:
        handler = self._handler(self._registry.find(RETRIEVAL, entity_type))
        async with InMemoryUnitOfWork() as own:
            return list(await handler.retrieve(ids, current_uow(uow) or own))


class WorksAlone(PersistenceDispatcher):
    """Joins only what it is given."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        async with InMemoryUnitOfWork() as own:
            return await super().apply(entity, uow or own, events)


class StreamsWhatItHolds(PersistenceDispatcher):
    """Has all of it in memory, and calls that a stream."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        return SearchResult.from_items(await (await super().fetch(result_type, criteria, uow)))


class ForWhoeverAwaits(PersistenceDispatcher):
    """A result takes the tenant of the request that happens to run."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        ask = super().fetch

        async def fetch() -> list[Any]:
            return await (await ask(result_type, criteria, uow))

        async def stream(batch_size: int) -> AsyncIterator[Any]:
            async for each in (await ask(result_type, criteria, uow)).stream(batch_size):
                yield each

        return SearchResult(fetch, stream)


class FillsWithinTheUnitOfWork(CachingPersistenceDispatcher):
    """What its own transaction has not committed is cached too."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        form: Any = self._codec_of(type_)
        return list(await self._values.get_values(form, ids, load, id_of))


class ReadsItsOwnFromTheCache(CachingPersistenceDispatcher):
    """Others may have filled it before the commit."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        form: Any = self._codec_of(type_)
        return list(await self._values.get_values(form, ids, load, id_of, fills=current is None))


class DropsBeforeTheCommit(CachingPersistenceDispatcher):
    """At once, as if nobody could ask in between."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        forms = ((self._codec_of(type_), each) for type_, each in self._list_affected(entity))
        await self._values.drop([form.key(each) for form, each in forms if form])
        return await self._inner.apply(entity, uow, events)


class DropsTheAggregateOnly(CachingPersistenceDispatcher):
    """Read models under the same id stay."""

    def _list_affected(self, entity: object) -> Any:
        assert isinstance(entity, AggregateRoot)
        yield type(entity), entity.id


class DropsInTheCallersTask(CachingPersistenceDispatcher):
    """A cancellation leaves what is stored and what is cached apart."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        forms = ((self._codec_of(type_), each) for type_, each in self._list_affected(entity))
        try:
            return await self._inner.apply(entity, uow, events)
        finally:
            await self._values.drop([form.key(each) for form, each in forms if form])


class TellsNobody(CachingPersistenceDispatcher):
    """A unit of work does not know what it got from the cache."""

    async def fetch_domain(
        self, entity_type: Any, ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[Any]:
        async def load(ids: list[Any]) -> list[Any]:
            return await self._inner.fetch_domain(entity_type, ids, uow)

        return await self._read(
            entity_type, list(ids), load, lambda each: each.id, current_uow(uow)
        )


class CachesSearches(CachingPersistenceDispatcher):
    """By what the criteria look like."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        if isinstance(criteria, list):
            return await super().fetch(result_type, criteria, uow)
        self.searches: dict[str, list[Any]] = getattr(self, "searches", {})
        if repr(criteria) not in self.searches:
            found = await (await super().fetch(result_type, criteria, uow))
            self.searches[repr(criteria)] = found
        return SearchResult.from_items(self.searches[repr(criteria)])


class HandsOutOneObject(CachingPersistenceDispatcher):
    """The same to everybody."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        self.held: dict[Any, list[Any]] = getattr(self, "held", {})
        key = (type_, *ids)
        if key not in self.held:
            self.held[key] = await super()._read(type_, ids, load, id_of, current)
        return self.held[key]


class WithoutTenant(CachingPersistenceDispatcher):
    """Keys that all tenants share."""


class FillsAnyway(CachingPersistenceDispatcher):
    """A load that raced a change is kept."""

    class Cache(InMemoryCacheService):
        async def fill_many(
            self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
        ) -> Collection[str]:
            for key, value in values.items():
                await self.set(key, value, ttl)
            return list(values)

    def __init__(self, inner: Any, cache_service: Any) -> None:
        super().__init__(inner, self.Cache())


class TakesAnyFlight(CachingPersistenceDispatcher):
    """Waits for whatever load is under way, also one that began before the own change."""

    class Flights(ReadThrough):
        async def drop(self, keys: Iterable[str]) -> None:
            await self._cache.drop(list(keys))

        async def _load_together(
            self, form: Any, missing: list[Any], load: Any, id_of: Any
        ) -> list[Any]:
            found: list[Any] = []
            for each in missing:
                flight = self._flights.get(form.key(each))
                if flight is None:
                    found += await self._lead(form, [each], load, id_of)
                else:
                    landed: Any = await flight
                    found.append(form.decode(landed.state))
            return found

    def __init__(self, inner: Any, cache_service: Any) -> None:
        super().__init__(inner, cache_service)
        self._values = self.Flights(self._values._cache)


@dataclass(frozen=True)
class Breaks:
    mutant: type[Any]
    test: Callable[..., Awaitable[None]]
    error: type[BaseException] = AssertionError


KIT = PersistenceDispatcherContract()
MUTANTS: Collection[Breaks] = (
    Breaks(ChainInPieces, KIT.test_all_persistence_handlers_of_a_type_share_one_unit_of_work),
    Breaks(
        AnswersTheLast, KIT.test_applied_aggregate_is_found_as_an_aggregate_and_as_every_result_type
    ),
    Breaks(AsksAsItIsAsked, KIT.test_fetch_by_ids_returns_each_object_once_in_the_order_of_the_ids),
    Breaks(WorksAlone, KIT.test_persistence_dispatcher_joins_the_open_unit_of_work),
    Breaks(StreamsWhatItHolds, KIT.test_search_result_can_be_streamed_only_within_a_unit_of_work),
    Breaks(
        StreamsWhatItHolds, KIT.test_search_result_cannot_be_read_after_its_unit_of_work_has_ended
    ),
    Breaks(ForWhoeverAwaits, KIT.test_tenant_never_receives_results_that_another_tenant_fetched),
    Breaks(FillsWithinTheUnitOfWork, KIT.test_rolled_back_change_of_an_aggregate_is_never_fetched),
    Breaks(
        ReadsItsOwnFromTheCache,
        KIT.test_applied_change_is_visible_to_other_callers_only_after_the_commit,
    ),
    Breaks(
        DropsBeforeTheCommit,
        KIT.test_applied_change_is_visible_to_other_callers_only_after_the_commit,
    ),
    Breaks(
        DropsTheAggregateOnly,
        KIT.test_caller_reads_its_own_change_at_once_in_the_aggregate_and_all_results,
    ),
    Breaks(
        DropsInTheCallersTask,
        KIT.test_cancelled_apply_changes_the_aggregate_and_all_results_or_nothing,
    ),
    Breaks(
        TellsNobody, KIT.test_commit_fails_if_a_fetched_aggregate_has_events_that_were_not_applied
    ),
    Breaks(
        CachesSearches,
        KIT.test_repeated_search_finds_every_committed_aggregate,
    ),
    Breaks(HandsOutOneObject, KIT.test_every_fetch_returns_independent_copies),
    Breaks(WithoutTenant, KIT.test_tenant_never_receives_results_that_another_tenant_fetched),
    Breaks(
        FillsAnyway, KIT.test_caller_reads_its_own_changes_while_others_change_the_same_aggregates
    ),
    Breaks(
        TakesAnyFlight,
        KIT.test_caller_reads_its_own_changes_while_others_change_the_same_aggregates,
    ),
)


@pytest.mark.parametrize(
    "breaks", MUTANTS, ids=lambda b: f"{b.mutant.__name__}-{b.test.__name__[5:45]}"
)
async def test_the_contract_catches_the_naive_version(
    breaks: Breaks, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcels = CountedParcels()
    if issubclass(breaks.mutant, PersistenceDispatcher):
        dispatcher: Any = in_memory_dispatcher(parcels, breaks.mutant)
    else:
        dispatcher = breaks.mutant(in_memory_dispatcher(parcels), InMemoryCacheService())
    if breaks.mutant is WithoutTenant:
        monkeypatch.setattr(aggregate_codec, "get_tenant_id", lambda: None)
    fixtures = {
        "dispatcher": dispatcher,
        "new_uow": InMemoryUnitOfWork,
        "where": lambda attribute, operator, value: Equals(attribute, value),
        "options": QueryOptions,
    }
    wanted = inspect.signature(breaks.test).parameters

    with pytest.raises(breaks.error):
        await breaks.test(**{name: fixtures[name] for name in wanted})
