"""Tests of event sourcing over the fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemorySnapshotStore
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.testing.contracts.snapshots import SnapshotStoreContract
from cqrs_ddd_advanced_core.testing.contracts.tenancy import EventSourcingTenancyContract
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from tests.advanced.event_sourced_parcels import EventSourcedRepositoryContract
from tests.advanced.event_sourcing_kit import EventSourcingKit


@pytest.fixture
def event_store() -> InMemoryEventStore:
    return InMemoryEventStore()


@pytest.fixture
def new_uow(event_store: InMemoryEventStore) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(event_store=event_store)


@pytest.fixture
def new_read_only_uow(event_store: InMemoryEventStore) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(event_store=event_store, read_only=True)


@pytest.fixture
def snapshots() -> InMemorySnapshotStore:
    return InMemorySnapshotStore()


@pytest.fixture
def parcels(event_store: InMemoryEventStore) -> EventSourcedRepository[Parcel, str]:
    return EventSourcedRepository(Parcel, event_store=event_store)


class TestInMemorySnapshotStore(SnapshotStoreContract):
    pass


class TestEventSourcedRepository(EventSourcedRepositoryContract):
    pass


class TestEventSourcing(EventSourcingKit):
    pass


class TestEventSourcingTenancy(EventSourcingTenancyContract):
    pass
