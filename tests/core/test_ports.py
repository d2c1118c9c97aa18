"""Signatures of the ports, on which adapters in other code bases depend."""

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
from cqrs_ddd_core.primitives.background_service import BackgroundService
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    MultipleResultsError,
    NaiveDatetimeError,
    NotFoundError,
)
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_redis import (
    FifoRedisLockStrategy,
    RedisCacheService,
    RedisQueueSignal,
    RedlockLockStrategy,
)

DOCUMENTED: dict[type[Any], dict[str, str]] = {
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
    memory.InMemoryBackend: ports.IBackend,
    memory.InMemoryRepository: ports.IBulkRepository,
    memory.InMemoryEventStore: ports.IEventLog,
    memory.InMemoryLockStrategy: ports.ILeasedLock,
    memory.InMemoryOutboxStorage: ports.ILeasedOutbox,
    memory.InMemoryInbox: ports.IInbox,
    memory.InMemoryHeartbeatStore: ports.IHeartbeatStore,
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


def _format_parameters(function: Any) -> str:
    """Return the parameters with kinds and defaults, without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def _list_methods(port: type[Any]) -> set[str]:
    return set(port.__abstractmethods__)


@pytest.mark.parametrize("port", DOCUMENTED, ids=lambda port: port.__name__)
def test_documented_port_has_exactly_its_documented_methods(port: type[Any]) -> None:
    assert {
        name: _format_parameters(getattr(port, name)) for name in _list_methods(port)
    } == DOCUMENTED[port]


@pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS, ids=lambda implementation: implementation.__name__
)
def test_fake_or_adapter_has_the_signatures_of_its_port(implementation: type[Any]) -> None:
    port = IMPLEMENTATIONS[implementation]

    assert port in implementation.__mro__
    for name in _list_methods(port):
        ours, theirs = getattr(implementation, name), getattr(port, name)
        # All background services accept a grace period, which the documented port does not have.
        if not isinstance(theirs, property) and ours is not BackgroundService.stop:
            assert _format_parameters(ours) == _format_parameters(theirs), name


@pytest.mark.parametrize("port", PROTOCOLS, ids=lambda port: port.__name__)
def test_port_implementation_without_a_method_cannot_be_instantiated(port: type[Any]) -> None:
    class Incomplete(port):  # type: ignore[misc]
        pass

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()


@pytest.mark.parametrize("port", PROTOCOLS, ids=lambda port: port.__name__)
def test_every_port_supports_isinstance(port: type[Any]) -> None:
    assert not isinstance(object(), port)


def test_adapter_with_the_documented_methods_only_is_an_event_store() -> None:
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


def test_alias_of_a_port_is_the_port() -> None:
    assert ports.ICacheStrategy is ports.ICacheService
    assert ports.IUnitOfWork is ports.UnitOfWork


class Thing(AggregateRoot[str]):
    pass


class IThingRepository(IRepository[Thing, str]):
    """Port that an application declares."""


class IThingUnitOfWork(UnitOfWork):
    """Unit of work that an application declares, with a repository in it."""

    things: IThingRepository

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


def test_port_of_an_application_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        IThingRepository()  # type: ignore[abstract]


async def test_unit_of_work_of_an_application_runs_commit_hooks() -> None:
    hook_runs: list[str] = []

    async def record_commit() -> None:
        hook_runs.append("stored")

    uow = IThingUnitOfWork()
    assert uow._on_commit_hooks == deque()
    async with uow:
        uow.on_commit(lambda: record_commit())
        await uow.commit()
        assert hook_runs == ["stored"]

    assert hook_runs == ["stored"]


async def test_search_result_runs_its_query_at_each_await_and_stream() -> None:
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


async def test_search_result_can_hold_items_in_memory() -> None:
    result = SearchResult.from_items(iter([1, 2]))

    assert await result == [1, 2]
    assert [number async for number in result.stream()] == [1, 2]
    for batch_size in (0, -1):
        with pytest.raises(InvalidOperationError, match="batch_size must be at least 1"):
            result.stream(batch_size)


async def test_search_result_of_two_functions_takes_and_counts_from_its_stream() -> None:
    yielded: list[int] = []
    closed: list[str] = []

    async def fetch() -> list[int]:
        raise AssertionError("everything is read")

    async def stream(batch_size: int) -> AsyncIterator[int]:
        try:
            for number in (1, 2, 3):
                yielded.append(number)
                yield number
        finally:
            closed.append("stream")

    result = SearchResult(fetch, stream)

    assert await result.first() == 1
    assert (yielded, closed) == ([1], ["stream"])
    with pytest.raises(MultipleResultsError, match="one int found several") as caught:
        await result.one()
    assert caught.value.type_name == "int"
    assert (yielded, closed) == ([1, 1, 2], ["stream"] * 2)
    assert await result.take(5) == [1, 2, 3]
    assert [number async for number in result] == [1, 2, 3]
    assert await result.count() == 3


async def test_search_result_without_items_has_no_first_and_no_only_item() -> None:
    result = SearchResult.from_items(list[int]())

    assert await result.first() is None
    assert await result.all() == []
    assert await result.count() == 0
    with pytest.raises(NotFoundError, match="found none"):
        await result.one()
    with pytest.raises(InvalidOperationError, match="at least 1 item"):
        await result.take(0)


def test_stored_event_and_outbox_message_have_defaults_for_optional_fields() -> None:
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


def test_stored_event_rejects_a_time_without_a_zone() -> None:
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


def test_stored_event_takes_keyword_arguments_only() -> None:
    with pytest.raises(TypeError):
        StoredEvent("e-1", "ThingMade", "t-1", "Thing", 1, 1, {})  # type: ignore[call-arg]
