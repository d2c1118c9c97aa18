"""Tests of the column types of the toolkit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core.primitives.exceptions import NaiveDatetimeError, ValidationError
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json, UtcDateTime

THINGS = Table(
    "column_types",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("price", ExactDecimal(18, 4)),
    Column("at", UtcDateTime),
    Column("data", Json),
)
DIALECTS: list[Any] = [sqlite.dialect(), postgresql.dialect()]  # type: ignore[no-untyped-call]


@pytest.fixture
async def things(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with engine.begin() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(THINGS.metadata.drop_all)


async def _insert(engine: AsyncEngine, **columns: list[Any]) -> None:
    names, values = list(columns), zip(*columns.values(), strict=True)
    async with engine.begin() as connection:
        await connection.execute(
            insert(THINGS), [dict(zip(names, each, strict=True)) for each in values]
        )


async def test_exact_decimals_compare_sort_and_sum_exactly(things: AsyncEngine) -> None:
    prices = [Decimal("0.1"), Decimal("0.2"), Decimal("-99999999999999.9999"), Decimal("10")]
    await _insert(things, price=prices)
    price = THINGS.c.price

    async with things.connect() as connection:
        ordered = list(await connection.scalars(select(price).order_by(price)))
        equal = await connection.scalar(select(price).where(price == Decimal("0.1")))
        above = list(await connection.scalars(select(price).where(price > Decimal("0.1999"))))
        total = await connection.scalar(select(func.sum(price)))

    assert ordered == sorted(prices)
    assert str(equal) == "0.1000"
    assert sorted(above) == [Decimal("0.2"), Decimal("10")]
    assert total == Decimal("-99999999999989.6999")


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**13), max_value=10**13
    )
)
def test_exact_decimal_survives_sqlite_in_any_decimal_context(value: Decimal) -> None:
    column = ExactDecimal(18, 4)

    with localcontext() as context:
        context.prec = 3
        stored = column.process_bind_param(value, DIALECTS[0])
        back = column.result_processor(DIALECTS[0], None)(stored)

    assert isinstance(stored, int)
    assert back == value


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "value", [Decimal("0.00001"), Decimal(10**14), Decimal("NaN"), Decimal("inf"), 0.5, "1"]
)
def test_exact_decimal_column_rejects_values_that_it_would_round(dialect: Any, value: Any) -> None:
    with pytest.raises(ValidationError, match="does not fit 18 digits, 4 of them after the point"):
        ExactDecimal(18, 4).process_bind_param(value, dialect)


async def test_times_sort_by_instant_and_are_read_back_in_utc(things: AsyncEngine) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    far = timezone(timedelta(hours=-9))
    times = [noon + timedelta(microseconds=1), noon.astimezone(far), noon - timedelta(days=9000)]
    await _insert(things, at=times)
    at = THINGS.c.at

    async with things.connect() as connection:
        ordered = list(await connection.scalars(select(at).order_by(at)))
        found = list(await connection.scalars(select(at).where(at == noon)))

    assert ordered == sorted(times)
    assert found == [noon]
    assert found[0].utcoffset() == timedelta(0)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_time_column_rejects_a_time_without_a_zone(dialect: Any) -> None:
    naive = datetime(2026, 1, 31)

    with pytest.raises(
        NaiveDatetimeError, match="has no time zone; pass an aware datetime"
    ) as caught:
        UtcDateTime().process_bind_param(naive, dialect)

    assert caught.value.value == naive


@pytest.mark.parametrize("dialect", DIALECTS, ids=["sqlite", "postgres"])
@pytest.mark.parametrize(
    "value",
    [
        datetime.min.replace(tzinfo=timezone.utc),
        datetime.max.replace(tzinfo=timezone.utc),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_time_column_rejects_times_that_postgres_stores_as_infinity(
    dialect: Any, value: datetime
) -> None:
    with pytest.raises(ValidationError):
        UtcDateTime().process_bind_param(value, dialect)


async def test_first_and_last_storable_times_are_read_back(things: AsyncEngine) -> None:
    tick = timedelta(microseconds=1)
    values = [
        datetime.min.replace(tzinfo=timezone.utc) + tick,
        datetime.max.replace(tzinfo=timezone.utc) - tick,
    ]
    await _insert(things, id=[1, 2], at=values)

    async with things.connect() as connection:
        found = list(await connection.scalars(select(THINGS.c.at).order_by(THINGS.c.id)))

    assert found == values


async def test_json_column_returns_stored_values_and_stores_none_as_null(
    things: AsyncEngine,
) -> None:
    values: list[Any] = [{"a": [1, 2.5, None, "ü"], "": {}}, [], "text", None]
    await _insert(things, id=[1, 2, 3, 4], data=values)

    async with things.connect() as connection:
        found = list(await connection.scalars(select(THINGS.c.data).order_by(THINGS.c.id)))
        nulls = await connection.scalar(select(THINGS.c.id).where(THINGS.c.data.is_(None)))

    assert found == values
    assert nulls == 4
