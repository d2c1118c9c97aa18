"""Tests of filters: bound values, rejected fields and values, and the rows that they find."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, time, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    Select,
    String,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    insert,
    select,
    text,
)
from sqlalchemy import (
    Enum as EnumType,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    declarative_base,
    mapped_column,
    relationship,
)

from cqrs_ddd_core.adapters.tenant_repository import TenantSpecification
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_persistence_sqlalchemy.engine import sqlite as engine_sqlite
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import Json, UtcDateTime
from cqrs_ddd_persistence_sqlalchemy.specifications import (
    apply_query_options,
    build_sqla_filter,
)
from cqrs_ddd_specifications import (
    AttributeSpecification,
    Operator,
    OrSpecification,
    QueryOptions,
    Specification,
    SpecificationFactory,
    Takes,
)
from cqrs_ddd_specifications.exceptions import (
    SpecificationError,
    SpecificationValueError,
    UnknownFieldError,
    UnsupportedOperatorError,
)
from cqrs_ddd_specifications.operators import FTS, FTS_PHRASE, IREGEX, OPERATORS, REGEX
from cqrs_ddd_specifications.specification import MAX_NODES

where = AttributeSpecification


class Status(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Base(DeclarativeBase):
    pass


class CustomerRow(Base):
    __tablename__ = "filter_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("filter_customers.id"))
    boss: Mapped[CustomerRow | None] = relationship(remote_side=[id])


class OrderRow(Base):
    __tablename__ = "filter_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[Status | None] = mapped_column(EnumType(Status, native_enum=False))
    note: Mapped[str | None] = mapped_column(String(20))
    count: Mapped[int | None] = mapped_column(Integer)
    total: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    placed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    data: Mapped[Any] = mapped_column(Json, nullable=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("filter_customers.id"))
    customer: Mapped[CustomerRow | None] = relationship()


class Cents(TypeDecorator[Decimal]):
    """Column type that stores money as whole cents."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value) / 100


class TypedCents(Cents):
    cache_ok = True

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal


class OddRow(Base):
    __tablename__ = "filter_odd"
    id: Mapped[int] = mapped_column(primary_key=True)
    padded: Mapped[str | None] = mapped_column(CHAR(5))
    naive: Mapped[datetime | None] = mapped_column(DateTime)
    zoned: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    wide: Mapped[Decimal | None] = mapped_column(Numeric(20, 4))
    key: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    hour: Mapped[time | None] = mapped_column(Time(timezone=True))
    word: Mapped[str | None] = mapped_column(EnumType("s", "m", name="filter_word"))
    price: Mapped[Decimal | None] = mapped_column(Cents)
    typed_price: Mapped[Decimal | None] = mapped_column(TypedCents)
    whole: Mapped[Decimal | None] = mapped_column(Numeric(5))


OddRow.sum = column_property(OddRow.id + 1)


DIALECTS: tuple[Any, ...] = (postgresql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]


def compile_sql(statement: Select[Any], dialect: Any) -> str:
    return str(statement.compile(dialect=dialect))


def select_orders(specification: ISpecification[Any], **options: Any) -> Select[Any]:
    return select(OrderRow.id).where(build_sqla_filter(OrderRow, specification, **options))


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Insert some orders in a transaction that is rolled back."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with engine.connect() as connection:
            customers = [
                {"id": 1, "name": "anna", "boss_id": None},
                {"id": 2, "name": "berta", "boss_id": 1},
                {"id": 3, "name": "carl", "boss_id": 2},
            ]
            await connection.execute(insert(CustomerRow), customers)
            orders = [
                {"id": n, "note": f"order {n}", "count": n, "customer_id": n % 4 or None}
                for n in range(1, 9)
            ]
            await connection.execute(insert(OrderRow), orders)
            yield connection
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)


async def find_ids(connection: AsyncConnection, statement: Select[Any]) -> list[int]:
    return sorted((await connection.execute(statement)).scalars())


HOSTILE = (
    "'; DROP TABLE filter_orders; --",
    "x' OR '1'='1",
    '" OR ""="',
    "$1); DELETE FROM filter_orders; --",
    ":id",
    "?",
    "%(id)s",
    "{0}",
    "\\",
    "/* */",
    "\u2019 OR 1=1",
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("operator", [each for each in OPERATORS if each.portable], ids=repr)
def test_filter_values_never_become_part_of_the_sql_text(dialect: Any, operator: Operator) -> None:
    path = "note" if "text" in {kind.value for kind in operator.kinds} else "data"

    texts = {
        compile_sql(select_orders(where(path, operator, _value(operator, each))), dialect)
        for each in ("harmless", *HOSTILE)
        if operator.takes is not Takes.PATTERN or not each.endswith("\\")
    }

    assert len(texts) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_json_keys_never_become_part_of_the_sql_text(dialect: Any) -> None:
    keys = [each.replace(".", "") for each in HOSTILE]

    texts = {
        compile_sql(select_orders(where(f"data.{key}", "=", "x")), dialect)
        for key in ("harmless", *keys)
    }

    assert len(texts) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_cursor_values_never_become_part_of_the_sql_text(dialect: Any) -> None:
    def page(value: str) -> str:
        options = QueryOptions(ordering=("-note", "id"), limit=5, after=(value, 3))
        return compile_sql(apply_query_options(select(OrderRow.id), OrderRow, options), dialect)

    assert len({page(value) for value in ("harmless", *HOSTILE)}) == 1


@pytest.mark.parametrize("name", [*HOSTILE, "__class__", "metadata", "registry", "customer", ""])
def test_filters_accept_only_columns_of_the_model(name: str) -> None:
    with pytest.raises(SpecificationError):
        select_orders(where(name, "=", "x"))
    with pytest.raises(SpecificationError):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(ordering=(name,)))
    with pytest.raises(SpecificationError):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(select_fields=(name,)))


def test_error_for_an_unknown_field_suggests_similar_fields() -> None:
    with pytest.raises(UnknownFieldError, match="did you mean 'status'"):
        select_orders(where("statuss", "=", "open"))


async def test_documents_that_are_single_values_are_searched_like_all_others(
    connection: AsyncConnection,
) -> None:
    documents = {9: 5, 10: 1.5, 11: "a", 12: True, 13: [1], 14: {"a": 1}, 15: -(2**40)}
    rows = [{"id": n, "data": each} for n, each in documents.items()]
    await connection.execute(insert(OrderRow), rows)

    async def find(path: str, operator: str, value: object) -> list[int]:
        return await find_ids(connection, select_orders(where(path, operator, value)))

    assert await find("data.a", "=", 1) == [14]
    assert await find("data", "=", 5) == [9]
    assert await find("data", "<", 2) == [10, 15]
    assert await find("data", "=", "a") == [11]
    assert await find("data", "=", True) == [12]
    assert await find("data", "contains_any", [1]) == [13]
    assert await find("data", "is_not_null", None) == sorted(documents)


async def test_hostile_values_are_only_compared(connection: AsyncConnection) -> None:
    for value in HOSTILE:
        for operator in ("=", "!=", "<", "contains", "startswith", "icontains"):
            await find_ids(connection, select_orders(where("note", operator, value)))
            await find_ids(connection, select_orders(where("data.a", operator, value)))

    assert len(await find_ids(connection, select(OrderRow.id))) == 8


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_in_list_of_any_length_has_the_same_sql_text(dialect: Any) -> None:
    texts = {
        compile_sql(select_orders(where("note", "in", [str(n) for n in range(length)])), dialect)
        for length in (0, 1, 2, 10_000)
    }

    assert len(texts) == 1


async def test_in_list_finds_ten_thousand_values_and_nothing_if_it_is_empty(
    connection: AsyncConnection,
) -> None:
    many = list(range(5, 10_005))

    assert await find_ids(connection, select_orders(where("count", "in", many))) == [5, 6, 7, 8]
    assert await find_ids(connection, select_orders(where("count", "in", []))) == []
    assert len(await find_ids(connection, select_orders(where("count", "not_in", [])))) == 8


async def test_cached_statement_is_executed_with_new_values(connection: AsyncConnection) -> None:
    for n in range(1, 9):
        assert await find_ids(connection, select_orders(where("count", "=", n))) == [n]
        assert await find_ids(connection, select_orders(where("note", "endswith", str(n)))) == [n]
        assert await find_ids(connection, select_orders(where("count", "in", [n, 100]))) == [n]


async def test_filter_can_follow_only_declared_relations(
    connection: AsyncConnection,
) -> None:
    specification = where("customer.name", "=", "anna")

    with pytest.raises(UnknownFieldError):
        select_orders(specification)

    assert await find_ids(connection, select_orders(specification, relations=["customer"])) == [
        1,
        5,
    ]


async def test_filter_follows_a_self_relation_as_deep_as_it_is_declared(
    connection: AsyncConnection,
) -> None:
    relations = ["customer", "customer.boss", "customer.boss.boss"]

    def select_by(path: str) -> Select[Any]:
        return select_orders(where(path, "=", "anna"), relations=relations)

    assert await find_ids(connection, select_by("customer.name")) == [1, 5]
    assert await find_ids(connection, select_by("customer.boss.name")) == [2, 6]
    assert await find_ids(connection, select_by("customer.boss.boss.name")) == [3, 7]
    with pytest.raises(UnknownFieldError):
        select_by("customer.boss.boss.boss.name")


async def test_field_of_a_missing_related_row_is_none(connection: AsyncConnection) -> None:
    without_customer = select_orders(where("customer.name", "is_null"), relations=["customer"])
    others = select_orders(where("customer.name", "!=", "anna"), relations=["customer"])

    assert await find_ids(connection, without_customer) == [4, 8]
    assert await find_ids(connection, others) == [2, 3, 4, 6, 7, 8]


async def test_names_argument_maps_filter_fields_to_model_attributes(
    connection: AsyncConnection,
) -> None:
    names = {"amount": "count"}.__getitem__
    options = QueryOptions(where("amount", ">", 5), ("-amount",), limit=2)

    statement = apply_query_options(select(OrderRow.id), OrderRow, options, names=names)

    assert list((await connection.execute(statement)).scalars()) == [8, 7]


async def test_numbers_that_a_column_cannot_hold_compare_by_size(
    connection: AsyncConnection,
) -> None:
    all_ids = list(range(1, 9))
    for operator, value, expected in (
        ("<", 10**30, all_ids),
        (">", 10**30, []),
        (">=", -(10**30), all_ids),
        ("=", 10**30, []),
        ("!=", 10**30, all_ids),
        ("=", Decimal("1.5"), []),
        ("<", 1.5, [1]),
        ("<=", Decimal("1.5"), [1]),
        (">", Decimal("7.5"), [8]),
        (">=", 7.0001, [8]),
    ):
        assert (
            await find_ids(connection, select_orders(where("count", operator, value))) == expected
        )
    assert await find_ids(connection, select_orders(where("count", "in", [1.0, 1.5, 10**30]))) == [
        1
    ]


async def test_distinct_fields_are_selected_and_ordered(connection: AsyncConnection) -> None:
    options = QueryOptions(
        ordering=("-customer_id",), select_fields=("customer_id",), distinct=True, limit=3
    )

    rows = await connection.execute(apply_query_options(select(OrderRow), OrderRow, options))

    assert [row.customer_id for row in rows] == [None, 3, 2]


async def test_tenant_specification_adds_the_tenant_to_the_sql_condition(
    connection: AsyncConnection,
) -> None:
    await connection.execute(text("UPDATE filter_orders SET tenant_id = 'a' WHERE id < 4"))

    one = TenantSpecification("a", where("count", ">", 1))
    none = TenantSpecification("b", None)

    assert await find_ids(connection, select_orders(one)) == [2, 3]
    assert await find_ids(connection, select_orders(where("id", ">", 2) & one)) == [3]
    assert await find_ids(connection, select_orders(none)) == []


def test_specification_written_in_python_cannot_be_compiled_to_sql() -> None:
    class Odd(ISpecification[Any]):
        def is_satisfied_by(self, candidate: Any) -> bool:
            return True

    for specification in (Odd(), where("id", "=", 1) & Odd(), TenantSpecification("a", Odd())):
        with pytest.raises(UnsupportedOperatorError, match="SpecificationBuilder"):
            select_orders(specification)


def test_filter_rejects_a_column_type_that_no_operator_compares() -> None:
    class HostRow(declarative_base()):  # type: ignore[misc]
        __tablename__ = "hosts"
        address = mapped_column(postgresql.INET, primary_key=True)

    with pytest.raises(ConfigError, match="no operator"):
        build_sqla_filter(HostRow, where("address", "=", "10.0.0.1"))


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("padded", "x", "String"),
        ("naive", datetime(2026, 1, 1, tzinfo=timezone.utc), "UtcDateTime"),
        ("key", "x", r"Uuid\(\)"),
        ("hour", time(1), r"Time\(\)"),
        ("word", "s", "an enum class"),
        ("price", Decimal(1), "python_type"),
    ],
)
def test_filter_rejects_column_types_that_compare_differently_from_memory(
    path: str, value: Any, advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice):
        build_sqla_filter(OddRow, where(path, "=", value))


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("zoned", datetime(2026, 1, 1, tzinfo=timezone.utc), "UtcDateTime"),
        ("wide", Decimal(1), "ExactDecimal"),
    ],
)
def test_filter_rejects_column_types_that_only_sqlite_stores_differently(
    path: str, value: Any, advice: str
) -> None:
    postgres_dialect, sqlite_dialect = DIALECTS
    for statement in (
        select(OddRow.id).where(build_sqla_filter(OddRow, where(path, "<", value))),
        select(OddRow.id).where(build_sqla_filter(OddRow, where(path, "in", [value]))),
        apply_query_options(select(OddRow.id), OddRow, QueryOptions(ordering=(path,))),
    ):
        assert path in compile_sql(statement, postgres_dialect)
        with pytest.raises(ConfigError, match=advice):
            compile_sql(statement, sqlite_dialect)


@pytest.mark.parametrize("model", [int, OrderRow.__table__, OrderRow()])
def test_filter_rejects_a_model_that_is_not_a_mapped_class(model: Any) -> None:
    with pytest.raises(ConfigError, match="declarative"):
        build_sqla_filter(model, where("id", "=", 1))


def test_filter_on_a_computed_attribute_is_rejected() -> None:
    with pytest.raises(UnknownFieldError):
        build_sqla_filter(OddRow, where("sum", "=", 1))


async def test_custom_column_type_with_a_python_type_converts_filter_values(
    connection: AsyncConnection,
) -> None:
    prices = {n: Decimal(n) / 2 for n in range(1, 7)}
    rows = [{"id": n, "typed_price": price, "whole": n} for n, price in prices.items()]
    await connection.execute(insert(OddRow), rows)

    def select_by_price(operator: str, value: Any) -> Select[Any]:
        return select(OddRow.id).where(
            build_sqla_filter(OddRow, where("typed_price", operator, value))
        )

    assert await find_ids(connection, select_by_price("=", Decimal("1.50"))) == [3]
    assert await find_ids(connection, select_by_price(">=", "2.5")) == [5, 6]
    assert await find_ids(connection, select_by_price("in", [Decimal(1), Decimal(3)])) == [2, 6]
    whole = build_sqla_filter(OddRow, where("whole", ">=", Decimal("4.5")))
    assert await find_ids(connection, select(OddRow.id).where(whole)) == [5, 6]


@pytest.mark.parametrize("value", ["1e140000", "1e-20000", "1" * 1_001])
def test_filter_rejects_a_number_with_too_many_digits(value: str) -> None:
    with pytest.raises(SpecificationValueError, match="more digits"):
        select_orders(where("total", "<", value))


async def test_filter_with_the_maximum_number_of_conditions_is_executed(
    connection: AsyncConnection,
) -> None:
    any_of = OrSpecification([where("count", "=", n) for n in range(MAX_NODES - 2)])

    assert await find_ids(connection, select_orders(any_of)) == list(range(1, 9))
    assert await find_ids(connection, select_orders(~any_of)) == []


def test_distinct_query_options_without_selected_fields_are_rejected() -> None:
    with pytest.raises(SpecificationValueError, match="with_select_fields"):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(distinct=True))


def test_long_json_condition_is_not_cached_in_sqlite() -> None:
    engine_sqlite._compile_condition.cache_clear()

    answers = [
        engine_sqlite.evaluate_json('{"a": 1}', json.dumps(["in", ["a"], [length, *range(5_000)]]))
        for length in range(3)
    ]

    assert answers == [1, 1, 1]
    assert engine_sqlite._compile_condition.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("operator", "value", "on_postgres"),
    [
        (REGEX, "^order [12]$", [1, 2]),
        (IREGEX, "^ORDER [12]$", [1, 2]),
        (FTS, "order 3", [3]),
        (FTS_PHRASE, "order 3", [3]),
    ],
    ids=repr,
)
async def test_backend_specific_operator_works_or_raises_an_error(
    connection: AsyncConnection, operator: Operator, value: str, on_postgres: list[int]
) -> None:
    statement = select_orders(where("note", operator, value))

    if connection.dialect.name == "sqlite" and operator in (FTS, FTS_PHRASE):
        with pytest.raises(UnsupportedOperatorError, match="full-text"):
            await find_ids(connection, statement)
    else:
        assert await find_ids(connection, statement) == on_postgres


@pytest.mark.parametrize("name", ["regex", "iregex", "fts", "fts_phrase", "~"])
def test_deserialized_specification_cannot_use_backend_specific_operators(name: str) -> None:
    with pytest.raises(SpecificationError):
        SpecificationFactory.from_dict({"attribute": "note", "operator": name, "value": "(a+)+$"})


async def test_custom_operator_works_in_memory_and_in_sql(
    connection: AsyncConnection,
) -> None:
    divides = Operator(
        "divisible_by",
        Takes.VALUE,
        "without a remainder",
        memory=lambda actual, divisor: bool(actual % divisor == 0),
        sql=lambda column, divisor: column % divisor == 0,
    )

    class Order:
        count: int | None = None

    three = Order()
    three.count = 3
    specification: Specification = where("count", divides, 3)

    assert specification.is_satisfied_by(three)
    assert not specification.is_satisfied_by(Order())
    assert await find_ids(connection, select_orders(specification)) == [3, 6]


def _value(operator: Operator, given: str) -> Any:
    shapes: dict[Takes, Callable[[], Any]] = {
        Takes.NOTHING: lambda: None,
        Takes.LIST: lambda: [given, "other"],
        Takes.RANGE: lambda: (given, given),
        Takes.KEYS: lambda: [given],
        Takes.PATH: lambda: [given],
        Takes.DOCUMENT: lambda: {given: given},
    }
    return shapes.get(operator.takes, lambda: given)()
