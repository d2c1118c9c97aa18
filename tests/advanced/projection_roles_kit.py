"""Tests of the query roles over documents, run on every back end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from cqrs_ddd_advanced_core.persistence import PersistenceDispatcher, PersistenceRegistry
from cqrs_ddd_advanced_core.ports.projections import IProjectionStoreProvider
from cqrs_ddd_advanced_core.projections import (
    ProjectionBackedDualPersistence,
    ProjectionBackedQueryPersistence,
    ProjectionBackedSpecPersistence,
)
from cqrs_ddd_core import ISpecification, UnitOfWork
from cqrs_ddd_core.context import get_user_id, request_context
from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError, ValidationError
from cqrs_ddd_core.spi.querying import AllOf
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions, SpecificationBuilder

NewUnitOfWork = Callable[[], UnitOfWork]
START = datetime(2026, 3, 1, tzinfo=timezone.utc)


class OrderSummaryDTO(BaseModel):
    id: str
    customer_id: str
    status: str
    total: Decimal
    created_at: datetime


FIELDS: dict[str, Any] = {
    "customer_id": str,
    "status": str,
    "total": Decimal,
    "created_at": datetime,
    "owner_id": str,
}


class OrderSummaryQueryPersistence(ProjectionBackedDualPersistence[OrderSummaryDTO, str]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> OrderSummaryDTO:
        return OrderSummaryDTO(**doc)


class GetCustomerOrdersQuery(BaseModel):
    customer_id: str
    limit: int = 10


async def handle_get_customer_orders(
    query: GetCustomerOrdersQuery, dispatcher: PersistenceDispatcher, uow: UnitOfWork
) -> list[OrderSummaryDTO]:
    spec = SpecificationBuilder().where("customer_id", "=", query.customer_id).build()
    options = (
        QueryOptions()
        .with_specification(spec)
        .with_ordering("-created_at")
        .with_pagination(limit=query.limit)
    )
    result = await dispatcher.fetch(OrderSummaryDTO, options, uow=uow)
    return await result


class OwnOrders(OrderSummaryQueryPersistence):
    def row_scope(self) -> ISpecification[Any] | None:
        return AttributeSpecification("owner_id", "=", get_user_id())


class DocumentById(ProjectionBackedQueryPersistence[dict[str, Any], uuid.UUID]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> dict[str, Any]:
        return doc


class DocumentSearch(ProjectionBackedSpecPersistence[dict[str, Any]]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> dict[str, Any]:
        return doc


class SearchWithoutCollection(DocumentSearch):
    collection = ""


class StatusOfOrder(str, Enum):
    OPEN = "open"
    SENT = "sent"


class ShippingDTO(BaseModel):
    """Result whose collection no projection has created."""

    id: str
    status: StatusOfOrder
    weight: Decimal = Field(max_digits=9, decimal_places=3)
    place: str | None = None
    lines: list[dict[str, int]] = []


class ShippingQueryPersistence(ProjectionBackedDualPersistence[ShippingDTO, str]):
    collection = "shippings"

    def to_dto(self, doc: dict[str, Any]) -> ShippingDTO:
        return ShippingDTO(**doc)


class ProjectionRolesKit:
    """Tests over ``new_uow``, a factory of units of work with a projection store."""

    roles: ClassVar[type[Any]] = OrderSummaryQueryPersistence

    @pytest.fixture
    async def dispatcher(self, new_uow: NewUnitOfWork) -> PersistenceDispatcher:
        """Store orders 0 to 24 of three customers in turn, order n at ``START`` plus n hours."""
        uow = new_uow()
        assert isinstance(uow, IProjectionStoreProvider)
        await uow.projections.ensure_collection("order_summaries", FIELDS)
        async with uow:
            await uow.projections.upsert_batch(
                "order_summaries",
                {
                    f"order_{n}": {
                        "id": f"order_{n}",
                        "customer_id": f"cust_{n % 3}",
                        "status": "submitted" if n % 2 else "created",
                        "total": Decimal(n),
                        "created_at": START + timedelta(hours=n),
                        "owner_id": "acme" if n < 12 else "other",
                    }
                    for n in range(25)
                },
                uow=uow,
            )
        return self.create_dispatcher(new_uow, self.roles)

    def create_dispatcher(self, new_uow: NewUnitOfWork, roles: type[Any]) -> PersistenceDispatcher:
        registry = PersistenceRegistry()
        registry.register_query(OrderSummaryDTO, roles, source="default")
        registry.register_query_spec(OrderSummaryDTO, roles, source="default")
        return PersistenceDispatcher({"default": new_uow}, registry)

    async def test_projection_search_pages_the_orders_of_a_customer_by_date(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        query = GetCustomerOrdersQuery(customer_id="cust_1", limit=3)

        async with new_uow() as uow:
            found = await handle_get_customer_orders(query, dispatcher, uow)

        assert [each.id for each in found] == ["order_22", "order_19", "order_16"]
        assert found[0] == OrderSummaryDTO(
            id="order_22",
            customer_id="cust_1",
            status="created",
            total=Decimal(22),
            created_at=START + timedelta(hours=22),
        )

    async def test_projection_search_combines_conditions_over_declared_fields(
        self, dispatcher: PersistenceDispatcher
    ) -> None:
        spec = (
            SpecificationBuilder()
            .where("customer_id", "=", "cust_1")
            .where("status", "=", "submitted")
            .where("total", ">=", 15)
            .build()
        )

        found = await (await dispatcher.fetch(OrderSummaryDTO, spec))

        assert {each.id for each in found} == {"order_19"}

    async def test_first_query_creates_the_collection_with_the_fields_of_the_result(
        self, new_uow: NewUnitOfWork
    ) -> None:
        roles = type("Shippings", (ShippingQueryPersistence, self.roles), {})()
        heavy = SpecificationBuilder().where("weight", ">", Decimal("1.5")).build()
        sent = SpecificationBuilder().where("status", "=", "sent").build()
        shippings = [
            ShippingDTO(id="s-1", status=StatusOfOrder.SENT, weight=Decimal("1.500")),
            ShippingDTO(id="s-2", status=StatusOfOrder.SENT, weight=Decimal("1.501"), place="Ulm"),
        ]

        async with new_uow() as uow:
            assert isinstance(uow, IProjectionStoreProvider)
            await uow.projections.drop_collection("shippings", uow=uow)
        reading = new_uow()
        reading.read_only = True
        async with reading as uow:
            assert await roles.fetch(["s-1"], uow) == []
            assert await (await roles.fetch(heavy, uow)) == []
        async with new_uow() as uow:
            assert isinstance(uow, IProjectionStoreProvider)
            assert await (await roles.fetch(heavy, uow)) == []
            documents = {each.id: each.model_dump(mode="json") for each in shippings}
            await uow.projections.upsert_batch("shippings", documents, uow=uow)
            assert await (await roles.fetch(heavy, uow)) == shippings[1:]
        async with new_uow() as uow:
            assert await (await roles.fetch(sent, uow)) == shippings
            assert await roles.fetch(["s-2"], uow) == shippings[1:]

    async def test_projection_query_returns_documents_in_the_order_of_the_ids(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        asked = ["order_7", "none", "order_3", "order_7"]

        alone = await (await dispatcher.fetch(OrderSummaryDTO, asked))
        async with new_uow() as uow:
            directly = await self.roles().fetch(asked[:3], uow)

        assert [each.id for each in alone] == ["order_7", "order_3"]
        assert [each.id for each in directly] == ["order_7", "order_3"]

    async def test_projection_search_can_be_streamed_within_a_unit_of_work(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        options = QueryOptions().with_ordering("created_at")

        async with new_uow() as uow:
            result = await dispatcher.fetch(OrderSummaryDTO, options, uow=uow)
            found = [order.id async for order in result.stream(batch_size=10)]
            async for order in result.stream(batch_size=10):
                assert order.id == "order_0"
                break

        assert found == [f"order_{n}" for n in range(25)]

    async def test_next_page_of_a_projection_search_begins_after_the_last_result(
        self, dispatcher: PersistenceDispatcher
    ) -> None:
        options = QueryOptions().with_ordering("-created_at").with_pagination(limit=20)

        first = await (await dispatcher.fetch(OrderSummaryDTO, options))
        after = options.next_page(first[-1], key="created_at")
        second = await (await dispatcher.fetch(OrderSummaryDTO, after))

        assert [each.id for each in first + second] == [f"order_{n}" for n in range(24, -1, -1)]

    async def test_row_scope_restricts_ids_searches_pages_and_streams(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        scoped = self.create_dispatcher(new_uow, OwnOrders)
        spec = AttributeSpecification("total", ">=", 10)
        pages = QueryOptions(spec).with_ordering("total").with_pagination(limit=1)

        with request_context(user_id="acme"):
            async with new_uow() as uow:
                by_id = await scoped.fetch(OrderSummaryDTO, ["order_20", "order_3", "order_1"], uow)
                result = await scoped.fetch(OrderSummaryDTO, spec, uow)
                streamed = await scoped.fetch(OrderSummaryDTO, QueryOptions(spec), uow)
                every = await scoped.fetch(OrderSummaryDTO, QueryOptions(), uow)
                first = await (await scoped.fetch(OrderSummaryDTO, pages, uow))
                page = await scoped.fetch(
                    OrderSummaryDTO, pages.next_page(first[-1], key="total"), uow
                )
                found = [await by_id, await result, first, await page]
                in_stream = [order.id async for order in streamed.stream()]
                everything = await every

        assert [[each.id for each in orders] for orders in found] == [
            ["order_3", "order_1"],
            ["order_10", "order_11"],
            ["order_10"],
            ["order_11"],
        ]
        assert in_stream == ["order_10", "order_11"]
        assert len(everything) == 12

    async def test_row_scope_is_evaluated_when_the_query_is_made_not_when_it_is_awaited(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        async with new_uow() as uow:
            with request_context(user_id="acme"):
                result = await OwnOrders().fetch(AllOf(()), uow)
            with request_context(user_id="other"):
                found = await result

        assert len(found) == 12

    async def test_query_role_and_search_role_work_as_separate_classes(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        key = uuid.uuid4()

        async with new_uow() as uow:
            assert isinstance(uow, IProjectionStoreProvider)
            await uow.projections.upsert("order_summaries", str(key), {"status": "new"}, uow=uow)
            by_id = await DocumentById().fetch([key], uow)
            found = await (
                await DocumentSearch().fetch(AttributeSpecification("status", "=", "new"), uow)
            )

        assert by_id == found == [{"status": "new"}]

    async def test_projection_search_rejects_conditions_on_undeclared_fields(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        async with new_uow() as uow:
            with pytest.raises(ValidationError):
                await dispatcher.fetch(
                    OrderSummaryDTO, AttributeSpecification("id", "=", "order_1"), uow
                )
            with pytest.raises(InvalidOperationError, match="cannot search by an object of str"):
                await DocumentSearch().fetch("x", uow)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match="SearchWithoutCollection has no collection"):
                await SearchWithoutCollection().fetch(AllOf(()), uow)
