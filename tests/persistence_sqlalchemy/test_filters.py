"""From specifications to SQL: what is refused before there is any, and what never gets into it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    DateTime,
    ForeignKey,
    Integer,
    Interval,
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
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

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
    """Money as whole cents."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value) / 100


class ToldCents(Cents):
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
    length: Mapped[timedelta | None] = mapped_column(Interval)
    word: Mapped[str | None] = mapped_column(EnumType("s", "m", name="filter_word"))
    price: Mapped[Decimal | None] = mapped_column(Cents)
    told_price: Mapped[Decimal | None] = mapped_column(ToldCents)
    whole: Mapped[Decimal | None] = mapped_column(Numeric(5))


OddRow.sum = column_property(OddRow.id + 1)


DIALECTS: tuple[Any, ...] = (postgresql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]


def sql_of(statement: Select[Any], dialect: Any) -> str:
    return str(statement.compile(dialect=dialect))


def filtered(specification: ISpecification[Any], **options: Any) -> Select[Any]:
    return select(OrderRow.id).where(build_sqla_filter(OrderRow, specification, **options))


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Some orders, in a transaction that is rolled back."""
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


async def found(connection: AsyncConnection, statement: Select[Any]) -> list[int]:
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
def test_no_value_gets_into_the_text_of_a_statement(dialect: Any, operator: Operator) -> None:
    path = "note" if "text" in {kind.value for kind in operator.kinds} else "data"

    texts = {
        sql_of(filtered(where(path, operator, _value(operator, each))), dialect)
        for each in ("harmless", *HOSTILE)
        if operator.takes is not Takes.PATTERN or not each.endswith("\\")
    }

    assert len(texts) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_key_of_json_gets_into_the_text_of_a_statement(dialect: Any) -> None:
    keys = [each.replace(".", "") for each in HOSTILE]

    texts = {
        sql_of(filtered(where(f"data.{key}", "=", "x")), dialect) for key in ("harmless", *keys)
    }

    assert len(texts) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_value_of_a_cursor_gets_into_the_text_of_a_statement(dialect: Any) -> None:
    def page(value: str) -> str:
        options = QueryOptions(ordering=("-note", "id"), limit=5, after=(value, 3))
        return sql_of(apply_query_options(select(OrderRow.id), OrderRow, options), dialect)

    assert len({page(value) for value in ("harmless", *HOSTILE)}) == 1


@pytest.mark.parametrize("name", [*HOSTILE, "__class__", "metadata", "registry", "customer", ""])
def test_only_the_columns_of_the_model_can_be_asked_for(name: str) -> None:
    with pytest.raises(SpecificationError):
        filtered(where(name, "=", "x"))
    with pytest.raises(SpecificationError):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(ordering=(name,)))
    with pytest.raises(SpecificationError):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(select_fields=(name,)))


def test_an_unknown_field_is_told_near_ones() -> None:
    with pytest.raises(UnknownFieldError, match="did you mean 'status'"):
        filtered(where("statuss", "=", "open"))


async def test_hostile_values_are_only_looked_for(connection: AsyncConnection) -> None:
    for value in HOSTILE:
        for operator in ("=", "!=", "<", "contains", "startswith", "icontains"):
            await found(connection, filtered(where("note", operator, value)))
            await found(connection, filtered(where("data.a", operator, value)))

    assert len(await found(connection, select(OrderRow.id))) == 8


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_list_of_any_length_makes_one_statement(dialect: Any) -> None:
    texts = {
        sql_of(filtered(where("note", "in", [str(n) for n in range(length)])), dialect)
        for length in (0, 1, 2, 10_000)
    }

    assert len(texts) == 1


async def test_ten_thousand_values_are_found_and_an_empty_list_finds_nothing(
    connection: AsyncConnection,
) -> None:
    many = list(range(5, 10_005))

    assert await found(connection, filtered(where("count", "in", many))) == [5, 6, 7, 8]
    assert await found(connection, filtered(where("count", "in", []))) == []
    assert len(await found(connection, filtered(where("count", "not_in", [])))) == 8


async def test_one_compiled_statement_serves_other_values(connection: AsyncConnection) -> None:
    for n in range(1, 9):
        assert await found(connection, filtered(where("count", "=", n))) == [n]
        assert await found(connection, filtered(where("note", "endswith", str(n)))) == [n]
        assert await found(connection, filtered(where("count", "in", [n, 100]))) == [n]


async def test_an_undeclared_relation_is_unknown_and_a_declared_one_is_passed(
    connection: AsyncConnection,
) -> None:
    specification = where("customer.name", "=", "anna")

    with pytest.raises(UnknownFieldError):
        filtered(specification)

    assert await found(connection, filtered(specification, relations=["customer"])) == [1, 5]


async def test_a_relation_to_the_same_table_is_passed_as_often_as_it_is_declared(
    connection: AsyncConnection,
) -> None:
    relations = ["customer", "customer.boss", "customer.boss.boss"]

    def by(path: str) -> Select[Any]:
        return filtered(where(path, "=", "anna"), relations=relations)

    assert await found(connection, by("customer.name")) == [1, 5]
    assert await found(connection, by("customer.boss.name")) == [2, 6]
    assert await found(connection, by("customer.boss.boss.name")) == [3, 7]
    with pytest.raises(UnknownFieldError):
        by("customer.boss.boss.boss.name")


async def test_whoever_has_no_related_row_has_none_there(connection: AsyncConnection) -> None:
    nobody = filtered(where("customer.name", "is_null"), relations=["customer"])
    others = filtered(where("customer.name", "!=", "anna"), relations=["customer"])

    assert await found(connection, nobody) == [4, 8]
    assert await found(connection, others) == [2, 3, 4, 6, 7, 8]


async def test_names_map_what_is_asked_to_the_model(connection: AsyncConnection) -> None:
    names = {"amount": "count"}.__getitem__
    options = QueryOptions(where("amount", ">", 5), ("-amount",), limit=2)

    statement = apply_query_options(select(OrderRow.id), OrderRow, options, names=names)

    assert list((await connection.execute(statement)).scalars()) == [8, 7]


async def test_numbers_that_a_column_cannot_hold_compare_by_size(
    connection: AsyncConnection,
) -> None:
    everything = list(range(1, 9))
    for operator, value, expected in (
        ("<", 10**30, everything),
        (">", 10**30, []),
        (">=", -(10**30), everything),
        ("=", 10**30, []),
        ("!=", 10**30, everything),
        ("=", Decimal("1.5"), []),
        ("<", 1.5, [1]),
        ("<=", Decimal("1.5"), [1]),
        (">", Decimal("7.5"), [8]),
        (">=", 7.0001, [8]),
    ):
        assert await found(connection, filtered(where("count", operator, value))) == expected
    assert await found(connection, filtered(where("count", "in", [1.0, 1.5, 10**30]))) == [1]


async def test_distinct_fields_are_selected_and_ordered(connection: AsyncConnection) -> None:
    options = QueryOptions(
        ordering=("-customer_id",), select_fields=("customer_id",), distinct=True, limit=3
    )

    rows = await connection.execute(apply_query_options(select(OrderRow), OrderRow, options))

    assert [row.customer_id for row in rows] == [None, 3, 2]


async def test_a_tenant_is_part_of_the_condition(connection: AsyncConnection) -> None:
    await connection.execute(text("UPDATE filter_orders SET tenant_id = 'a' WHERE id < 4"))

    one = TenantSpecification("a", where("count", ">", 1))
    none = TenantSpecification("b", None)

    assert await found(connection, filtered(one)) == [2, 3]
    assert await found(connection, filtered(where("id", ">", 2) & one)) == [3]
    assert await found(connection, filtered(none)) == []


def test_a_specification_that_is_only_code_has_no_sql() -> None:
    class Odd(ISpecification[Any]):
        def is_satisfied_by(self, candidate: Any) -> bool:
            return True

    for specification in (Odd(), where("id", "=", 1) & Odd(), TenantSpecification("a", Odd())):
        with pytest.raises(UnsupportedOperatorError, match="SpecificationBuilder"):
            filtered(specification)


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("padded", "x", "String"),
        ("naive", datetime(2026, 1, 1, tzinfo=timezone.utc), "UtcDateTime"),
        ("key", "x", r"Uuid\(\)"),
        ("hour", time(1), r"Time\(\)"),
        ("length", timedelta(1), "no operator"),
        ("word", "s", "an enum class"),
        ("price", Decimal(1), "python_type"),
    ],
)
def test_columns_that_mean_something_else_everywhere_are_refused(
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
def test_columns_that_sqlite_keeps_otherwise_are_refused_there(
    path: str, value: Any, advice: str
) -> None:
    postgres, lite = DIALECTS
    for statement in (
        select(OddRow.id).where(build_sqla_filter(OddRow, where(path, "<", value))),
        select(OddRow.id).where(build_sqla_filter(OddRow, where(path, "in", [value]))),
        apply_query_options(select(OddRow.id), OddRow, QueryOptions(ordering=(path,))),
    ):
        assert path in sql_of(statement, postgres)
        with pytest.raises(ConfigError, match=advice):
            sql_of(statement, lite)


@pytest.mark.parametrize("model", [int, OrderRow.__table__, OrderRow()])
def test_what_is_not_mapped_is_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match="declarative"):
        build_sqla_filter(model, where("id", "=", 1))


def test_what_is_computed_from_columns_cannot_be_asked_for() -> None:
    with pytest.raises(UnknownFieldError):
        build_sqla_filter(OddRow, where("sum", "=", 1))


async def test_a_type_of_ones_own_that_tells_its_values_is_bound_through_itself(
    connection: AsyncConnection,
) -> None:
    prices = {n: Decimal(n) / 2 for n in range(1, 7)}
    rows = [{"id": n, "told_price": price, "whole": n} for n, price in prices.items()]
    await connection.execute(insert(OddRow), rows)

    def asked(operator: str, value: Any) -> Select[Any]:
        return select(OddRow.id).where(
            build_sqla_filter(OddRow, where("told_price", operator, value))
        )

    assert await found(connection, asked("=", Decimal("1.50"))) == [3]
    assert await found(connection, asked(">=", "2.5")) == [5, 6]
    assert await found(connection, asked("in", [Decimal(1), Decimal(3)])) == [2, 6]
    whole = build_sqla_filter(OddRow, where("whole", ">=", Decimal("4.5")))
    assert await found(connection, select(OddRow.id).where(whole)) == [5, 6]


@pytest.mark.parametrize("value", ["1e140000", "1e-20000", "1" * 1_001])
def test_a_number_with_more_digits_than_any_database_keeps_is_refused(value: str) -> None:
    with pytest.raises(SpecificationValueError, match="more digits"):
        filtered(where("total", "<", value))


async def test_as_many_conditions_as_there_may_be_are_answered(
    connection: AsyncConnection,
) -> None:
    any_of = OrSpecification([where("count", "=", n) for n in range(MAX_NODES - 2)])

    assert await found(connection, filtered(any_of)) == list(range(1, 9))
    assert await found(connection, filtered(~any_of)) == []


def test_distinct_rows_need_selected_fields() -> None:
    with pytest.raises(SpecificationValueError, match="with_select_fields"):
        apply_query_options(select(OrderRow), OrderRow, QueryOptions(distinct=True))


def test_a_long_question_about_json_is_not_kept_in_memory() -> None:
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
async def test_what_belongs_to_a_back_end_works_there_or_says_so(
    connection: AsyncConnection, operator: Operator, value: str, on_postgres: list[int]
) -> None:
    statement = filtered(where("note", operator, value))

    if connection.dialect.name == "sqlite" and operator in (FTS, FTS_PHRASE):
        with pytest.raises(UnsupportedOperatorError, match="full-text"):
            await found(connection, statement)
    else:
        assert await found(connection, statement) == on_postgres


@pytest.mark.parametrize("name", ["regex", "iregex", "fts", "fts_phrase", "~"])
def test_a_stranger_cannot_ask_for_what_belongs_to_a_back_end(name: str) -> None:
    with pytest.raises(SpecificationError):
        SpecificationFactory.from_dict({"attribute": "note", "operator": name, "value": "(a+)+$"})


async def test_an_operator_of_ones_own_is_one_definition_for_both_worlds(
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
    assert await found(connection, filtered(specification)) == [3, 6]


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
