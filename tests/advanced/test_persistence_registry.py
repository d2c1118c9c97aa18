"""What a registry takes, and what it says of what it does not take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from cqrs_ddd_advanced_core import IOperationPersistence, PersistenceRegistry
from cqrs_ddd_advanced_core.persistence.registry import QUERY, QUERY_SPEC
from cqrs_ddd_core import AggregateRoot, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
    HandlerRegistrationError,
)


class Order(AggregateRoot[str]):
    pass


class OrderSummary(BaseModel):
    order_id: str


class Orders:
    async def persist(self, entity: Order, uow: UnitOfWork) -> str:
        return entity.id

    async def retrieve(self, ids: Any, uow: UnitOfWork) -> list[Order]:
        return []

    async def fetch(self, ids: Any, uow: UnitOfWork) -> Any:
        return []


class Journal(Orders):
    pass


@pytest.fixture
def registry() -> PersistenceRegistry:
    return PersistenceRegistry()


def test_operations_run_the_highest_priority_first(registry: PersistenceRegistry) -> None:
    class Last(Orders):
        pass

    registry.register_operation(entity_type=Order, handler_cls=Orders)
    registry.register_operation(Order, Journal, source="default", priority=10)
    registry.register_operation(Order, Last, priority=-1)

    assert [each.handler_cls for each in registry.find_operations(Order)] == [Journal, Orders, Last]


def test_a_place_is_taken_once_and_it_is_said_by_whom(registry: PersistenceRegistry) -> None:
    registry.register_operation(Order, Orders)
    registry.register_retrieval(Order, Orders)
    registry.register_query(OrderSummary, Orders, source="read_replica")
    registry.register_query_spec(OrderSummary, Orders)

    refused: list[tuple[Callable[[], None], str]] = [
        (lambda: registry.register_operation(Order, Orders, priority=1), "an operation of Order"),
        (
            lambda: registry.register_operation(Order, Journal),
            r"Orders \(source 'default'\) is already the operation of Order at priority 0; give "
            "Journal another priority",
        ),
        (lambda: registry.register_retrieval(Order, Journal), "already the retrieval of Order"),
        (
            lambda: registry.register_query(OrderSummary, Journal),
            r"Orders \(source 'read_replica'\) is already the query of OrderSummary",
        ),
        (
            lambda: registry.register_query_spec(OrderSummary, Journal),
            "already the specification query of OrderSummary",
        ),
    ]
    for register, place in refused:
        with pytest.raises(HandlerAlreadyRegisteredError, match=place) as caught:
            register()
        assert caught.value.handler == "Orders"


def test_a_chain_across_sources_is_refused(registry: PersistenceRegistry) -> None:
    registry.register_operation(Order, Orders, source="orders_db")

    with pytest.raises(HandlerRegistrationError, match="'archive_db'.*'orders_db'.*one unit of"):
        registry.register_operation(Order, Journal, source="archive_db", priority=1)

    assert len(registry.find_operations(Order)) == 1


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (object, "has no method persist"),
        (Orders(), "is not a class; .* handler_factory"),
        (lambda: Orders(), "is not a class"),
        (type("Sync", (), {"persist": lambda self, entity, uow: "o-1"}), "is not async"),
        (IOperationPersistence, "is abstract; implement persist"),
    ],
)
def test_a_handler_that_does_not_fit_is_refused(
    handler: Any, problem: str, registry: PersistenceRegistry
) -> None:
    with pytest.raises(HandlerRegistrationError, match=problem) as caught:
        registry.register_operation(Order, handler)

    assert caught.value.message_type == "Order"
    with pytest.raises(HandlerNotRegisteredError):
        registry.find_operations(Order)


def test_a_handler_with_another_signature_is_refused(registry: PersistenceRegistry) -> None:
    class One:
        async def persist(self, entity: Order) -> str:
            return entity.id

        async def retrieve(self, ids: Any, uow: UnitOfWork, limit: int) -> list[Order]:
            return []

    with pytest.raises(HandlerRegistrationError, match=r"persist\(self, entity.* \(entity, uow\)"):
        registry.register_operation(Order, One)
    with pytest.raises(HandlerRegistrationError, match=r"cannot be called with \(ids, uow\)"):
        registry.register_retrieval(Order, One)


def test_registered_handler_and_type_are_classes(registry: PersistenceRegistry) -> None:
    no_class: Any = "Order"
    no_aggregate: Any = OrderSummary
    with pytest.raises(HandlerRegistrationError, match="OrderSummary.*register_query"):
        registry.register_operation(no_aggregate, Orders)
    with pytest.raises(HandlerRegistrationError, match="'Order' is not a class of aggregates"):
        registry.register_retrieval(no_class, Orders)
    with pytest.raises(HandlerRegistrationError, match="'Order' is not a class"):
        registry.register_query(no_class, Orders)


def test_whether_events_are_taken_is_found_at_the_registration(
    registry: PersistenceRegistry,
) -> None:
    class Named(Orders):
        async def persist(self, entity: Order, uow: UnitOfWork, events: Any = None) -> str:
            return entity.id

    class Required:
        async def persist(self, entity: Order, uow: UnitOfWork, events: Any) -> str:
            return entity.id

    class Anything(Orders):
        async def persist(self, entity: Order, uow: UnitOfWork, **more: Any) -> str:
            return entity.id

    for priority, handler in enumerate((Orders, Named, Required, Anything)):
        registry.register_operation(Order, handler, priority=-priority)

    chain = registry.find_operations(Order)
    assert [each.takes_events for each in chain] == [False, True, True, True]


def test_error_for_a_missing_handler_lists_the_registered_ones(
    registry: PersistenceRegistry,
) -> None:
    registry.register_query(OrderSummary, Orders)

    class OrderSummery(BaseModel):
        pass

    with pytest.raises(
        HandlerNotRegisteredError,
        match=r"no query handler for OrderSummery; there are handlers for OrderSummary; call "
        r"registry.register_query\(OrderSummery, ...\) first",
    ):
        registry.find(QUERY, OrderSummery)
    with pytest.raises(HandlerNotRegisteredError, match="there are handlers for nothing"):
        registry.find(QUERY_SPEC, OrderSummary)


def test_the_id_of_a_read_model_is_its_id_or_what_is_said(registry: PersistenceRegistry) -> None:
    @dataclass
    class WithId:
        id: str

    class ByProperty(BaseModel):
        order: str

        @property
        def key(self) -> str:
            return self.order

    registry.register_query(WithId, Orders)
    registry.register_query(OrderSummary, Orders)
    registry.register_query(ByProperty, Orders, id_attribute="key")
    registry.register_query(dict, Orders)

    tell = registry.result_types
    assert tell[OrderSummary] is None
    assert tell[dict] is None
    by_id, by_property = tell[WithId], tell[ByProperty]
    assert by_id is not None
    assert by_id(WithId("o-1")) == "o-1"
    assert by_property is not None
    assert by_property(ByProperty(order="o-2")) == "o-2"


def test_an_id_attribute_that_is_not_there_is_refused(registry: PersistenceRegistry) -> None:
    with pytest.raises(HandlerRegistrationError, match="no attribute 'id' .* fields are order_id"):
        registry.register_query(OrderSummary, Orders, id_attribute="id")


def test_the_calls_are_those_that_are_printed() -> None:
    printed = {
        "register_operation": "entity_type, handler_cls, source='default', priority=0",
        "register_retrieval": "entity_type, handler_cls, source='default'",
        "register_query": "result_type, handler_cls, source='default', *, id_attribute=None",
        "register_query_spec": "result_type, handler_cls, source='default'",
    }
    for name, expected in printed.items():
        signature = inspect.signature(getattr(PersistenceRegistry, name))
        bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        told = signature.replace(parameters=bare, return_annotation=signature.empty)
        assert str(told) == f"(self, {expected})"
