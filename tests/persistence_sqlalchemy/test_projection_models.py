"""Collections that are tables of the application's own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest
from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy import Enum as EnumType
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from cqrs_ddd_advanced_core.exceptions import DocumentError, ProjectionStoreError
from cqrs_ddd_advanced_core.ports.projections import Document, Fields
from cqrs_ddd_advanced_core.projections import ProjectionBackedDualPersistence, ProjectionHandler
from cqrs_ddd_advanced_core.spi.document_fields import DocumentFields
from cqrs_ddd_advanced_core.testing.contracts.projections import ProjectionStoreContract
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.ports import SearchResult
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    ConfigError,
    InvalidOperationError,
    ValidationError,
)
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from cqrs_ddd_persistence_sqlalchemy.advanced.projections.column_types import column_type
from cqrs_ddd_persistence_sqlalchemy.advanced.projections.user_tables import CollectionModel
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json, UtcDateTime
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from tests.advanced.inline_kit import InlineProjectionKit
from tests.advanced.projection_kit import ProjectionWorkerKit
from tests.advanced.surrounded import Surrounded
from tests.advanced.tills import Days, Tills, new_till, opened_and_sold, stored
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
async def models(engine: AsyncEngine, tables: Tables) -> dict[str, type]:
    """Tables of this test alone."""

    class Base(DeclarativeBase):
        metadata = MetaData(schema=tables.schema)

    class TillRow(Base):
        __tablename__ = "till"
        id: Mapped[str] = mapped_column(Text, primary_key=True)
        place: Mapped[str | None]
        cents: Mapped[int] = mapped_column(BigInteger)
        seen: Mapped[Any] = mapped_column(Json)

    class DayRow(Base):
        __tablename__ = "day"
        id: Mapped[str] = mapped_column(Text, primary_key=True)
        cents: Mapped[int]
        count: Mapped[int]

    class ParcelRow(Base):
        __tablename__ = "parcel"
        number: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[str] = mapped_column("the_owner", String(20))
        size: Mapped[Size | None] = mapped_column(EnumType(Size))
        price: Mapped[Decimal] = mapped_column(ExactDecimal(12, 2), default=Decimal(5))
        sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
        day: Mapped[date | None]
        key: Mapped[UUID | None]
        weight: Mapped[float | None] = mapped_column(Float)
        lines: Mapped[int | None] = mapped_column(Integer)
        next_number: Mapped[int | None] = mapped_column(ForeignKey("parcel.number"))

    class LetterRow(Base):
        __tablename__ = "letter"
        key: Mapped[UUID] = mapped_column(primary_key=True)
        text: Mapped[str | None]

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return {
        "tills": TillRow,
        "days": DayRow,
        "parcels": ParcelRow,
        "letters": LetterRow,
        "days_again": DayRow,
    }


@pytest.fixture
def store(
    session_factory: SessionFactory, tables: Tables, models: dict[str, type]
) -> SQLAlchemyProjectionStore:
    return SQLAlchemyProjectionStore(session_factory, tables=tables, models=models)


@pytest.fixture
def uow_of_models(
    session_factory: SessionFactory, tables: Tables, models: dict[str, type]
) -> NewUnitOfWork:
    return lambda: SQLAlchemyUnitOfWork(
        session_factory=session_factory, tables=tables, models=models
    )


class TestWorkerOverOwnTables(ProjectionWorkerKit):
    test_live_rebuilt_and_followed_are_the_same = None  # type: ignore[assignment]  # It rebuilds.

    @pytest.fixture
    def surrounded(
        self,
        session_factory: SessionFactory,
        tables: Tables,
        store: SQLAlchemyProjectionStore,
        uow_of_models: NewUnitOfWork,
    ) -> Surrounded:
        return over_own_tables(session_factory, tables, store, uow_of_models)


class WithoutIds(Surrounded):
    """A row tells its key as well."""

    async def all_of(self, handler: ProjectionHandler, *ids: str) -> dict[str, dict[str, Any]]:
        found = await super().all_of(handler, *ids)
        return {each: without_id(doc) for each, doc in found.items()}


def over_own_tables(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyProjectionStore,
    new_uow: NewUnitOfWork,
) -> Surrounded:
    return WithoutIds(
        SQLAlchemyEventStore(session_factory, tables=tables),
        store,
        SQLAlchemyPositionStore(session_factory, tables=tables),
        SQLAlchemyDeadLetterStore(session_factory, tables=tables),
        new_uow,
    )


def without_id(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in doc.items() if name != "id" and value is not None}


async def test_commands_write_an_own_table_inline(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyProjectionStore,
    uow_of_models: NewUnitOfWork,
) -> None:
    surrounded = over_own_tables(session_factory, tables, store, uow_of_models)

    await InlineProjectionKit().test_commands_that_change_one_document_lose_no_change(surrounded)


class OverModels(SQLAlchemyProjectionStore):
    """Makes a table and its class for each collection that a contract asks for."""

    kind: ClassVar[type[CollectionModel]] = CollectionModel

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        engine = self._engine()
        is_postgres = engine.dialect.name == "postgresql"
        types = {
            name: column_type(each, is_postgres) for name, each in DocumentFields(fields).items()
        }
        spare = dict.fromkeys(("is", "n", "by", "lines", "customer", "more"), Json)
        table = Table(
            collection,
            MetaData(schema=self._tables.schema),
            Column("id", Text, primary_key=True),
            *(Column(name, kind) for name, kind in {**spare, **types}.items()),
        )
        model = type(collection, (), {})
        registry().map_imperatively(model, table)
        async with engine.begin() as connection:
            await connection.run_sync(table.create)
        self._catalogue._models[collection] = self.kind(collection, model)
        await super().ensure_collection(collection, fields)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        found = await super().get_batch(collection, doc_ids, uow=uow)
        return {doc_id: without_id(doc) for doc_id, doc in found.items()}

    async def find(
        self, collection: str, criteria: Any, *, uow: UnitOfWork | None = None
    ) -> SearchResult[dict[str, Any]]:
        found = await super().find(collection, criteria, uow=uow)

        async def fetch() -> list[dict[str, Any]]:
            return [without_id(doc) for doc in await found]

        async def stream(size: int) -> AsyncIterator[dict[str, Any]]:
            async for doc in found.stream(size):
                yield without_id(doc)

        return SearchResult(fetch, stream)


@pytest.mark.parametrize(
    "sentence",
    [
        "test_the_last_of_an_id_is_kept",
        "test_a_found_one_is_a_copy_of_its_own",
        "test_many_come_in_the_order_asked_for_and_absent_ones_are_left_out",
        "test_nothing_to_write_is_fine",
        "test_ids_are_any_text_and_are_told_apart",
        "test_what_can_be_no_id_is_refused_and_never_found",
        "test_deleted_ones_are_gone_and_deleting_again_is_fine",
        "test_what_is_not_committed_is_seen_from_inside_only",
        "test_a_rollback_leaves_what_was_there",
        "test_the_open_unit_of_work_is_joined",
        "test_a_cancellation_at_any_point_is_all_or_nothing",
        "test_writers_of_many_in_any_order_end",
        "test_of_two_that_lock_what_they_read_none_overwrites_the_other",
        "test_those_who_lock_other_documents_go_in_parallel",
        "test_a_truncated_collection_is_empty_for_others_from_the_commit_on",
        "test_fields_may_have_awkward_names",
        "test_every_type_is_found_by_its_value_and_a_missing_one_is_none",
        "test_values_compare_by_what_they_mean_and_not_by_their_text",
        "test_an_order_puts_equals_by_id_and_none_last",
        "test_ids_and_conditions_of_adapters_can_be_asked_for",
        "test_what_is_read_whole_cannot_be_asked_for_as_distinct",
        "test_a_search_can_be_streamed_and_leaves_the_unit_of_work_free_in_between",
    ],
)
async def test_over_an_own_table_it_holds_that(
    sentence: str, session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    test: Callable[..., Any] = getattr(ProjectionStoreContract(), sentence)
    given = {
        "store": OverModels(session_factory, tables=tables),
        "new_uow": new_uow,
        "where": AttributeSpecification,
        "options": QueryOptions,
    }

    await test(**{name: given[name] for name in inspect.signature(test).parameters})


class WritesInTheOrderGiven(CollectionModel):
    async def write(self, connection: AsyncConnection, docs: Mapping[str, Document]) -> None:
        for doc_id, doc in docs.items():
            await super().write(connection, {doc_id: doc})


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_a_table_that_is_written_in_the_order_given_waits_for_itself(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    class Naive(OverModels):
        kind = WritesInTheOrderGiven

    store = Naive(session_factory, tables=tables)

    with pytest.raises(ConcurrencyError, match="deadlock"):
        await ProjectionStoreContract().test_writers_of_many_in_any_order_end(store, new_uow)


async def test_a_row_is_read_as_json_makes_it_and_a_missing_key_is_the_default_or_null(
    store: SQLAlchemyProjectionStore,
) -> None:
    full: dict[str, Any] = {
        "number": 1,
        "owner": "anna",
        "size": "large",
        "price": "12.50",
        "sent_at": "2026-03-01T12:00:00Z",
        "day": "2026-03-01",
        "key": str(UUID(int=7)),
        "weight": 0.5,
        "lines": 3,
        "next_number": None,
    }
    given = {**full, "sent_at": NOON.astimezone(timezone(timedelta(hours=5))), "size": Size.LARGE}
    await store.upsert_batch("parcels", {"2": {"owner": "berta"}, "1": given})
    both = await store.get_batch("parcels", ["2", "1"])
    await store.upsert("parcels", "1", {"owner": "anna"})

    empty = dict.fromkeys(full)
    assert both == {"2": {**empty, "number": 2, "owner": "berta", "price": "5.00"}, "1": full}
    again = await store.get("parcels", "1")
    assert again == {**empty, "number": 1, "owner": "anna", "price": "5.00"}


@pytest.mark.parametrize(
    ("doc_id", "doc", "field"),
    [
        ("1", {"owner": "anna", "colour": "red"}, "colour"),
        ("1", {"owner": 1}, "owner"),
        ("1", {"owner": "anna", "sent_at": "2026-03-01T12:00:00"}, "sent_at"),
        ("1", {"owner": "anna", "size": "huge"}, "size"),
        ("1", {"owner": "anna", "number": 2}, "number"),
        ("one", {"owner": "anna"}, "number"),
        ("01", {"owner": "anna"}, "number"),
        (str(2**63), {"owner": "anna"}, "number"),
    ],
)
async def test_what_is_no_column_or_no_value_of_it_is_refused_with_its_name(
    doc_id: str, doc: dict[str, Any], field: str, store: SQLAlchemyProjectionStore
) -> None:
    with pytest.raises(DocumentError) as refused:
        await store.upsert_batch("parcels", {"7": {"owner": "berta"}, doc_id: doc})

    told = (refused.value.collection, refused.value.doc_id, refused.value.field)
    assert told == ("parcels", doc_id, field)
    assert await store.get("parcels", "7") is None


@pytest.mark.parametrize(
    "doc",
    [
        {},
        {"owner": None},
        {"owner": "anna", "next_number": 99},
        {"owner": "anna", "price": "0.001"},
    ],
)
async def test_what_only_the_table_refuses_is_a_fault_of_the_document_and_no_outage(
    doc: dict[str, Any], store: SQLAlchemyProjectionStore
) -> None:
    with pytest.raises(DocumentError, match="ParcelRow refuses a document of parcels") as refused:
        await store.upsert("parcels", "1", doc)

    assert (refused.value.collection, refused.value.doc_id) == ("parcels", "1")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("doc", [{"lines": 2**40}, {"owner": "x" * 21}])
async def test_what_only_postgresql_refuses_is_so_too(
    doc: dict[str, Any], store: SQLAlchemyProjectionStore
) -> None:
    with pytest.raises(DocumentError):
        await store.upsert("parcels", "1", {"owner": "anna", **doc})


async def test_ids_are_written_as_their_keys_are_and_others_are_of_no_document(
    store: SQLAlchemyProjectionStore,
) -> None:
    key = str(UUID(int=11))
    await store.upsert_batch("parcels", {n: {"owner": "anna"} for n in ("9", "10", "-3")})
    await store.upsert("letters", key, {"text": "a"})
    others = ["one", "09", str(2**40), str(2**63), " 9"]

    found = await store.get_batch("parcels", ["10", *others, "9"])
    await store.delete_batch("parcels", ["-3", *others])
    letters = await store.get_batch("letters", [key, key.replace("-", ""), "none"])

    assert [*found] == ["10", "9"]
    assert letters == {key: {"key": key, "text": "a"}}
    asked: list[Any] = [
        (AttributeSpecification("doc_id", "=", "9"), [9]),
        (AttributeSpecification("doc_id", "in", ["10", "one", "9"]), [9, 10]),
        (QueryOptions(ordering=("doc_id",)), [9, 10]),
        (QueryOptions(ordering=("-doc_id",), limit=1), [10]),
        (AttributeSpecification("number", ">", 9), [10]),
    ]
    for criteria, numbers in asked:
        rows = await (await store.find("parcels", criteria))
        assert sorted(row["number"] for row in rows) == numbers, criteria
    assert len(await (await store.find("letters", AttributeSpecification("doc_id", "=", key)))) == 1


async def test_all_columns_can_be_asked_for_and_nothing_else(
    store: SQLAlchemyProjectionStore,
) -> None:
    await store.upsert("parcels", "1", {"owner": "anna", "size": "small", "sent_at": NOON})
    for name, value in {"owner": "anna", "size": Size.SMALL, "sent_at": NOON}.items():
        found = await (await store.find("parcels", AttributeSpecification(name, "=", value)))
        assert len(found) == 1, name

    for criteria in (AttributeSpecification("the_owner", "=", "a"), QueryOptions(ordering=("x",))):
        with pytest.raises(ValidationError):
            await store.find("parcels", criteria)


async def test_a_collection_is_ensured_where_its_table_has_the_fields(
    store: SQLAlchemyProjectionStore,
    session_factory: SessionFactory,
    tables: Tables,
) -> None:
    class Base(DeclarativeBase):
        metadata = MetaData(schema=tables.schema)

    class Nowhere(Base):
        __tablename__ = "nowhere"
        id: Mapped[str] = mapped_column(primary_key=True)

    missing = SQLAlchemyProjectionStore(session_factory, tables=tables, models={"none": Nowhere})

    await store.ensure_collection("tills", {"place": str, "cents": int})
    await store.ensure_collection("tills")
    with pytest.raises(ProjectionStoreError, match="TillRow has id, place, cents, seen"):
        await store.ensure_collection("tills", {"colour": str})
    for work in (
        missing.ensure_collection("none"),
        missing.upsert("none", "1", {}),
        missing.get("none", "1"),
    ):
        with pytest.raises(ProjectionStoreError, match="nowhere"):
            await work


async def test_an_own_table_is_neither_dropped_nor_replaced(
    store: SQLAlchemyProjectionStore, uow_of_models: NewUnitOfWork
) -> None:
    await store.ensure_collection("others")
    await store.upsert("days", "monday", {"cents": 1, "count": 1})

    with pytest.raises(InvalidOperationError, match="the application's own"):
        async with uow_of_models() as uow:
            await store.drop_collection("days", uow=uow)
    for live, by in (("days", "others"), ("others", "days")):
        async with uow_of_models() as uow:
            with pytest.raises(InvalidOperationError, match="the application's own"):
                await store.replace_collection(live, by, uow=uow)

    assert await store.get("days", "monday") == {"id": "monday", "cents": 1, "count": 1}


async def test_a_rebuild_of_an_own_table_is_refused_before_anything_is_done(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyProjectionStore,
    uow_of_models: NewUnitOfWork,
) -> None:
    surrounded = over_own_tables(session_factory, tables, store, uow_of_models)
    till, handler = new_till(), Tills()
    await surrounded.append(stored(till, opened_and_sold(5)))
    await surrounded.worker(handler).drain()
    before = await surrounded.positions.positions()

    with pytest.raises(InvalidOperationError, match="with another collection"):
        await surrounded.rebuild(Tills()).run()

    assert await surrounded.positions.positions() == before
    assert len(await surrounded.all_of(handler, till.aggregate_id)) == 1


async def test_a_truncated_own_table_is_made_anew_for_another_collection(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyProjectionStore,
    uow_of_models: NewUnitOfWork,
) -> None:
    class DaysAgain(Days):
        collection = "days_again"

    surrounded = over_own_tables(session_factory, tables, store, uow_of_models)
    await surrounded.append(stored(new_till(), opened_and_sold(5, 7)))
    await surrounded.worker(Days()).drain()

    await store.truncate_collection("days")
    await surrounded.worker(DaysAgain()).drain()

    assert await surrounded.all_of(Days(), "monday") == {"monday": {"cents": 12, "count": 2}}


async def test_a_document_that_the_table_refuses_is_a_dead_letter(
    session_factory: SessionFactory,
    tables: Tables,
    store: SQLAlchemyProjectionStore,
    uow_of_models: NewUnitOfWork,
) -> None:
    surrounded = over_own_tables(session_factory, tables, store, uow_of_models)
    sick, well, handler = new_till(), new_till(), Tills()
    await surrounded.append(
        stored(sick, opened_and_sold(1, 2**63)), stored(well, opened_and_sold(1, 2))
    )

    await surrounded.worker(handler).drain()

    found = await surrounded.all_of(handler, sick.aggregate_id, well.aggregate_id)
    assert [doc["seen"] for doc in found.values()] == [[1, 2], [1, 2, 3]]
    assert len(await surrounded.dead_letters.list_dead_letters(handler.collection)) == 1


async def test_a_role_without_arguments_reads_the_own_table(
    store: SQLAlchemyProjectionStore, uow_of_models: NewUnitOfWork
) -> None:
    class ParcelQuery(ProjectionBackedDualPersistence[str, int]):
        collection = "parcels"

        def to_dto(self, doc: dict[str, Any]) -> str:
            return f"{doc['number']} of {doc['owner']}"

        def row_scope(self) -> AttributeSpecification:
            return AttributeSpecification("owner", "!=", "mallory")

    await store.upsert_batch("parcels", {"1": {"owner": "anna"}, "2": {"owner": "mallory"}})

    async with uow_of_models() as uow:
        by_id = await ParcelQuery().fetch([1, 2, 3], uow)
        by_owner = await (
            await ParcelQuery().fetch(AttributeSpecification("owner", "=", "anna"), uow)
        )

    assert by_id == by_owner == ["1 of anna"]


def test_a_class_that_cannot_keep_documents_is_refused(session_factory: SessionFactory) -> None:
    class Base(DeclarativeBase):
        pass

    class TwoKeys(Base):
        __tablename__ = "two"
        one: Mapped[int] = mapped_column(primary_key=True)
        two: Mapped[int] = mapped_column(primary_key=True)

    class ByDay(Base):
        __tablename__ = "by_day"
        day: Mapped[date] = mapped_column(primary_key=True)

    for model in (TwoKeys, ByDay, str):
        with pytest.raises(ConfigError):
            SQLAlchemyProjectionStore(session_factory, models={"things": model})
