"""Contracts of the in-memory adapters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryBlobStorage,
    InMemoryEventStore,
    InMemoryHeartbeatStore,
    InMemoryInbox,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.testing.contracts.blob_storage import BlobStorageContract
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.event_store import EventStoreContract
from cqrs_ddd_core.testing.contracts.heartbeats import HeartbeatStoreContract, make_heartbeat
from cqrs_ddd_core.testing.contracts.inbox import InboxContract
from cqrs_ddd_core.testing.contracts.messaging import Deliver, MessagingContract
from cqrs_ddd_core.testing.contracts.outbox import OutboxContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.queue_signal import QueueSignalContract
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract
from cqrs_ddd_core.testing.contracts.unit_of_work import (
    ReadOnlyStoresContract,
    ReadOnlyUnitOfWorkContract,
    UnitOfWorkContract,
)


@pytest.fixture
def parcels() -> InMemoryRepository[Parcel, str]:
    return InMemoryRepository(Parcel)


@pytest.fixture
def event_store() -> InMemoryEventStore:
    return InMemoryEventStore()


@pytest.fixture
def new_uow(event_store: InMemoryEventStore) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(event_store=event_store)


@pytest.fixture
def new_read_only_uow(
    event_store: InMemoryEventStore, outbox: InMemoryOutboxStorage, inbox: InMemoryInbox
) -> Callable[[], InMemoryUnitOfWork]:
    return lambda: InMemoryUnitOfWork(event_store, outbox, inbox, read_only=True)


@pytest.fixture
def outbox() -> InMemoryOutboxStorage:
    return InMemoryOutboxStorage()


@pytest.fixture
def inbox() -> InMemoryInbox:
    return InMemoryInbox()


@pytest.fixture
def heartbeats() -> InMemoryHeartbeatStore:
    return InMemoryHeartbeatStore()


@pytest.fixture
def blobs() -> InMemoryBlobStorage:
    return InMemoryBlobStorage()


@pytest.fixture
def signal() -> InMemoryQueueSignal:
    return InMemoryQueueSignal()


@pytest.fixture
def broker() -> InMemoryMessageBus:
    return InMemoryMessageBus()


@pytest.fixture
def deliver(broker: InMemoryMessageBus) -> Deliver:
    return broker.deliver


class TestInMemoryRepository(RepositoryContract, BulkRepositoryContract):
    pass


class TestInMemoryUnitOfWork(UnitOfWorkContract):
    pass


class TestReadOnlyInMemoryUnitOfWork(ReadOnlyUnitOfWorkContract, ReadOnlyStoresContract):
    pass


class TestInMemoryEventStore(EventStoreContract):
    pass


class TestInMemoryOutbox(OutboxContract):
    pass


class TestInMemoryInbox(InboxContract):
    pass


class TestInMemoryHeartbeatStore(HeartbeatStoreContract):
    pass


class TestInMemoryBlobStorage(BlobStorageContract):
    pass


class TestInMemoryQueueSignal(QueueSignalContract):
    pass


class TestInMemoryMessageBus(MessagingContract):
    pass


async def test_memory_heartbeat_store_measures_ages_by_its_clock() -> None:
    clock = FakeClock()
    store = InMemoryHeartbeatStore(clock)
    await store.beat([make_heartbeat("relay", "a")])
    await clock.advance(40)
    await store.beat([make_heartbeat("relay", "b")])
    await clock.advance(2)

    found = await store.list_heartbeats()

    assert [each.age_seconds for each in found] == [42, 2]
    assert await store.purge(42) == 1
    assert [each.instance_id for each in await store.list_heartbeats()] == ["b"]
