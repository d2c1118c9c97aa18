"""What the query roles over documents must do on every back end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from cqrs_ddd_advanced_core.exceptions import ProjectionStoreError
from cqrs_ddd_advanced_core.persistence import PersistenceDispatcher, PersistenceRegistry
from cqrs_ddd_advanced_core.ports.projections import IProjectionStoreProvider
from cqrs_ddd_advanced_core.projections import (
    ProjectionBackedDualPersistence,
    ProjectionBackedQueryPersistence,
    ProjectionBackedSpecPersistence,
)
from cqrs_ddd_core import ISpecification, UnitOfWork
from cqrs_ddd_core.adapters.tenant_repository import TenantSpecification
from cqrs_ddd_core.context import get_tenant_id, request_context
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
    "tenant_id": str,
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


class OfTheTenant(OrderSummaryQueryPersistence):
    def row_scope(self) -> ISpecification[Any] | None:
        return TenantSpecification(get_tenant_id() or "")


class ById(ProjectionBackedQueryPersistence[dict[str, Any], uuid.UUID]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> dict[str, Any]:
        return doc


class Search(ProjectionBackedSpecPersistence[dict[str, Any]]):
    collection = "order_summaries"

    def to_dto(self, doc: dict[str, Any]) -> dict[str, Any]:
        return doc


class WithoutCollection(Search):
    collection = ""


class ProjectionRolesKit:
    """Fixtures: ``new_uow``, which makes units of work that carry a store."""

    roles: ClassVar[type[Any]] = OrderSummaryQueryPersistence

    @pytest.fixture
    async def dispatcher(self, new_uow: NewUnitOfWork) -> PersistenceDispatcher:
        """Order n of 0 to 24 was made n hours after the start, in turn for three customers."""
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
                        "tenant_id": "acme" if n < 12 else "other",
                    }
                    for n in range(25)
                },
                uow=uow,
            )
        return self.a_dispatcher(new_uow, self.roles)

    def a_dispatcher(self, new_uow: NewUnitOfWork, roles: type[Any]) -> PersistenceDispatcher:
        registry = PersistenceRegistry()
        registry.register_query(OrderSummaryDTO, roles, source="default")
        registry.register_query_spec(OrderSummaryDTO, roles, source="default")
        return PersistenceDispatcher({"default": new_uow}, registry)

    async def test_the_orders_of_a_customer_come_as_the_document_prints_it(
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

    async def test_a_specification_joins_conditions_over_declared_fields(
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

    async def test_ids_give_their_order(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        asked = ["order_7", "none", "order_3", "order_7"]

        alone = await (await dispatcher.fetch(OrderSummaryDTO, asked))
        async with new_uow() as uow:
            directly = await self.roles().fetch(asked[:3], uow)

        assert [each.id for each in alone] == ["order_7", "order_3"]
        assert [each.id for each in directly] == ["order_7", "order_3"]

    async def test_a_search_is_streamed_within_a_unit_of_work(
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

    async def test_the_next_page_begins_behind_the_last_result(
        self, dispatcher: PersistenceDispatcher
    ) -> None:
        options = QueryOptions().with_ordering("-created_at").with_pagination(limit=20)

        first = await (await dispatcher.fetch(OrderSummaryDTO, options))
        second = await (await dispatcher.fetch(OrderSummaryDTO, options.next_page(first[-1])))

        assert [each.id for each in first + second] == [f"order_{n}" for n in range(24, -1, -1)]

    async def test_a_scope_holds_for_ids_searches_pages_and_streams(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        scoped = self.a_dispatcher(new_uow, OfTheTenant)
        spec = AttributeSpecification("total", ">=", 10)
        pages = QueryOptions(spec).with_ordering("total").with_pagination(limit=1)

        with request_context(tenant_id="acme"):
            async with new_uow() as uow:
                by_id = await scoped.fetch(OrderSummaryDTO, ["order_20", "order_3", "order_1"], uow)
                result = await scoped.fetch(OrderSummaryDTO, spec, uow)
                streamed = await scoped.fetch(OrderSummaryDTO, QueryOptions(spec), uow)
                every = await scoped.fetch(OrderSummaryDTO, QueryOptions(), uow)
                first = await (await scoped.fetch(OrderSummaryDTO, pages, uow))
                page = await scoped.fetch(OrderSummaryDTO, pages.next_page(first[-1]), uow)
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

    async def test_the_scope_is_that_of_the_request_that_asked(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        async with new_uow() as uow:
            with request_context(tenant_id="acme"):
                result = await OfTheTenant().fetch(AllOf(()), uow)
            with request_context(tenant_id="other"):
                found = await result

        assert len(found) == 12

    async def test_one_role_alone_can_be_had(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        key = uuid.uuid4()

        async with new_uow() as uow:
            assert isinstance(uow, IProjectionStoreProvider)
            await uow.projections.upsert("order_summaries", str(key), {"status": "new"}, uow=uow)
            by_id = await ById().fetch([key], uow)
            found = await (await Search().fetch(AttributeSpecification("status", "=", "new"), uow))

        assert by_id == found == [{"status": "new"}]

    async def test_condition_on_an_undeclared_field_is_an_error(
        self, dispatcher: PersistenceDispatcher, new_uow: NewUnitOfWork
    ) -> None:
        async with new_uow() as uow:
            with pytest.raises(ValidationError):
                await dispatcher.fetch(
                    OrderSummaryDTO, AttributeSpecification("id", "=", "order_1"), uow
                )
            with pytest.raises(InvalidOperationError, match="cannot search by 'x'"):
                await Search().fetch("x", uow)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match="WithoutCollection has no collection"):
                await WithoutCollection().fetch(AllOf(()), uow)

    async def test_a_collection_that_nobody_made_is_told(self, new_uow: NewUnitOfWork) -> None:
        class Elsewhere(Search):
            collection = "elsewhere"

        with pytest.raises(ProjectionStoreError, match="there is no collection elsewhere"):
            async with new_uow() as uow:
                await Elsewhere().fetch(AllOf(()), uow)
