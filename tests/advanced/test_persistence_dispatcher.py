"""Tests of the persistence dispatcher over the commands and queries of an order system."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from cqrs_ddd_advanced_core import (
    CachingPersistenceDispatcher,
    IOperationPersistence,
    IPersistenceDispatcher,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IResultCatalog,
    IRetrievalPersistence,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    DomainEvent,
    HandlerRegistry,
    ISpecification,
    Mediator,
    SearchResult,
    UnitOfWork,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    EntityNotFoundError,
    HandlerRegistrationError,
    HandlerResultError,
    InvalidOperationError,
    UnsavedChangesError,
)
from cqrs_ddd_specifications import QueryOptions, SpecificationBuilder


class OrderPlaced(DomainEvent):
    customer_id: str


class OrderSubmitted(DomainEvent):
    pass


class Order(AggregateRoot[str]):
    customer_id: str
    status: str = "pending"

    @classmethod
    def place(cls, order_id: str, customer_id: str) -> Order:
        order = cls.create_empty(order_id)
        order.add_event(OrderPlaced(customer_id=customer_id))
        return order

    def submit(self) -> None:
        self.add_event(OrderSubmitted())

    def apply_OrderPlaced(self, event: OrderPlaced) -> None:
        self.customer_id, self.status = event.customer_id, "created"

    def apply_OrderSubmitted(self, event: OrderSubmitted) -> None:
        self.status = "submitted"


class OrderSummary(BaseModel):
    id: str
    customer_id: str
    status: str


orders = InMemoryRepository[Order, str](Order)


@pytest.fixture(autouse=True)
def clear_orders() -> None:
    orders.__init__(Order)  # type: ignore[misc]


class OrderPersistence(IOperationPersistence[Order, str], IRetrievalPersistence[Order, str]):
    async def persist(self, entity: Order, uow: UnitOfWork) -> str:
        return await orders.add(entity, uow)

    async def retrieve(self, ids: Sequence[str], uow: UnitOfWork) -> list[Order]:
        return await orders.list_all(list(ids), uow)


class OrderQueries(
    IQueryPersistence[OrderSummary, str], IQuerySpecificationPersistence[OrderSummary]
):
    """Handler for both query roles: ids return a list, criteria a search result."""

    async def fetch(self, criteria: Any, uow: UnitOfWork) -> Any:
        if isinstance(criteria, list):
            return [to_summary(each) for each in await orders.list_all(criteria, uow)]
        found = await orders.search(criteria, uow)

        async def stream(batch_size: int) -> AsyncIterator[OrderSummary]:
            async for each in found.stream(batch_size):
                yield to_summary(each)

        async def fetch() -> list[OrderSummary]:
            return [to_summary(each) for each in await found]

        return SearchResult(fetch, stream)


def to_summary(order: Order) -> OrderSummary:
    return OrderSummary(id=order.id, customer_id=order.customer_id, status=order.status)


@pytest.fixture
def registry() -> PersistenceRegistry:
    registry = PersistenceRegistry()
    registry.register_operation(Order, OrderPersistence, source="default")
    registry.register_retrieval(Order, OrderPersistence, source="default")
    registry.register_query(OrderSummary, OrderQueries, source="read_replica")
    registry.register_query_spec(OrderSummary, OrderQueries, source="read_replica")
    return registry


class CountingFactories:
    """Factories of units of work that record the source of each unit of work."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.uows: list[UnitOfWork] = []

    def __call__(self, source: str) -> Callable[[], UnitOfWork]:
        def make() -> UnitOfWork:
            self.sources.append(source)
            self.uows.append(InMemoryUnitOfWork())
            return self.uows[-1]

        return make


@pytest.fixture
def factories() -> CountingFactories:
    return CountingFactories()


@pytest.fixture
def dispatcher(
    registry: PersistenceRegistry, factories: CountingFactories
) -> PersistenceDispatcher:
    return PersistenceDispatcher(
        uow_factories={"default": factories("default"), "read_replica": factories("read_replica")},
        registry=registry,
        handler_factory=lambda cls: cls(),
    )


async def test_apply_uses_the_given_unit_of_work_or_opens_one(
    dispatcher: PersistenceDispatcher, factories: CountingFactories
) -> None:
    async with InMemoryUnitOfWork() as uow:
        await dispatcher.apply(Order.place("o-1", "c-1"), uow=uow)
        assert await orders.get("o-1", InMemoryUnitOfWork()) is None
    assert factories.sources == []

    await dispatcher.apply(Order.place("o-2", "c-1"))

    assert factories.sources == ["default"]
    assert [each.id for each in await orders.list_all(["o-1", "o-2"])] == ["o-1", "o-2"]


async def test_command_handler_loads_and_saves_through_the_persistence_dispatcher(
    dispatcher: PersistenceDispatcher,
) -> None:
    class Submit(Command[str]):
        order_id: str

    async def submit(command: Submit) -> str:
        found = await dispatcher.fetch_domain(Order, [command.order_id])
        if not found:
            raise EntityNotFoundError(f"there is no order {command.order_id}")
        (order,) = found
        order.submit()
        return await dispatcher.apply(order)

    handlers = HandlerRegistry()
    handlers.register_command_handler(Submit, submit)
    mediator = Mediator(handlers, uow_factory=InMemoryUnitOfWork)
    await dispatcher.apply(Order.place("o-1", "c-1"))

    response = await mediator.send(Submit(order_id="o-1"))

    assert response.result == "o-1"
    assert [event.event_type for event in response.events] == ["OrderSubmitted"]
    (order,) = await dispatcher.fetch_domain(Order, ["o-1"])
    assert (order.status, order.version) == ("submitted", 2)
    with pytest.raises(EntityNotFoundError):
        await mediator.send(Submit(order_id="o-9"))


async def test_query_results_are_fetched_from_their_own_source(
    dispatcher: PersistenceDispatcher, factories: CountingFactories
) -> None:
    for number in range(3):
        await dispatcher.apply(Order.place(f"o-{number}", "c-1"))
    spec = (
        SpecificationBuilder().where("customer_id", "=", "c-1").where("status", "=", "created")
    ).build()
    options = QueryOptions().with_specification(spec).with_ordering("-id").with_pagination(limit=2)
    factories.sources.clear()

    result = await dispatcher.fetch(OrderSummary, ["o-1", "o-0"])
    assert factories.sources == []
    assert [each.id for each in await result] == ["o-1", "o-0"]
    assert len(await (await dispatcher.fetch(OrderSummary, spec))) == 3
    assert [each.id for each in await (await dispatcher.fetch(OrderSummary, options))] == [
        "o-2",
        "o-1",
    ]
    assert factories.sources == ["read_replica"] * 3
    async with InMemoryUnitOfWork() as uow:
        result = await dispatcher.fetch(OrderSummary, options, uow=uow)
        assert [each.id async for each in result.stream(batch_size=100)] == ["o-2", "o-1"]
    assert len(factories.sources) == 3


async def test_every_unit_of_work_opened_by_the_dispatcher_is_ended(
    dispatcher: PersistenceDispatcher, factories: CountingFactories
) -> None:
    await dispatcher.apply(Order.place("o-1", "c-1"))
    await dispatcher.fetch_domain(Order, ["o-1"])
    await (await dispatcher.fetch(OrderSummary, ["o-1"]))

    assert [uow.is_open for uow in factories.uows] == [False] * 3


async def test_fetch_without_ids_opens_no_unit_of_work(
    dispatcher: PersistenceDispatcher, factories: CountingFactories
) -> None:
    assert await dispatcher.fetch_domain(Order, []) == []
    assert await (await dispatcher.fetch(OrderSummary, ())) == []

    assert factories.sources == []


async def test_each_source_uses_its_own_unit_of_work_factory(
    registry: PersistenceRegistry, factories: CountingFactories
) -> None:
    class Invoice(AggregateRoot[str]):
        pass

    class Invoices(IOperationPersistence[Invoice, str]):
        async def persist(self, entity: Invoice, uow: UnitOfWork) -> str:
            return entity.id

    registry.register_operation(Invoice, Invoices, source="invoicing_db")
    sources = ("default", "read_replica", "invoicing_db")
    dispatcher = PersistenceDispatcher({each: factories(each) for each in sources}, registry)

    await dispatcher.apply(Invoice(id="i-1"))
    await dispatcher.apply(Order.place("o-1", "c-1"))

    assert factories.sources == ["invoicing_db", "default"]


async def test_operation_handlers_run_by_priority_and_receive_events_if_they_accept_them(
    registry: PersistenceRegistry, dispatcher: PersistenceDispatcher
) -> None:
    calls: list[tuple[str, Any, Any]] = []

    class First(IOperationPersistence[Order, str]):
        async def persist(self, entity: Order, uow: UnitOfWork, events: Any = ()) -> str:
            calls.append(("first", uow, events))
            return "result of the first handler"

    class Last(IOperationPersistence[Order, str]):
        async def persist(self, entity: Order, uow: UnitOfWork) -> str:
            calls.append(("last", uow, (await orders.get(entity.id, uow)) is not None))
            return "ignored result"

    registry.register_operation(Order, Last, priority=-5)
    registry.register_operation(Order, First, priority=5)
    events = [OrderSubmitted()]
    async with InMemoryUnitOfWork() as uow:
        assert (
            await dispatcher.apply(Order.place("o-1", "c-1"), uow, events)
            == "result of the first handler"
        )
        await dispatcher.apply(Order.place("o-2", "c-1"), uow=uow)

    assert calls == [
        ("first", uow, events),
        ("last", uow, True),
        ("first", uow, None),
        ("last", uow, True),
    ]


async def test_persistence_handler_is_created_once_for_all_its_roles(
    registry: PersistenceRegistry,
) -> None:
    created: list[type[Any]] = []

    def create(cls: type[Any]) -> Any:
        created.append(cls)
        return cls()

    factories = dict.fromkeys(("default", "read_replica"), InMemoryUnitOfWork)
    dispatcher = PersistenceDispatcher(factories, registry, handler_factory=create)
    assert created == []

    for number in range(3):
        await dispatcher.apply(Order.place(f"o-{number}", "c-1"))
        await dispatcher.fetch_domain(Order, ["o-0"])
        await (await dispatcher.fetch(OrderSummary, ["o-0"]))

    assert created == [OrderPersistence, OrderQueries]


async def test_handler_without_a_repository_loses_no_events() -> None:
    rows: dict[str, str] = {}

    class Rows(IOperationPersistence[Order, str], IRetrievalPersistence[Order, str]):
        async def persist(self, entity: Order, uow: UnitOfWork) -> str:
            rows[entity.id] = entity.status
            return entity.id

        async def retrieve(self, ids: Sequence[str], uow: UnitOfWork) -> list[Order]:
            return [Order(id=each, customer_id="c-1", status=rows[each]) for each in ids]

    class Submit(Command[None]):
        skips_apply: bool = False

    async def submit_twice(command: Submit) -> None:
        (order,) = await own.fetch_domain(Order, ["o-1"])
        order.submit()
        await own.apply(order)
        order.submit()
        if not command.skips_apply:
            await own.apply(order)

    registry, handlers = PersistenceRegistry(), HandlerRegistry()
    registry.register_operation(Order, Rows)
    registry.register_retrieval(Order, Rows)
    handlers.register_command_handler(Submit, submit_twice)
    own = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    order = Order.place("o-1", "c-1")
    await own.apply(order)
    mediator = Mediator(handlers, uow_factory=InMemoryUnitOfWork)

    response = await mediator.send(Submit())

    assert order.version == 1
    assert [event.event_type for event in response.events] == ["OrderSubmitted"] * 2
    with pytest.raises(UnsavedChangesError):
        await mediator.send(Submit(skips_apply=True))


async def test_results_follow_the_order_of_ids_even_if_the_ids_have_another_type() -> None:
    class Parcel(AggregateRoot[UUID]):
        pass

    class Parcels(IRetrievalPersistence[Parcel, Any]):
        async def retrieve(self, ids: Sequence[Any], uow: UnitOfWork) -> list[Parcel]:
            return sorted((Parcel(id=UUID(str(each))) for each in ids), key=lambda p: str(p.id))

    registry = PersistenceRegistry()
    registry.register_retrieval(Parcel, Parcels)
    plain = PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)
    ids = sorted((uuid4() for _ in range(5)), key=str, reverse=True)
    for dispatcher in (plain, CachingPersistenceDispatcher(plain, InMemoryCacheService())):
        assert [p.id for p in await dispatcher.fetch_domain(Parcel, ids)] == ids
        found = await dispatcher.fetch_domain(Parcel, [str(each) for each in ids])
        assert {p.id for p in found} == set(ids)
        assert await dispatcher.fetch_domain(Parcel, [str(ids[0])]) == [Parcel(id=ids[0])]


def test_dispatcher_with_a_source_without_a_factory_cannot_be_created(
    registry: PersistenceRegistry,
) -> None:
    with pytest.raises(
        ConfigError, match="the query of OrderSummary is .* 'read_replica'.* has 'default'"
    ):
        PersistenceDispatcher({"default": InMemoryUnitOfWork}, registry)


async def test_source_without_a_factory_registered_later_fails_at_its_first_use() -> None:
    registry = PersistenceRegistry()
    dispatcher = PersistenceDispatcher({}, registry)
    registry.register_operation(Order, OrderPersistence)

    with pytest.raises(ConfigError, match="for source 'default', .* has no source"):
        await dispatcher.apply(Order.place("o-1", "c-1"))
    async with InMemoryUnitOfWork() as uow:
        assert await dispatcher.apply(Order.place("o-1", "c-1"), uow=uow) == "o-1"


async def test_handler_with_constructor_arguments_is_an_error_that_names_handler_factory(
    factories: CountingFactories,
) -> None:
    class HandlerWithArguments(OrderPersistence):
        def __init__(self, table: str, schema: str = "public") -> None:
            pass

    registry = PersistenceRegistry()
    registry.register_operation(Order, HandlerWithArguments)
    dispatcher = PersistenceDispatcher({"default": factories("default")}, registry)

    with pytest.raises(
        HandlerRegistrationError,
        match="Arguments cannot be created without table; .*_factory",
    ):
        await dispatcher.apply(Order.place("o-1", "c-1"))


async def test_wrong_result_of_a_persistence_handler_names_the_handler(
    factories: CountingFactories,
) -> None:
    class Wrong:
        async def persist(self, entity: Any, uow: Any) -> None: ...

        async def retrieve(self, ids: Any, uow: Any) -> Any:
            return iter(()) if ids == ["o-1"] else [{"id": "o-2"}]

        async def fetch(self, criteria: Any, uow: Any) -> Any:
            return {}

    registry = PersistenceRegistry()
    registry.register_operation(Order, Wrong)
    registry.register_retrieval(Order, Wrong)
    registry.register_query(OrderSummary, Wrong)
    registry.register_query_spec(OrderSummary, Wrong)
    dispatcher = PersistenceDispatcher({"default": factories("default")}, registry)
    spec = SpecificationBuilder().where("id", "=", "o-1").build()

    with pytest.raises(HandlerResultError, match="Wrong.persist must return the id of"):
        await dispatcher.apply(Order.place("o-1", "c-1"))
    with pytest.raises(HandlerResultError, match="Wrong.retrieve must return a list"):
        await dispatcher.fetch_domain(Order, ["o-1"])
    with pytest.raises(HandlerResultError, match="a list of Order, but it returned a dict"):
        await dispatcher.fetch_domain(Order, ["o-2"])
    with pytest.raises(HandlerResultError, match="Wrong.fetch must return a list"):
        await (await dispatcher.fetch(OrderSummary, ["o-1"]))
    with pytest.raises(HandlerResultError, match="Wrong.fetch must return a SearchResult"):
        await (await dispatcher.fetch(OrderSummary, spec))
    assert [uow.state.value for uow in factories.uows] == ["rolled back"] * 5


async def test_unit_of_work_factory_can_be_a_context_manager(registry: PersistenceRegistry) -> None:
    ended: list[bool] = []

    @asynccontextmanager
    async def factory() -> AsyncIterator[UnitOfWork]:
        async with InMemoryUnitOfWork() as uow:
            yield uow
        ended.append(True)

    dispatcher = PersistenceDispatcher({"default": factory, "read_replica": factory}, registry)
    await dispatcher.apply(Order.place("o-1", "c-1"))

    assert ended == [True]


async def test_persistence_operations_are_reported_to_the_hooks(
    dispatcher: PersistenceDispatcher,
) -> None:
    seen: list[tuple[str, dict[str, object]]] = []

    @contextmanager
    def hook(operation: Operation) -> Iterator[None]:
        if operation.name.startswith("persistence."):
            seen.append((operation.name, operation.attributes))
        yield

    spec: ISpecification[Any] = SpecificationBuilder().where("id", "=", "o-1").build()
    remove = hooks.register(hook)
    try:
        await dispatcher.apply(Order.place("o-1", "c-1"))
        await dispatcher.fetch_domain(Order, ["o-1"])
        await (await dispatcher.fetch(OrderSummary, ["o-1"]))
        await (await dispatcher.fetch(OrderSummary, spec))
        async with InMemoryUnitOfWork() as uow:
            await dispatcher.fetch(OrderSummary, spec, uow=uow)
    finally:
        remove()

    assert seen == [
        ("persistence.apply", {"entity_type": "Order"}),
        ("persistence.fetch_domain", {"entity_type": "Order"}),
        ("persistence.fetch", {"result_type": "OrderSummary"}),
        ("persistence.fetch", {"result_type": "OrderSummary"}),
    ]


def test_dispatchers_and_handlers_are_instances_of_their_ports(
    dispatcher: PersistenceDispatcher,
) -> None:
    cached = CachingPersistenceDispatcher(dispatcher, InMemoryCacheService())
    for each in (dispatcher, cached):
        assert isinstance(each, IPersistenceDispatcher)
        assert isinstance(each, IResultCatalog)
        assert set(each.result_types) == {OrderSummary}
    assert isinstance(OrderPersistence(), IOperationPersistence)
    assert not isinstance(OrderQueries(), IRetrievalPersistence)


@pytest.mark.parametrize("dispatcher", [PersistenceDispatcher, CachingPersistenceDispatcher])
def test_dispatcher_methods_have_the_signatures_of_the_port(dispatcher: type[Any]) -> None:
    for name in ("apply", "fetch_domain", "fetch"):
        ours, theirs = (
            inspect.signature(getattr(each, name)) for each in (dispatcher, IPersistenceDispatcher)
        )
        assert str(ours) == str(theirs)


def test_every_persistence_role_has_its_documented_method() -> None:
    printed = {
        IOperationPersistence: "persist(self, entity, uow)",
        IRetrievalPersistence: "retrieve(self, ids, uow)",
        IQueryPersistence: "fetch(self, ids, uow)",
        IQuerySpecificationPersistence: "fetch(self, criteria, uow)",
    }
    for role, method in printed.items():
        (name,) = role.__abstractmethods__
        parameters = ", ".join(inspect.signature(getattr(role, name)).parameters)
        assert f"{name}({parameters})" == method


async def test_dispatcher_rejects_a_unit_of_work_that_was_rolled_back(
    dispatcher: PersistenceDispatcher,
) -> None:
    async with InMemoryUnitOfWork() as uow:
        await uow.rollback()
        with pytest.raises(InvalidOperationError, match="cannot take part in it: .* rolled back"):
            await dispatcher.fetch(OrderSummary, ["o-1"], uow=uow)
