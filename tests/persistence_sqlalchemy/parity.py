"""Comparison of specifications over objects in memory and over rows of SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Enum,
    Float,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    Time,
    Uuid,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import DeclarativeBase, relationship
from sqlalchemy.types import TypeEngine

from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json, UtcDateTime
from cqrs_ddd_persistence_sqlalchemy.specifications import (
    apply_query_options,
    build_sqla_filter,
)
from cqrs_ddd_specifications import QueryOptions, Specification
from cqrs_ddd_specifications import select as select_in_memory
from cqrs_ddd_specifications.testing import Cases, Color, Place

RELATIONS = ("owner", "parts")
BATCH = 25
"""Specifications that one statement evaluates, as one column each."""


@dataclass
class Rows:
    """Rows with the objects of the cases in one database."""

    cases: Cases
    model: Any
    connection: AsyncConnection

    async def find_each(self, specifications: Sequence[Specification]) -> list[list[int]]:
        """Return the rows that satisfy each specification, by one statement."""
        conditions = [
            build_sqla_filter(self.model, each, relations=RELATIONS) for each in specifications
        ]
        labels = (each.label(f"is_found_{n}") for n, each in enumerate(conditions))
        rows = (await self.connection.execute(select(self.model.id, *labels))).all()
        return [
            sorted(row[0] for row in rows if row[place])
            for place in range(1, len(specifications) + 1)
        ]

    async def find_page(self, options: QueryOptions) -> list[int]:
        statement = apply_query_options(
            select(self.model.id), self.model, options, relations=RELATIONS
        )
        return list((await self.connection.execute(statement)).scalars())


@asynccontextmanager
async def store_cases(cases: Cases, engine: AsyncEngine) -> AsyncIterator[Rows]:
    """Store the cases in tables that are dropped at the end of the block."""
    model, part, owner = create_models(cases, engine.dialect.name)
    async with engine.begin() as connection:
        await connection.run_sync(model.metadata.create_all)
        await _fill(connection, cases, model, part, owner)
    try:
        async with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                # It would compile each statement for longer than it runs.
                await connection.execute(text("SET LOCAL jit = off"))
            yield Rows(cases, model, connection)
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(model.metadata.drop_all)


@dataclass
class Findings:
    """Differences between one database and memory.

    Attributes:
        compared: specifications and pages.
        rows: rows for which these were compared.
        differences: descriptions of the differences.
    """

    compared: int = 0
    rows: int = 0
    differences: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.compared:,} compared with memory over {self.rows:,} rows, "
            f"{len(self.differences)} differences"
        )

    def compare(self, cases: Cases, query: object, found: list[int], wanted: list[int]) -> None:
        self.compared += 1
        self.rows += len(cases.objects)
        if found != wanted:
            self.differences.append(
                f"seed {cases.seed}: {query}: found {found}, memory finds {wanted}"
            )


async def compare_with_memory(
    engine: AsyncEngine, seeds: Sequence[int], *, specifications: int, pages: int
) -> Findings:
    """Compare every specification and page of every seed in memory and in the database."""
    findings = Findings()
    for seed in seeds:
        cases = Cases(seed)
        async with store_cases(cases, engine) as rows:
            queries = list(cases.specifications(specifications))
            for first in range(0, len(queries), BATCH):
                batch = queries[first : first + BATCH]
                for query, found in zip(batch, await rows.find_each(batch), strict=True):
                    findings.compare(cases, query, found, find_in_memory(cases, query))
            for _ in range(pages):
                options = cases.options()
                page = await rows.find_page(options)
                findings.compare(cases, options, page, find_page_in_memory(cases, options))
    return findings


def find_in_memory(cases: Cases, specification: Specification) -> list[int]:
    return [each.id for each in cases.objects if specification.is_satisfied_by(each)]


def find_page_in_memory(cases: Cases, options: QueryOptions) -> list[int]:
    return [each.id for each in select_in_memory(cases.objects, options)]


def create_models(cases: Cases, dialect: str) -> tuple[Any, Any, Any]:
    """Create declarative classes; the seed chooses the column type of fields that allow several."""
    random = Random(cases.seed)

    class Base(DeclarativeBase):
        pass

    class OwnerRow(Base):
        __tablename__ = "owners"
        id = Column(Integer, primary_key=True)
        name = Column(_text(random, dialect))
        age = Column(BigInteger)
        notes = Column(_json(random))

    columns = {
        name: Column(_column_type(annotation, random, dialect))
        for name, annotation in cases.fields.items()
    }
    relations = {
        "id": Column(Integer, primary_key=True),
        "owner_id": Column(ForeignKey("owners.id")),
        "owner": relationship(OwnerRow),
        "parts": relationship("PartRow"),
    }
    item = type("ItemRow", (Base,), {"__tablename__": "items", **columns, **relations})

    class PartRow(Base):
        __tablename__ = "parts"
        number = Column(Integer, primary_key=True)
        item_id: Column[Any] = Column(ForeignKey("items.id"))
        code = Column(_text(random, dialect))
        grams = Column(BigInteger)
        notes = Column(_json(random))

    return item, PartRow, OwnerRow


def _column_type(annotation: Any, random: Random, dialect: str) -> TypeEngine[Any]:
    lists: dict[Any, TypeEngine[Any]] = {
        list[str] | None: Text(),
        list[int] | None: BigInteger(),
    }
    if annotation in lists and dialect == "postgresql" and random.random() < 0.5:
        return ARRAY(lists[annotation])
    if annotation in (*lists, dict[str, Any] | None, Place | None, list[Place] | None):
        return _json(random)
    types: dict[Any, TypeEngine[Any]] = {
        int | None: BigInteger(),
        float | None: Float(),
        Decimal | None: random.choice((Numeric(12, 2), ExactDecimal(16, 4))),
        bool | None: Boolean(),
        datetime | None: UtcDateTime(),
        date | None: Date(),
        time | None: Time(),
        timedelta | None: Interval(),
        UUID | None: Uuid(),
        Color | None: Enum(Color, native_enum=random.random() < 0.5),
        bytes | None: LargeBinary(),
    }
    return types.get(annotation) or _text(random, dialect)


def _text(random: Random, dialect: str) -> TypeEngine[Any]:
    unusual = "NOCASE" if dialect == "sqlite" else "en-x-icu"
    return Text(collation=random.choice((None, unusual)))


def _json(random: Random) -> TypeEngine[Any]:
    return random.choice((Json, JSON(none_as_null=True), JSON()))


async def _fill(
    connection: AsyncConnection, cases: Cases, model: Any, part: Any, owner: Any
) -> None:
    objects = cases.objects
    owners = [{"id": each.id, **dataclasses.asdict(each.owner)} for each in objects if each.owner]
    items = [
        {"id": each.id, "owner_id": each.id if each.owner else None}
        | {name: _encode(model, name, getattr(each, name)) for name in cases.fields}
        for each in objects
    ]
    parts = [
        {"item_id": each.id, **dataclasses.asdict(one)} for each in objects for one in each.parts
    ]
    for kind, rows in ((owner, owners), (model, items), (part, parts)):
        if rows:
            await connection.execute(insert(kind.__table__), rows)


def _encode(model: Any, name: str, value: Any) -> Any:
    is_json = isinstance(model.__table__.c[name].type, JSON)
    return to_jsonable_python(value) if is_json else value
