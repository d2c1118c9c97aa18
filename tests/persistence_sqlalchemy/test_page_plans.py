"""Tests that a deep page is read from an index, beginning at its first row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import AwareDatetime
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, declarative_base, mapped_column

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import UtcDateTime
from cqrs_ddd_specifications import QueryOptions, Specification, query_options
from cqrs_ddd_specifications.specification import AttributeSpecification
from tests.persistence_sqlalchemy.conftest import SessionFactory

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
ROWS = 400


class Reading(AggregateRoot[int]):
    at: AwareDatetime
    level: int | None = None


class ReadingModel(VersionMixin, declarative_base()):  # type: ignore[misc]
    __tablename__ = "page_readings"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    level: Mapped[int | None] = mapped_column(sa.Integer)
    __table_args__ = (
        sa.Index("page_readings_at", "at", "id"),
        sa.Index("page_readings_level", "level", "id"),
    )


Readings = SQLAlchemyRepository[Reading, int]


def _make_reading(number: int) -> Reading:
    level = None if number % 10 == 0 else number // 4
    return Reading(id=number, at=START + timedelta(seconds=number // 4), level=level)


@pytest.fixture
async def readings(engine: AsyncEngine, session_factory: SessionFactory) -> AsyncIterator[Readings]:
    async with engine.begin() as connection:
        await connection.run_sync(ReadingModel.metadata.create_all)
    found = Readings(Reading, ReadingModel, session_factory)
    await found.add_many([_make_reading(number) for number in range(1, ROWS)])
    async with engine.begin() as connection:
        await connection.execute(sa.text("ANALYZE page_readings"))
    yield found
    async with engine.begin() as connection:
        await connection.run_sync(ReadingModel.metadata.drop_all)


async def _explain_deep_page(readings: Readings, engine: AsyncEngine, *ordering: str) -> str:
    """Return the plan of the page after a row in the middle."""
    sent: list[Any] = []
    sa.event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given))
    after = _make_reading(ROWS // 2 + 1)
    page = QueryOptions[Reading](ordering=ordering, limit=5).next_page(after)
    assert len(await (await readings.search(page))) == 5
    _, _, statement, parameters, *_ = sent[-1]
    async with engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN"
        if engine.dialect.name == "postgresql":
            explain = "EXPLAIN"
            # So few rows would be read without an index.
            for setting in ("enable_seqscan", "enable_bitmapscan"):
                await connection.execute(sa.text(f"SET LOCAL {setting} = off"))
        plan = await connection.exec_driver_sql(f"{explain} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in plan)


def _begins_in_index(plan: str, column: str) -> bool:
    """Return whether the plan searches an index for the first row of the page."""
    on_postgres, on_sqlite = f"Index Cond: ({column} ", f"INDEX page_readings_{column} ({column}"
    return on_postgres in plan or on_sqlite in plan


async def test_deep_page_in_an_order_without_null_begins_in_an_index(
    readings: Readings, engine: AsyncEngine
) -> None:
    for ordering in (("at",), ("-at",), ("at", "-id"), ("-at", "-id")):
        assert _begins_in_index(await _explain_deep_page(readings, engine, *ordering), "at")


async def test_deep_page_in_the_order_of_an_index_is_not_sorted(
    readings: Readings, engine: AsyncEngine
) -> None:
    for ordering in (("at", "id"), ("-at", "-id")):
        plan = await _explain_deep_page(readings, engine, *ordering)

        assert "Sort" not in plan
        assert "B-TREE" not in plan


async def test_deep_page_in_descending_order_with_null_begins_in_an_index(
    readings: Readings, engine: AsyncEngine
) -> None:
    assert _begins_in_index(await _explain_deep_page(readings, engine, "-level"), "level")


def _after_row_by_filter(
    ordering: tuple[str, ...], values: tuple[object, ...], never_none: object = ()
) -> Specification:
    """Return the condition of a page as a wrong variant: without a range of the first attribute."""
    names = [name.removeprefix("-") for name in ordering]
    later = [
        AttributeSpecification(name, "<" if order.startswith("-") else ">", value)
        for name, order, value in zip(names, ordering, values, strict=True)
    ]
    same = AttributeSpecification(names[0], "=", values[0])
    return later[0] | (same & later[1])


async def test_plan_shows_a_page_that_is_only_filtered(
    readings: Readings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_options, "after_row", _after_row_by_filter)

    plan = await _explain_deep_page(readings, engine, "at", "id")

    assert not _begins_in_index(plan, "at")
