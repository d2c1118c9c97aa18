"""Tests of a dispatcher with handlers that store events, and rows for the query results."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_advanced_core import (
    CachingPersistenceDispatcher,
    IOperationPersistence,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.testing.contracts.parcel_registry import (
    RejectingPersistence,
    parcel_registry,
    visible_owner,
)
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryEventStore,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.testing.contracts.parcel import Parcel, make_parcel
from cqrs_ddd_core.testing.contracts.repository import Options, Where
from tests.advanced.parcels import CountedParcels, Handler, LabelQuery, SummaryQuery, SummarySearch
from tests.core.conftest import Equals, QueryOptions

NewUnitOfWork = Callable[[], InMemoryUnitOfWork]


class ParcelEvents(EventSourcedRepository[Parcel, str]):
    async def list_all(
        self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
    ) -> list[Parcel]:
        return filter_visible(await super().list_all(entity_ids, uow))

    async def retrieve(self, ids: object, uow: UnitOfWork) -> list[Parcel]:
        return filter_visible(await super().retrieve(ids, uow))  # type: ignore[arg-type]


def filter_visible(parcels: list[Parcel]) -> list[Parcel]:
    owner = visible_owner()
    return [each for each in parcels if owner in (None, each.owner)]


class ParcelRows(Handler, IOperationPersistence[Parcel, str]):
    """Handler that writes the rows of the query results in the transaction of the events."""

    async def persist(self, entity: Parcel, uow: UnitOfWork) -> str:
        await self._parcels.add(entity, uow)
        return "ignored result"


@pytest.fixture
def new_uow() -> NewUnitOfWork:
    store = InMemoryEventStore()
    return lambda: InMemoryUnitOfWork(event_store=store)


@pytest.fixture
def registry() -> PersistenceRegistry:
    registry = parcel_registry(
        operation=ParcelEvents,
        retrieval=ParcelEvents,
        query=SummaryQuery,
        query_spec=SummarySearch,
        labels=LabelQuery,
    )
    registry.register_operation(Parcel, ParcelRows, priority=-5)
    return registry


@pytest.fixture
def plain(registry: PersistenceRegistry, new_uow: NewUnitOfWork) -> PersistenceDispatcher:
    parcels = CountedParcels()

    def create(cls: type) -> object:
        return cls() if cls in (ParcelEvents, RejectingPersistence) else cls(parcels)

    return PersistenceDispatcher({"default": new_uow}, registry, handler_factory=create)


@pytest.fixture
def dispatcher(plain: PersistenceDispatcher) -> PersistenceDispatcher:
    return plain


@pytest.fixture
def where() -> Where:
    return lambda attribute, operator, value: Equals(attribute, value)


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestEventSourcedDispatcher(PersistenceDispatcherContract):
    pass


class TestCachedEventSourcedDispatcher(PersistenceDispatcherContract):
    @pytest.fixture
    def dispatcher(self, plain: PersistenceDispatcher) -> CachingPersistenceDispatcher:
        return CachingPersistenceDispatcher(plain, InMemoryCacheService())


async def test_apply_stores_events_that_were_collected_before(
    plain: PersistenceDispatcher, new_uow: NewUnitOfWork
) -> None:
    parcel = make_parcel()
    parcel.weigh(3)
    collected = list(parcel.collect_events())

    async with new_uow() as uow:
        await plain.apply(parcel, uow=uow, events=collected)

    (found,) = await plain.fetch_domain(Parcel, [parcel.id])
    assert (found.grams, found.version) == (3, 2)


async def test_event_sourced_repository_can_be_registered_without_a_subclass(
    new_uow: NewUnitOfWork,
) -> None:
    registry = PersistenceRegistry()
    registry.register_operation(Parcel, EventSourcedRepository[Parcel, str])
    registry.register_retrieval(Parcel, EventSourcedRepository[Parcel, str])
    dispatcher = PersistenceDispatcher({"default": new_uow}, registry)
    parcel = make_parcel()

    await dispatcher.apply(parcel)

    (found,) = await dispatcher.fetch_domain(Parcel, [parcel.id])
    assert found == parcel
