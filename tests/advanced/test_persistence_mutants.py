"""Wrong dispatchers, and the contract test that each of them fails."""

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
from types import SimpleNamespace
from typing import Any

import pytest

from cqrs_ddd_advanced_core.persistence import CachingPersistenceDispatcher, PersistenceDispatcher
from cqrs_ddd_advanced_core.persistence.arguments import current_uow
from cqrs_ddd_advanced_core.persistence.registry import RETRIEVAL
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core import AggregateRoot, SearchResult, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryCacheService, InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory import cache as memory_cache
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.spi.caching import aggregate_codec
from cqrs_ddd_core.spi.caching.read_through import ReadThrough
from tests.advanced.parcels import CountedParcels, in_memory_dispatcher
from tests.core.conftest import Equals, QueryOptions


class SeparateTransactionsDispatcher(PersistenceDispatcher):
    """Dispatcher that runs each handler in a unit of work of its own."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        answers = []
        for registration in self._registry.find_operations(type(entity)):
            async with InMemoryUnitOfWork() as own:
                answers.append(await self._persist((registration,), entity, own, events))
        return answers[0]


class LastResultDispatcher(PersistenceDispatcher):
    """Dispatcher that returns the result of the handler that ran last."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        await super().apply(entity, uow, events)
        return "result of the second handler"


class UnorderedDispatcher(PersistenceDispatcher):
    """Dispatcher that passes duplicate ids on and keeps the order of the handler."""

    async def fetch_domain(
        self, entity_type: Any, ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[Any]:
        handler = self._handler(self._registry.find(RETRIEVAL, entity_type))
        async with InMemoryUnitOfWork() as own:
            return list(await handler.retrieve(ids, current_uow(uow) or own))


class NonJoiningDispatcher(PersistenceDispatcher):
    """Dispatcher that ignores the current unit of work and joins only the argument."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        async with InMemoryUnitOfWork() as own:
            return await super().apply(entity, uow or own, events)


class BufferedStreamDispatcher(PersistenceDispatcher):
    """Dispatcher that loads all results into memory before it streams them."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        return SearchResult.from_items(await (await super().fetch(result_type, criteria, uow)))


class LateTenantDispatcher(PersistenceDispatcher):
    """Dispatcher that evaluates the tenant when a result is awaited, not when it is requested."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        fetch_now = super().fetch

        async def fetch() -> list[Any]:
            return await (await fetch_now(result_type, criteria, uow))

        async def stream(batch_size: int) -> AsyncIterator[Any]:
            async for each in (await fetch_now(result_type, criteria, uow)).stream(batch_size):
                yield each

        return SearchResult(fetch, stream)


class StreamedFirstDispatcher(PersistenceDispatcher):
    """Dispatcher that takes single items from its stream, also where it has none."""

    async def fetch(
        self, result_type: Any, criteria: Any, uow: UnitOfWork | None = None
    ) -> SearchResult[Any]:
        found = await super().fetch(result_type, criteria, uow)
        return SearchResult(found.all, found.stream)


class UncommittedFillDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that caches uncommitted changes of its own transaction."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        form: Any = self._codec_of(type_)
        return list(await self._values.get_values(form, ids, load(current), id_of))


class StaleOwnReadDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that reads its own changes from a cache that others filled before the commit."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        form: Any = self._codec_of(type_)
        return list(
            await self._values.get_values(form, ids, load(current), id_of, fills=current is None)
        )


class EarlyInvalidationDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that invalidates before the commit, so that others can fill the cache again."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        forms = ((self._codec_of(type_), each) for type_, each in self._list_affected(entity))
        await self._values.drop([form.key(each) for form, each in forms if form])
        return await self._inner.apply(entity, uow, events)


class AggregateOnlyInvalidationDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that leaves query results under the same id in the cache."""

    def _list_affected(self, entity: object) -> Any:
        assert isinstance(entity, AggregateRoot)
        yield type(entity), entity.id


class CancellableInvalidationDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that invalidates in the task of the caller, where it can be cancelled."""

    async def apply(
        self, entity: Any, uow: UnitOfWork | None = None, events: list[Any] | None = None
    ) -> Any:
        forms = ((self._codec_of(type_), each) for type_, each in self._list_affected(entity))
        try:
            return await self._inner.apply(entity, uow, events)
        finally:
            await self._values.drop([form.key(each) for form, each in forms if form])


class UntrackedAggregatesDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that does not track aggregates from the cache in the unit of work."""

    async def fetch_domain(
        self, entity_type: Any, ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[Any]:
        def load(active: UnitOfWork | None) -> Any:
            return lambda ids: self._inner.fetch_domain(entity_type, ids, active)

        return await self._read(
            entity_type, list(ids), load, lambda each: each.id, current_uow(uow)
        )


class SearchCachingDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that caches searches by the text of their criteria."""

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


class SharedObjectDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that returns the same object to every caller."""

    async def _read(
        self, type_: Any, ids: list[Any], load: Any, id_of: Any, current: UnitOfWork | None
    ) -> list[Any]:
        self.held: dict[Any, list[Any]] = getattr(self, "held", {})
        key = (type_, *ids)
        if key not in self.held:
            self.held[key] = await super()._read(type_, ids, load, id_of, current)
        return self.held[key]


class SharedTenantKeysDispatcher(CachingPersistenceDispatcher):
    """Dispatcher with cache keys that do not contain the tenant."""


class UnguardedFillDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that caches a load although a change raced it."""

    class Cache(InMemoryCacheService):
        async def fill_many(
            self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
        ) -> Collection[str]:
            for key, value in values.items():
                await self.set(key, value, ttl)
            return list(values)

    def __init__(self, inner: Any, cache_service: Any) -> None:
        super().__init__(inner, self.Cache())


class AnyFlightDispatcher(CachingPersistenceDispatcher):
    """Dispatcher that joins any load under way, even if it began before the caller's change."""

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
class Mutant:
    dispatcher: type[Any]
    test: Callable[..., Awaitable[None]]
    error: type[BaseException] = AssertionError


KIT = PersistenceDispatcherContract()
MUTANTS: Collection[Mutant] = (
    Mutant(
        SeparateTransactionsDispatcher,
        KIT.test_all_operation_handlers_of_an_aggregate_type_share_one_unit_of_work,
    ),
    Mutant(
        LastResultDispatcher,
        KIT.test_applied_aggregate_is_found_as_an_aggregate_and_as_every_result_type,
    ),
    Mutant(
        UnorderedDispatcher, KIT.test_fetch_by_ids_returns_each_object_once_in_the_order_of_the_ids
    ),
    Mutant(NonJoiningDispatcher, KIT.test_persistence_dispatcher_joins_the_open_unit_of_work),
    Mutant(
        BufferedStreamDispatcher, KIT.test_search_result_can_be_streamed_only_within_a_unit_of_work
    ),
    Mutant(
        BufferedStreamDispatcher,
        KIT.test_search_result_cannot_be_read_after_its_unit_of_work_has_ended,
    ),
    Mutant(
        StreamedFirstDispatcher,
        KIT.test_result_reads_first_item_only_item_and_count_with_and_without_a_unit_of_work,
        InvalidOperationError,
    ),
    Mutant(
        LateTenantDispatcher, KIT.test_tenant_never_receives_results_that_another_tenant_fetched
    ),
    Mutant(UncommittedFillDispatcher, KIT.test_rolled_back_change_of_an_aggregate_is_never_fetched),
    Mutant(
        StaleOwnReadDispatcher,
        KIT.test_applied_change_is_visible_to_other_callers_only_after_the_commit,
    ),
    Mutant(
        EarlyInvalidationDispatcher,
        KIT.test_applied_change_is_visible_to_other_callers_only_after_the_commit,
    ),
    Mutant(
        AggregateOnlyInvalidationDispatcher,
        KIT.test_caller_reads_its_own_change_at_once_in_the_aggregate_and_all_results,
    ),
    Mutant(
        CancellableInvalidationDispatcher,
        KIT.test_cancelled_apply_changes_the_aggregate_and_all_results_or_nothing,
    ),
    Mutant(
        UntrackedAggregatesDispatcher,
        KIT.test_commit_fails_if_a_fetched_aggregate_has_events_that_were_not_applied,
    ),
    Mutant(
        SearchCachingDispatcher,
        KIT.test_repeated_search_finds_every_committed_aggregate,
    ),
    Mutant(SharedObjectDispatcher, KIT.test_every_fetch_returns_independent_copies),
    Mutant(
        SharedTenantKeysDispatcher,
        KIT.test_tenant_never_receives_results_that_another_tenant_fetched,
    ),
    Mutant(
        UnguardedFillDispatcher,
        KIT.test_caller_reads_its_own_changes_while_others_change_the_same_aggregates,
    ),
    Mutant(
        AnyFlightDispatcher,
        KIT.test_caller_reads_its_own_changes_while_others_change_the_same_aggregates,
    ),
)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda b: f"{b.dispatcher.__name__}-{b.test.__name__[5:45]}"
)
async def test_persistence_dispatcher_contract_catches_each_wrong_dispatcher(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcels = CountedParcels()
    if issubclass(mutant.dispatcher, PersistenceDispatcher):
        dispatcher: Any = in_memory_dispatcher(parcels, mutant.dispatcher)
    else:
        dispatcher = mutant.dispatcher(in_memory_dispatcher(parcels), InMemoryCacheService())
    if mutant.dispatcher is SharedTenantKeysDispatcher:
        monkeypatch.setattr(aggregate_codec, "get_row_tenant", lambda operation: "")
        monkeypatch.setattr(
            memory_cache, "tenancy", SimpleNamespace(get_row_tenant=lambda operation: "")
        )
    fixtures = {
        "dispatcher": dispatcher,
        "new_uow": InMemoryUnitOfWork,
        "where": lambda attribute, operator, value: Equals(attribute, value),
        "options": QueryOptions,
    }
    wanted = inspect.signature(mutant.test).parameters

    with pytest.raises(mutant.error):
        await mutant.test(**{name: fixtures[name] for name in wanted})
