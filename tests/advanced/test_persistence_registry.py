"""Tests of the persistence registry and of its errors."""

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


def test_registry_lists_operations_by_descending_priority(registry: PersistenceRegistry) -> None:
    class Last(Orders):
        pass

    registry.register_operation(entity_type=Order, handler_cls=Orders)
    registry.register_operation(Order, Journal, source="default", priority=10)
    registry.register_operation(Order, Last, priority=-1)

    assert [each.handler_cls for each in registry.find_operations(Order)] == [Journal, Orders, Last]


def test_second_registration_for_a_role_names_the_registered_handler(
    registry: PersistenceRegistry,
) -> None:
    registry.register_operation(Order, Orders)
    registry.register_retrieval(Order, Orders)
    registry.register_query(OrderSummary, Orders, source="read_replica")
    registry.register_query_spec(OrderSummary, Orders)

    rejected: list[tuple[Callable[[], None], str]] = [
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
    for register, place in rejected:
        with pytest.raises(HandlerAlreadyRegisteredError, match=place) as caught:
            register()
        assert caught.value.handler == "Orders"


def test_operations_of_one_type_cannot_use_different_sources(registry: PersistenceRegistry) -> None:
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
def test_handler_without_the_async_method_of_its_role_is_rejected(
    handler: Any, problem: str, registry: PersistenceRegistry
) -> None:
    with pytest.raises(HandlerRegistrationError, match=problem) as caught:
        registry.register_operation(Order, handler)

    assert caught.value.message_type == "Order"
    with pytest.raises(HandlerNotRegisteredError):
        registry.find_operations(Order)


def test_handler_with_a_wrong_signature_is_rejected(registry: PersistenceRegistry) -> None:
    class One:
        async def persist(self, entity: Order) -> str:
            return entity.id

        async def retrieve(self, ids: Any, uow: UnitOfWork, limit: int) -> list[Order]:
            return []

    with pytest.raises(HandlerRegistrationError, match=r"persist\(self, entity.* \(entity, uow\)"):
        registry.register_operation(Order, One)
    with pytest.raises(HandlerRegistrationError, match=r"cannot be called with \(ids, uow\)"):
        registry.register_retrieval(Order, One)


def test_registry_rejects_a_type_that_is_not_a_class_or_not_an_aggregate(
    registry: PersistenceRegistry,
) -> None:
    not_a_class: Any = "Order"
    not_an_aggregate: Any = OrderSummary
    with pytest.raises(HandlerRegistrationError, match="OrderSummary.*register_query"):
        registry.register_operation(not_an_aggregate, Orders)
    with pytest.raises(HandlerRegistrationError, match="'Order' is not a class of aggregates"):
        registry.register_retrieval(not_a_class, Orders)
    with pytest.raises(HandlerRegistrationError, match="'Order' is not a class"):
        registry.register_query(not_a_class, Orders)


def test_registration_detects_if_a_handler_accepts_events(
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


def test_error_for_a_missing_handler_lists_the_registered_types(
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


def test_result_id_is_read_from_the_id_attribute(registry: PersistenceRegistry) -> None:
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

    result_types = registry.result_types
    assert result_types[OrderSummary] is None
    assert result_types[dict] is None
    by_id, by_property = result_types[WithId], result_types[ByProperty]
    assert by_id is not None
    assert by_id(WithId("o-1")) == "o-1"
    assert by_property is not None
    assert by_property(ByProperty(order="o-2")) == "o-2"


def test_registration_with_an_unknown_id_attribute_is_rejected(
    registry: PersistenceRegistry,
) -> None:
    with pytest.raises(HandlerRegistrationError, match="no attribute 'id' .* fields are order_id"):
        registry.register_query(OrderSummary, Orders, id_attribute="id")


def test_registry_methods_have_the_documented_signatures() -> None:
    printed = {
        "register_operation": "entity_type, handler_cls, source='default', priority=0",
        "register_retrieval": "entity_type, handler_cls, source='default'",
        "register_query": "result_type, handler_cls, source='default', *, id_attribute=None",
        "register_query_spec": "result_type, handler_cls, source='default'",
    }
    for name, expected in printed.items():
        signature = inspect.signature(getattr(PersistenceRegistry, name))
        bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        found = signature.replace(parameters=bare, return_annotation=signature.empty)
        assert str(found) == f"(self, {expected})"
