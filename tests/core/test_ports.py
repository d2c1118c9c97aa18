"""Ports keep the shape that adapters in the world were written against."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

import pytest

from cqrs_ddd_core import AggregateRoot, IRepository, SearchResult, StoredEvent, UnitOfWork, ports
from cqrs_ddd_core.adapters import memory
from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import hierarchy
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, NaiveDatetimeError
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_redis import (
    FifoRedisLockStrategy,
    RedisCacheService,
    RedisQueueSignal,
    RedlockLockStrategy,
)

PRINTED: dict[type[Any], dict[str, str]] = {
    ports.IRepository: {
        "add": "(self, entity, uow=None)",
        "get": "(self, entity_id, uow=None)",
        "delete": "(self, entity_id, uow=None)",
        "list_all": "(self, entity_ids=None, uow=None)",
        "search": "(self, criteria, uow=None)",
    },
    ports.IEventStore: {
        "append": "(self, stored_event)",
        "append_batch": "(self, events)",
        "get_events": "(self, aggregate_id, *, after_version=0)",
        "get_events_after": "(self, position, limit=1000)",
    },
    ports.IOutboxStorage: {
        "save_messages": "(self, messages, uow=None)",
        "get_pending": "(self, limit=100, uow=None)",
        "mark_published": "(self, message_ids, uow=None)",
        "mark_failed": "(self, message_id, error, uow=None)",
    },
    ports.ILockStrategy: {
        "acquire": "(self, resource, *, timeout=10.0, ttl=30.0)",
        "release": "(self, resource)",
        "extend": "(self, resource, ttl)",
    },
    ports.ICacheStrategy: {
        "get": "(self, key)",
        "set": "(self, key, value, ttl=None)",
        "delete": "(self, key)",
        "clear": "(self)",
    },
    ports.IValidator: {"validate": "(self, obj)"},
    ports.IBackgroundWorker: {
        "start": "(self)",
        "stop": "(self)",
        "enqueue": "(self, job)",
    },
}

IMPLEMENTATIONS: dict[type[Any], type[Any]] = {
    memory.InMemoryRepository: ports.IBulkRepository,
    memory.InMemoryEventStore: ports.IEventLog,
    memory.InMemoryLockStrategy: ports.ILeasedLock,
    memory.InMemoryOutboxStorage: ports.ILeasedOutbox,
    memory.InMemoryInbox: ports.IInbox,
    memory.InMemoryCacheService: ports.IVersionedCache,
    memory.InMemoryMessageBus: ports.IMessagePublisher,
    memory.InMemoryQueueSignal: ports.IQueueSignal,
    memory.InMemoryBackgroundWorker: ports.IBackgroundWorker,
    memory.InMemoryBlobStorage: ports.IBlobStorage,
    CachingRepository: ports.IBulkRepository,
    OutboxRelay: ports.IWorkerLifecycle,
    memory.FakeClock: ports.IClock,
    SystemClock: ports.IClock,
    RedisCacheService: ports.IVersionedCache,
    FifoRedisLockStrategy: ports.ILeasedLock,
    RedlockLockStrategy: ports.ILeasedLock,
    RedisQueueSignal: ports.IQueueSignal,
}

PROTOCOLS = [
    port
    for module in (ports, hierarchy)
    for name in dir(module)
    if inspect.isclass(port := getattr(module, name)) and getattr(port, "_is_protocol", False)
    if port.__module__.startswith("cqrs_ddd_core.")
]


def _bare(function: Any) -> str:
    """The parameters with kinds and defaults, without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def _methods(port: type[Any]) -> set[str]:
    return set(port.__abstractmethods__)


@pytest.mark.parametrize("port", PRINTED, ids=lambda port: port.__name__)
def test_a_printed_port_has_its_printed_methods_and_no_others(port: type[Any]) -> None:
    assert {name: _bare(getattr(port, name)) for name in _methods(port)} == PRINTED[port]


@pytest.mark.parametrize("kept", IMPLEMENTATIONS, ids=lambda kept: kept.__name__)
def test_a_fake_or_an_adapter_has_the_signatures_of_its_port(kept: type[Any]) -> None:
    port = IMPLEMENTATIONS[kept]

    assert issubclass(kept, port)
    for name in _methods(port):
        ours, theirs = getattr(kept, name), getattr(port, name)
        if not isinstance(theirs, property):
            assert _bare(ours) == _bare(theirs), name


@pytest.mark.parametrize("port", PROTOCOLS, ids=lambda port: port.__name__)
def test_an_implementation_that_leaves_a_method_out_cannot_be_made(port: type[Any]) -> None:
    class Incomplete(port):  # type: ignore[misc]
        pass

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()


@pytest.mark.parametrize("port", PROTOCOLS, ids=lambda port: port.__name__)
def test_every_port_can_be_asked_for_at_run_time(port: type[Any]) -> None:
    assert not isinstance(object(), port)


def test_an_adapter_that_knows_only_the_printed_methods_is_an_event_store() -> None:
    class Foreign:
        async def append(self, stored_event: StoredEvent) -> None: ...

        async def append_batch(self, events: list[StoredEvent]) -> None: ...

        async def get_events(
            self, aggregate_id: str, *, after_version: int = 0
        ) -> list[StoredEvent]:
            return []

        async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
            return []

    assert isinstance(Foreign(), ports.IEventStore)
    assert not isinstance(Foreign(), ports.IEventLog)


def test_other_names_of_a_port_are_the_port() -> None:
    assert ports.ICacheStrategy is ports.ICacheService
    assert ports.IUnitOfWork is ports.UnitOfWork


class Thing(AggregateRoot[str]):
    pass


class IThingRepository(IRepository[Thing, str]):
    """As an application declares its own port."""


class IThingUnitOfWork(UnitOfWork):
    """As an application declares its own unit of work, with repositories in it."""

    things: IThingRepository

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


def test_a_port_of_the_application_is_abstract_too() -> None:
    with pytest.raises(TypeError, match="abstract"):
        IThingRepository()  # type: ignore[abstract]


async def test_a_unit_of_work_of_the_application_keeps_the_hooks() -> None:
    told: list[str] = []

    async def tell() -> None:
        told.append("stored")

    uow = IThingUnitOfWork()
    assert uow._on_commit_hooks == deque()
    async with uow:
        uow.on_commit(lambda: tell())
        await uow.commit()
        assert told == ["stored"]

    assert told == ["stored"]


async def test_a_search_result_is_awaited_and_streamed() -> None:
    calls: list[str] = []

    async def fetch() -> list[int]:
        calls.append("fetch")
        return [1, 2, 3]

    async def stream(batch_size: int) -> AsyncIterator[int]:
        calls.append(f"stream by {batch_size}")
        for number in (1, 2, 3):
            yield number

    result = SearchResult(fetch, stream)

    assert calls == []
    assert await result == [1, 2, 3]
    assert [number async for number in result.stream(batch_size=2)] == [1, 2, 3]
    assert [number async for number in result.stream()] == [1, 2, 3]
    assert await result == [1, 2, 3]
    assert calls == ["fetch", "stream by 2", "stream by 100", "fetch"]


async def test_a_result_that_is_in_memory_already_is_one_too() -> None:
    result = SearchResult.from_items(iter([1, 2]))

    assert await result == [1, 2]
    assert [number async for number in result.stream()] == [1, 2]
    for batch_size in (0, -1):
        with pytest.raises(InvalidOperationError, match="batch_size must be at least 1"):
            result.stream(batch_size)


def test_a_stored_event_and_an_outbox_message_need_only_what_they_cannot_know() -> None:
    stored = StoredEvent(
        event_id="e-1",
        event_type="ThingMade",
        aggregate_id="t-1",
        aggregate_type="Thing",
        version=1,
        payload={"name": "x"},
    )
    message = ports.OutboxMessage(
        message_id="m-1", event_type="ThingMade", payload={}, correlation_id="r-1"
    )

    assert (stored.schema_version, stored.metadata, stored.position) == (1, {}, None)
    assert stored.stream == ports.StreamId("Thing", "t-1")
    assert (message.metadata, message.retry_count, message.partition_key) == ({}, 0, None)
    assert (message.published_at, message.error, message.causation_id) == (None, None, None)
    assert stored.occurred_at.tzinfo is timezone.utc
    assert message.created_at.tzinfo is timezone.utc


def test_a_stored_event_without_a_zone_is_refused() -> None:
    with pytest.raises(NaiveDatetimeError, match="occurred_at of ThingMade e-1 .* pass an aware"):
        StoredEvent(
            event_id="e-1",
            event_type="ThingMade",
            aggregate_id="t-1",
            aggregate_type="Thing",
            version=1,
            payload={},
            occurred_at=datetime(2026, 1, 1),
        )


def test_stored_events_are_told_apart_by_keywords_only() -> None:
    with pytest.raises(TypeError):
        StoredEvent("e-1", "ThingMade", "t-1", "Thing", 1, 1, {})  # type: ignore[call-arg]
