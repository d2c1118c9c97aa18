"""Mistakes in the arguments of constructors are errors that name the argument and the next step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    CachingRepository,
    Command,
    EventDispatcher,
    HandlerRegistry,
    IMessagePublisher,
    InboxConsumer,
    InMemoryBackend,
    LockingMiddleware,
    LoggingMiddleware,
    Mediator,
    MiddlewareError,
    OutboxMiddleware,
    OutboxRelay,
    UnitOfWork,
    ValidatorMiddleware,
    standard_middlewares,
)
from cqrs_ddd_core.adapters import memory
from cqrs_ddd_core.application import IService
from cqrs_ddd_core.primitives.exceptions.arguments import ensure_instance
from tests.mistakes import Mistakes, ensure_config_error


class Parcel(AggregateRoot[str]):
    pass


class Publisher(IMessagePublisher):
    async def publish(self, message: object) -> None: ...


class Service:
    name = "service"

    def bind(self, backend: object) -> None: ...


class Send(Command[int]):
    pass


class BoundUnitOfWork(memory.InMemoryUnitOfWork):
    def __init__(self, tenant: str) -> None:
        super().__init__()


async def create_unit_of_work() -> UnitOfWork:
    return memory.InMemoryUnitOfWork()


async def handle(command: Send) -> int:
    return 1


BACKEND = InMemoryBackend()
HANDLERS = HandlerRegistry()
RELAY = OutboxRelay(BACKEND.outbox, Publisher())

# Type checkers would reject each of these calls.
Untyped = Callable[..., Any]
application: Untyped = Application
on_backend: Untyped = partial(application, BACKEND)
create_mediator: Untyped = Mediator
mediator: Untyped = partial(create_mediator, HANDLERS)
wired_mediator: Untyped = partial(mediator, uow_factory=BACKEND.unit_of_work)
relay: Untyped = OutboxRelay
create_consumer: Untyped = InboxConsumer
consumer: Untyped = partial(create_consumer, "consumer", handle)
repository: Untyped = memory.InMemoryRepository
caching: Untyped = CachingRepository
registry: Untyped = HandlerRegistry
locking: Untyped = LockingMiddleware
validating: Untyped = ValidatorMiddleware
saving: Untyped = OutboxMiddleware
standard: Untyped = standard_middlewares
parcels: Untyped = InMemoryBackend().repository

NEW = "pass a function that creates a new UnitOfWork, such as backend.unit_of_work"

MISTAKES: Mistakes = {
    "backend: class": (
        lambda: application(InMemoryBackend),
        "backend is the class InMemoryBackend, not an object; pass InMemoryBackend(...)",
    ),
    "backend: URL": (
        lambda: application("sqlite+aiosqlite:///bank.db"),
        "backend is an object of str, which lacks check_schema, close, create_schema, ...; pass an "
        "object that implements IBackend, such as InMemoryBackend()",
    ),
    "backend: None": (lambda: application(None), "backend is None, which lacks check_schema"),
    "publisher: class": (
        lambda: on_backend(publisher=Publisher),
        "publisher is the class Publisher, not an object; pass Publisher(...)",
    ),
    "publisher: function": (
        lambda: on_backend(publisher=handle),
        "publisher is an object of function, which lacks publish; pass an object that implements "
        "IMessagePublisher",
    ),
    "relay: class": (
        lambda: on_backend(relay=OutboxRelay),
        "relay is the class OutboxRelay, not an object; pass OutboxRelay(...)",
    ),
    "relay: outbox": (
        lambda: on_backend(relay=BACKEND.outbox),
        "relay is an object of InMemoryOutboxStorage; pass an object of OutboxRelay",
    ),
    "services: class": (
        lambda: on_backend(services=[Service]),
        "an item of services is the class Service, not an object; pass Service(...)",
    ),
    "services: worker": (
        lambda: on_backend(services=[RELAY]),
        "an item of services is an object of OutboxRelay, which lacks bind, name; pass an object "
        "that implements IService, such as Projections([...])",
    ),
    "services: one": (
        lambda: on_backend(services=Service()),
        "services is an object of Service, not a list; pass [...]",
    ),
    "handlers: class": (
        lambda: on_backend(handlers=HandlerRegistry),
        "handlers is the class HandlerRegistry, not an object; pass HandlerRegistry(...)",
    ),
    "handlers: list": (
        lambda: on_backend(handlers=[handle]),
        "handlers is an object of list; pass an object of HandlerRegistry",
    ),
    "resolver: unused": (
        lambda: on_backend(handlers=HANDLERS, resolver=lambda kind: kind()),
        "resolver is for a new registry, and handlers is one already; pass "
        "handlers=HandlerRegistry(resolver)",
    ),
    "resolver: object": (
        lambda: registry(5),
        "resolver is 5, which cannot be called with the class of a handler; pass a function",
    ),
    "mediator: registry class": (
        lambda: create_mediator(HandlerRegistry, uow_factory=BACKEND.unit_of_work),
        "handlers is the class HandlerRegistry, not an object; pass HandlerRegistry(...)",
    ),
    "mediator: dispatcher class": (
        lambda: mediator(uow_factory=BACKEND.unit_of_work, event_dispatcher=EventDispatcher),
        "event_dispatcher is the class EventDispatcher, not an object; pass EventDispatcher(...)",
    ),
    "factory: object": (
        lambda: mediator(uow_factory=memory.InMemoryUnitOfWork()),
        "uow_factory is an object of InMemoryUnitOfWork, and each call needs a new one; " + NEW,
    ),
    "factory: backend": (
        lambda: mediator(uow_factory=BACKEND),
        "uow_factory is an object of InMemoryBackend, which cannot be called; " + NEW,
    ),
    "factory: None": (
        lambda: consumer(uow_factory=None),
        "uow_factory is None, which cannot be called; " + NEW,
    ),
    "factory: async": (
        lambda: consumer(uow_factory=create_unit_of_work),
        "uow_factory is an async function, and it is not awaited; " + NEW,
    ),
    "factory: other class": (
        lambda: mediator(uow_factory=Service),
        "uow_factory is the class Service, not a subclass of UnitOfWork; " + NEW,
    ),
    "factory: class with arguments": (
        lambda: mediator(uow_factory=BoundUnitOfWork),
        "uow_factory is called without arguments, which BoundUnitOfWork does not accept: ",
    ),
    "factory of queries": (
        lambda: mediator(
            uow_factory=BACKEND.unit_of_work, query_uow_factory=BACKEND.unit_of_work()
        ),
        "query_uow_factory is an object of InMemoryUnitOfWork, and each call needs a new one; ",
    ),
    "relay: outbox class": (
        lambda: relay(memory.InMemoryOutboxStorage, Publisher()),
        "outbox is the class InMemoryOutboxStorage, not an object",
    ),
    "relay: swapped": (
        lambda: relay(Publisher(), BACKEND.outbox),
        "outbox is an object of Publisher, which lacks claim, complete, complete_and_claim, ...; ",
    ),
    "lock: class": (
        lambda: locking(memory.InMemoryLockStrategy),
        "lock is the class InMemoryLockStrategy, not an object",
    ),
    "validator: function": (
        lambda: validating(handle),
        "validator is an object of function, which lacks validate; pass an object that implements "
        "IValidator",
    ),
    "signal: class": (
        lambda: saving(memory.InMemoryQueueSignal),
        "signal is the class InMemoryQueueSignal, not an object",
    ),
    "entity type: object": (
        lambda: repository(Parcel(id="p-1")),
        "entity_type is an object of Parcel; pass a subclass of AggregateRoot",
    ),
    "entity type: other class": (
        lambda: parcels(Service),
        "entity_type is the class Service; pass a subclass of AggregateRoot",
    ),
    "cache: class": (
        lambda: caching(memory.InMemoryRepository(Parcel), memory.InMemoryCacheService, Parcel),
        "cache_service is the class InMemoryCacheService, not an object",
    ),
    "cached repository: class": (
        lambda: caching(memory.InMemoryRepository, memory.InMemoryCacheService(), Parcel),
        "inner is the class InMemoryRepository, not an object",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_constructor_argument_of_another_kind_is_a_config_error(mistake: str) -> None:
    ensure_config_error(*MISTAKES[mistake])


@pytest.mark.parametrize("create", [on_backend, wired_mediator])
@pytest.mark.parametrize(
    ("middlewares", "message"),
    [
        ([LoggingMiddleware], "LoggingMiddleware is a class, and middlewares= takes objects"),
        (LoggingMiddleware(), r"middlewares is LoggingMiddleware, not a list; pass \[Logging"),
        ([None], "NoneType is not a middleware; subclass IMiddleware"),
    ],
)
def test_list_of_middlewares_takes_objects_only(
    create: Untyped, middlewares: object, message: str
) -> None:
    with pytest.raises(MiddlewareError, match=message):
        create(middlewares=middlewares)


@pytest.mark.parametrize("middleware", [LoggingMiddleware, handle, None])
def test_standard_middlewares_take_objects_only(middleware: object) -> None:
    with pytest.raises(MiddlewareError, match="pass LoggingMiddleware|is not a middleware"):
        standard(middleware)


def test_object_with_the_members_of_a_port_is_accepted_without_inheritance() -> None:
    class Broker:
        async def publish(self, message: object) -> None: ...

    class Logged:
        def __init__(self, inner: Broker) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    on_backend(publisher=Broker())
    on_backend(publisher=Logged(Broker()))


def test_check_of_an_argument_reads_no_property_of_it() -> None:
    class Lazy:
        @property
        def name(self) -> str:
            raise AssertionError("read")

        def bind(self, backend: object) -> None: ...

    ensure_instance(Lazy(), IService, "service")


def test_class_and_function_are_factories_of_units_of_work() -> None:
    mediator(uow_factory=memory.InMemoryUnitOfWork)
    mediator(uow_factory=lambda: BACKEND.unit_of_work())
    mediator(uow_factory=partial(BACKEND.unit_of_work, read_only=False))
