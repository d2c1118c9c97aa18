"""What cannot be kept is refused when the mapper is made, all of it at once."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    Numeric,
    Text,
    Time,
    text,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    declarative_base,
    mapped_column,
    relationship,
)

from cqrs_ddd_core import AggregateRoot, ValueObject
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_persistence_sqlalchemy.column_types import ExactDecimal, Json
from cqrs_ddd_persistence_sqlalchemy.mapping import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository import SQLAlchemyRepository
from tests.persistence_sqlalchemy.conftest import SessionFactory


class Size(ValueObject):
    width: int
    unit: str | None = None


class Loose(ValueObject):
    width: int | None = None


class Tree(ValueObject):
    left: Tree | None = None


def _model(**columns: Any) -> Any:
    """A model with a key and a version, unless they are given."""
    body = {
        "id": Column(Text, primary_key=True),
        "version": Column(BigInteger, nullable=False),
        **columns,
    }
    held = {name: column for name, column in body.items() if column is not None}
    return type("Model", (declarative_base(),), {"__tablename__": "things", **held})


def _entity(**annotations: Any) -> type[AggregateRoot[str]]:
    return type("Thing", (AggregateRoot[str],), {"__annotations__": annotations})


def _refused(entity: type[AggregateRoot[str]], model: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        ModelMapper(entity, model, **options)
    return str(caught.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = _refused(
        _entity(name=str, at=datetime, size=Size),
        _model(
            version=None,
            at=Column(DateTime),
            size_width=Column(Integer),
            more=Column(Text, nullable=False),
        ),
    )

    assert told.startswith("Thing cannot be kept in Model: ")
    assert "name: Model has no column name; add one, or name it by names={'name': ...}" in told
    assert "at: DateTime() forgets the zone of a datetime; use UtcDateTime" in told
    assert "size.unit: Model has no column size_unit" in told
    assert "Model has no column version, by which a stale aggregate is refused" in told
    assert "more of Model may not be NULL and nothing fills it; give it a default" in told


@pytest.mark.parametrize(
    ("annotation", "column", "told"),
    [
        (Decimal, Column(Float), "rounds a Decimal; use Numeric, or ExactDecimal"),
        (Decimal, Column(Text), "would sort Decimal as text"),
        (datetime | None, Column(Text), "would sort datetime as text"),
        (int, Column(Text), "would sort int as text"),
        (Size, Column(Text), "cannot hold Size; use Json"),
        (list[str], Column(Text), "cannot hold list; use Json"),
        (dict[str, int] | None, Column(Integer), "cannot hold dict; use Json"),
    ],
)
def test_a_column_that_would_keep_something_else_is_refused(
    annotation: Any, column: Column[Any], told: str
) -> None:
    assert told in _refused(_entity(value=annotation), _model(value=column))


def test_a_value_object_that_none_could_not_be_told_from_is_refused() -> None:
    model = _model(size_width=Column(Integer))

    assert "keep it in one Json column size" in _refused(_entity(size=Loose | None), model)
    ModelMapper(_entity(size=Loose), model)


def test_a_value_object_that_holds_its_own_kind_needs_a_json_column() -> None:
    assert "has no column tree_left_left" in _refused(_entity(tree=Tree), _model())
    ModelMapper(_entity(tree=Tree), _model(tree=Column(Json)))


def test_names_that_lead_nowhere_are_refused() -> None:
    told = _refused(_entity(), _model(), names={"colour": "id", "size.width": "id"})

    assert "names has 'colour', which is not a field" in told
    assert "names has 'size.width', which is not a field" in told


def test_an_id_beside_the_primary_key_is_refused() -> None:
    told = _refused(_entity(), _model(other=Column(Text)), names={"id": "other"})

    assert "id goes to other, the primary key is id" in told


def test_what_is_read_by_an_alias_only_is_refused() -> None:
    class Aliased(AggregateRoot[str]):
        name: str = Field(alias="Name")

    class Part(BaseModel):
        name: str = Field(validation_alias="Name")

    class Nested(AggregateRoot[str]):
        parts: list[Part]

    class ByName(Aliased):
        model_config = ConfigDict(populate_by_name=True)

    model = _model(name=Column(Text), parts=Column(Json))

    assert "Aliased.name is read by an alias only; set populate_by_name" in _refused(Aliased, model)
    assert "Part.name is read by an alias only" in _refused(Nested, model)
    ModelMapper(ByName, model)


def test_fields_that_are_not_declared_are_refused() -> None:
    class Open(AggregateRoot[str]):
        model_config = ConfigDict(extra="allow")

    assert "not declared (extra='allow') have no columns" in _refused(Open, _model())


def test_a_composite_key_and_what_is_not_mapped_are_refused() -> None:
    with pytest.raises(ConfigError, match="primary key of 2 columns; a repository needs one"):
        ModelMapper(_entity(), _model(more=Column(Text, primary_key=True)))
    with pytest.raises(ConfigError, match="is not mapped by SQLAlchemy; pass a declarative class"):
        ModelMapper(_entity(), Size)


def test_a_class_in_two_tables_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Root(VersionMixin, Base):
        __tablename__ = "roots"
        id: Mapped[str] = mapped_column(Text, primary_key=True)

    class Leaf(Root):
        __tablename__ = "leaves"
        id: Mapped[str] = mapped_column(ForeignKey("roots.id"), primary_key=True)

    with pytest.raises(ConfigError, match="Leaf is mapped to .* keeps aggregates in one table"):
        ModelMapper(_entity(), Leaf)


def test_a_relation_that_is_not_owned_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Parent(VersionMixin, Base):
        __tablename__ = "parents"
        id: Mapped[str] = mapped_column(Text, primary_key=True)
        children: Mapped[list[Any]] = relationship("Child", back_populates="parent")

    class Child(VersionMixin, Base):
        __tablename__ = "children"
        id: Mapped[str] = mapped_column(Text, primary_key=True)
        parent_id: Mapped[str] = mapped_column(ForeignKey("parents.id"))
        extra: Mapped[str] = mapped_column(Text)
        parent: Mapped[Any] = relationship("Parent", back_populates="children")

    told = "a relation is a list of pydantic models in Thing, and a one-to-many relationship"

    assert told in _refused(_entity(children=list[str]), Parent, relations=("children",))
    assert told in _refused(_entity(other=list[Size]), Parent, relations=("other",))
    assert told in _refused(_entity(), Parent, relations=("children",))
    assert told in _refused(_entity(parent=list[Size]), Child, relations=("parent",))
    refused = _refused(_entity(children=list[Size]), Parent, relations=("children",))
    assert "children.width: Child has no column width" in refused
    assert "extra of Child may not be NULL and nothing fills it" in refused


def test_a_mapper_of_something_else_is_refused() -> None:
    model, entity = _model(), _entity()

    with pytest.raises(ConfigError, match="pass a mapper of the same two"):
        SQLAlchemyRepository(entity, _model(), mapper=ModelMapper(entity, model))


def test_an_exact_decimal_has_eighteen_digits() -> None:
    for precision, scale in ((19, 2), (2, 3), (5, -1)):
        with pytest.raises(ConfigError, match="it holds up to 18 digits"):
            ExactDecimal(precision, scale)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
async def test_columns_that_sqlite_keeps_inexactly_are_refused_there_and_only_there(
    engine: AsyncEngine, session_factory: SessionFactory, backend: str
) -> None:
    class Measured(AggregateRoot[str]):
        at: AwareDatetime | None = None
        opens: time | None = None
        price: Decimal | None = None
        total: Decimal | None = None
        data: list[UUID] = Field(default_factory=list)

    model = _model(
        at=Column(DateTime(timezone=True)),
        opens=Column(Time(timezone=True)),
        price=Column(Numeric(16, 2)),
        total=Column(Numeric),
        data=Column(JSON),
    )
    things = SQLAlchemyRepository[Measured, str](Measured, model, session_factory)
    async with engine.begin() as connection:
        await connection.run_sync(model.metadata.create_all)

    for ask in (lambda: things.get("t-1"), lambda: things.add(Measured(id="t-1"))):
        if backend == "sqlite":
            with pytest.raises(ConfigError) as caught:
                await ask()
            for name in ("at is DateTime", "opens is Time", "price is Numeric", "total is Numeric"):
                assert name in str(caught.value)
        else:
            await ask()

    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE things"))
