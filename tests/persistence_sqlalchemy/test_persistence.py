"""Tests of the persistence roles over tables, on SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import GenerativeSelect, Row, Text, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cqrs_ddd_advanced_core import (
    CachingPersistenceDispatcher,
    IPersistenceDispatcher,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from cqrs_ddd_advanced_core.testing.contracts.parcel_registry import (
    ParcelSummary,
    store_parcel,
)
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core.adapters.memory import InMemoryCacheService, InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    HandlerRegistrationError,
    InvalidOperationError,
)
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.repository import Options, Where
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyOperationPersistence,
    SQLAlchemyQueryPersistence,
    SQLAlchemyQuerySpecificationPersistence,
)
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions, SpecificationBuilder
from cqrs_ddd_specifications.exceptions import UnknownFieldError
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork
from tests.persistence_sqlalchemy.parcel_roles import parcel_roles
from tests.persistence_sqlalchemy.parcels import Parcels


@pytest.fixture
def plain(parcels: Parcels, new_uow: NewUnitOfWork, tables: Tables) -> PersistenceDispatcher:
    return PersistenceDispatcher({"default": new_uow}, parcel_roles(tables.schema))


@pytest.fixture
def dispatcher(plain: PersistenceDispatcher) -> IPersistenceDispatcher:
    return plain


@pytest.fixture
def where() -> Where:
    return AttributeSpecification


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestSQLAlchemyRoles(PersistenceDispatcherContract):
    @pytest.fixture
    async def engine(self, forgetful_engine: AsyncEngine) -> AsyncEngine:
        return forgetful_engine


class TestCachedSQLAlchemyRoles(PersistenceDispatcherContract):
    @pytest.fixture
    async def engine(self, forgetful_engine: AsyncEngine) -> AsyncEngine:
        return forgetful_engine

    @pytest.fixture
    def dispatcher(self, plain: PersistenceDispatcher) -> CachingPersistenceDispatcher:
        return CachingPersistenceDispatcher(plain, InMemoryCacheService())


class Base(DeclarativeBase):
    pass


class LineModel(Base):
    __tablename__ = "dispatched_lines"

    order_id: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column("article", Text)


class Line(SQLAlchemyQueryPersistence[tuple[Any, ...], str]):
    model = LineModel
    id_attribute = "order_id"

    def to_dto(self, row: Row[Any]) -> tuple[Any, ...]:
        return (row.order_id, row.number, row.sku)


class Total(SQLAlchemyQueryPersistence[tuple[Any, ...], str]):
    model = LineModel
    id_attribute = "order_id"

    def statement(self) -> GenerativeSelect:
        count = func.count(LineModel.number).label("lines")
        return select(LineModel.order_id, count).group_by(LineModel.order_id)

    def to_dto(self, row: Row[Any]) -> tuple[Any, ...]:
        return (row.order_id, row.lines)


class LineSearch(SQLAlchemyQuerySpecificationPersistence[tuple[Any, ...]]):
    model = LineModel
    id_attribute = "number"

    def to_dto(self, row: Row[Any]) -> tuple[Any, ...]:
        return tuple(row)


@pytest.fixture
async def lines(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        rows = [
            {"order_id": order, "number": number, "article": f"{order}{number}"}
            for order in "abc"
            for number in (1, 2)
        ]
        await connection.execute(LineModel.__table__.insert(), rows)  # type: ignore[attr-defined]
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


@pytest.mark.usefixtures("lines")
async def test_query_returns_all_rows_of_an_id_and_columns_with_another_name(
    new_uow: NewUnitOfWork,
) -> None:
    async with new_uow() as uow:
        found = await Line().fetch(["c", "none", "a"], uow)

    assert found == [("c", 1, "c1"), ("c", 2, "c2"), ("a", 1, "a1"), ("a", 2, "a2")]


@pytest.mark.usefixtures("lines")
async def test_query_with_a_custom_statement_can_aggregate_rows(new_uow: NewUnitOfWork) -> None:
    async with new_uow() as uow:
        assert await Total().fetch(["b", "a"], uow) == [("b", 2), ("a", 2)]


@pytest.mark.usefixtures("lines")
async def test_specification_query_knows_only_the_attributes_of_its_model(
    new_uow: NewUnitOfWork,
) -> None:
    search = LineSearch()
    second = SpecificationBuilder().where("number", "=", 2).build()
    page = QueryOptions().with_specification(second).with_ordering("-sku").with_pagination(limit=2)

    async with new_uow() as uow:
        found = await (await search.fetch(page, uow))
        streamed = [row async for row in (await search.fetch(page, uow)).stream(batch_size=1)]
        with pytest.raises(UnknownFieldError, match="price"):
            await search.fetch(AttributeSpecification("price", "=", 1), uow)
        with pytest.raises(InvalidOperationError, match="select_fields"):
            await search.fetch(page.with_select_fields("sku"), uow)
        with pytest.raises(InvalidOperationError, match="cannot search by an object of int"):
            await search.fetch(7, uow)  # type: ignore[arg-type]

    assert found == streamed == [("c", 2, "c2"), ("b", 2, "b2")]


@pytest.mark.usefixtures("lines")
async def test_unit_of_work_is_usable_between_the_batches_of_a_stream(
    plain: PersistenceDispatcher, new_uow: NewUnitOfWork
) -> None:
    for _ in range(4):
        await store_parcel(plain, "anna")
    annas = AttributeSpecification("owner", "=", "anna")

    async with new_uow() as uow:
        result = await plain.fetch(ParcelSummary, annas, uow=uow)
        async for summary in result.stream(batch_size=1):
            (parcel,) = await plain.fetch_domain(Parcel, [summary.id], uow=uow)
            parcel.weigh(9)
            await plain.apply(parcel, uow=uow)

    assert {s.grams for s in await (await plain.fetch(ParcelSummary, annas))} == {9}


async def test_persistence_role_rejects_an_in_memory_unit_of_work(
    plain: PersistenceDispatcher,
) -> None:
    async with InMemoryUnitOfWork() as uow:
        with pytest.raises(InvalidOperationError, match="use a SQLAlchemyUnitOfWork"):
            await plain.fetch_domain(Parcel, ["p-1"], uow=uow)


class TestWithoutDatabase:
    """Tests of role errors, which are raised at the first use of the role."""

    @pytest.fixture
    def uow(self) -> Any:
        return object.__new__(SQLAlchemyUnitOfWork)

    async def test_persistence_role_without_class_attributes_names_them(self, uow: Any) -> None:
        class Orders(SQLAlchemyOperationPersistence[Parcel, str]):
            pass

        with pytest.raises(ConfigError, match="Orders lacks entity_type and model; set it"):
            await Orders().persist(Parcel(id="p-1", owner="anna"), uow)

    async def test_query_role_rejects_a_composite_or_unknown_id_attribute(self, uow: Any) -> None:
        class Lines(SQLAlchemyQueryPersistence[tuple[Any, ...], str]):
            model = LineModel

            def to_dto(self, row: Row[Any]) -> tuple[Any, ...]:
                return tuple(row)

        class MisnamedLine(Line):
            id_attribute = "order"

        with pytest.raises(ConfigError, match="set id_attribute of Lines"):
            assert Lines()._key is not None
        with pytest.raises(ConfigError, match="'order'; use one of order_id, number, sku"):
            assert MisnamedLine()._key is not None

    async def test_query_role_rejects_a_statement_without_a_where_clause(self, uow: Any) -> None:
        class CompoundLine(Line):
            def statement(self) -> GenerativeSelect:
                return select(LineModel.order_id).union_all(select(LineModel.sku))

        with pytest.raises(
            ConfigError, match="CompoundLine is a CompoundSelect, .* return a select"
        ):
            await CompoundLine().fetch(["a"], uow)

    def test_query_role_without_to_dto_is_rejected_at_its_registration(self) -> None:
        class Unfinished(SQLAlchemyQueryPersistence[ParcelSummary, str]):
            model = LineModel

        with pytest.raises(HandlerRegistrationError, match="it is abstract; implement to_dto"):
            PersistenceRegistry().register_query(ParcelSummary, Unfinished)


def test_import_without_the_advanced_package_names_the_install_command() -> None:
    code = (
        "import sys; sys.modules['cqrs_ddd_advanced_core'] = None\n"
        "import cqrs_ddd_persistence_sqlalchemy\n"
        "try:\n"
        "    from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyQueryPersistence\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )

    program = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert 'run pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"' in program.stdout
