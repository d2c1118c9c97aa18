"""What cannot be kept is refused when the mapper is made, all of it at once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretBytes, SecretStr
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Float,
    ForeignKey,
    Integer,
    Interval,
    Numeric,
    SmallInteger,
    Text,
    Time,
    Uuid,
    text,
)
from sqlalchemy import Enum as EnumType
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
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json
from tests.persistence_sqlalchemy.conftest import SessionFactory


class Size(ValueObject):
    width: int
    unit: str | None = None


class Loose(ValueObject):
    width: int | None = None


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


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

    assert told.startswith("cannot store Thing in Model: ")
    assert "name: Model has no column name; add one, or name it by names={'name': ...}" in told
    assert "at: DateTime() drops the time zone of a datetime; use UtcDateTime" in told
    assert "size.unit: Model has no column size_unit" in told
    assert "Model has no column version, which detects conflicts" in told
    assert "more of Model must not be NULL and no field fills it; set a default" in told


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
        (datetime, Column(Date), "stores a part of a datetime only; use UtcDateTime"),
        (AwareDatetime, Column(Time), "stores a part of a datetime only"),
        (AwareDatetime | None, Column(DateTime), "drops the time zone of a datetime"),
        (AwareDatetime, Column(Text), "would sort AwareDatetime as text"),
        (int, Column(Float), "rounds an int of more than 15 digits; use BigInteger, or Numeric"),
        (int, Column(Numeric(20, 0, asdecimal=False)), "rounds an int"),
        (int, Column(Boolean), "stores 0 and 1 only"),
        (float | None, Column(BigInteger), "has no fractions for a float; use Float(53)"),
        (float, Column(Numeric(8, 2)), "rounds a float"),
        (Decimal, Column(Integer), "has no fractions for a Decimal"),
        (Decimal, Column(Numeric(8, 2, asdecimal=False)), "rounds a Decimal"),
        (str, Column(Integer), "does not store str; use Text"),
        (str, Column(DateTime(timezone=True)), "does not store str"),
        (str, Column(Uuid), "stores UUID and not str; use Text, or declare a UUID"),
        (UUID, Column(Uuid(as_uuid=False)), "stores str and not UUID; use Uuid"),
    ],
)
def test_a_column_that_would_keep_something_else_is_refused(
    annotation: Any, column: Column[Any], told: str
) -> None:
    assert told in _refused(_entity(value=annotation), _model(value=column))


@pytest.mark.parametrize(
    ("annotation", "column"),
    [
        (int, Column(BigInteger)),
        (int | None, Column(Numeric(20, 0))),
        (bool, Column(Integer)),
        (bool, Column(Boolean)),
        (float, Column(Float)),
        (float, Column(Double)),
        (float, Column(Numeric(asdecimal=False))),
        (int | float, Column(Numeric)),
        (Decimal, Column(Numeric(8, 2))),
        (date, Column(Date)),
        (AwareDatetime, Column(DateTime(timezone=True))),
        (timedelta, Column(Interval)),
        (UUID, Column(Uuid)),
        (UUID, Column(Text)),
        (str, Column(Uuid(as_uuid=False))),
        (Colour, Column(Text)),
        (Level, Column(SmallInteger)),
        (Level, Column(EnumType(Level))),
    ],
)
def test_a_column_that_keeps_what_it_gets_is_taken(annotation: Any, column: Column[Any]) -> None:
    ModelMapper(_entity(value=annotation), _model(value=column))


def test_two_fields_in_one_column_are_refused() -> None:
    model = _model(size_width=Column(Integer), size_unit=Column(Text), size_count=Column(Integer))

    told = _refused(_entity(size=Size, size_width=int), model)
    other = _refused(_entity(size=Size), model, names={"size.unit": "size_width"})
    version = _refused(_entity(count=int), model, names={"count": "version"})

    assert "size_width and size.width are both mapped to size_width; name another column" in told
    assert "size.unit and size.width are both mapped to size_width" in other
    assert "count and the version are both mapped to version" in version


def test_what_pydantic_does_not_write_is_refused() -> None:
    class Login(ValueObject):
        name: str
        word: SecretStr
        hint: str = Field(default="", exclude=True)

    class Kept(AggregateRoot[str]):
        note: str = Field(default="", exclude=True)
        words: list[SecretBytes] | None = None
        login: Login
        logins: list[Login]
        parts: list[Login]

    model = _model(note=Column(Text), words=Column(Json), logins=Column(Json), parts=Column(Json))
    model.login_name, model.login_word, model.login_hint = (Column(Text) for _ in range(3))
    in_json = _refused(_entity(logins=list[Login]), model)
    told = _refused(Kept, model)

    for each in (in_json, told):
        assert "Login.word is a secret, which pydantic writes as asterisks" in each
        assert "Login.hint is excluded from pydantic's output (exclude=True)" in each
    assert "Kept.note is excluded" in told
    assert "Kept.words is a secret" in told
    assert told.count("Login.word is a secret") == 3


def test_a_value_object_that_none_could_not_be_told_from_is_refused() -> None:
    model = _model(size_width=Column(Integer))

    assert "store it in one Json column size" in _refused(_entity(size=Loose | None), model)
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

    assert "id is mapped to other, but the primary key is id" in told


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

    assert "Aliased.name can be read by its alias only; set populate_by_name" in _refused(
        Aliased, model
    )
    assert "Part.name can be read by its alias only" in _refused(Nested, model)
    ModelMapper(ByName, model)


def test_fields_that_are_not_declared_are_refused() -> None:
    class Open(AggregateRoot[str]):
        model_config = ConfigDict(extra="allow")

    assert "undeclared fields (extra='allow') have no columns" in _refused(Open, _model())


def test_a_composite_key_and_what_is_not_mapped_are_refused() -> None:
    with pytest.raises(ConfigError, match="primary key of 2 columns; a repository requires"):
        ModelMapper(_entity(), _model(more=Column(Text, primary_key=True)))
    mapped = _model()
    unmapped: list[Any] = [Size, mapped.__table__, mapped(), mapped.__mapper__, None]
    for model in unmapped:
        with pytest.raises(ConfigError, match="is not mapped by SQLAlchemy; pass a declarative cl"):
            ModelMapper(_entity(), model)


def test_a_class_in_two_tables_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Root(VersionMixin, Base):
        __tablename__ = "roots"
        id: Mapped[str] = mapped_column(Text, primary_key=True)

    class Leaf(Root):
        __tablename__ = "leaves"
        id: Mapped[str] = mapped_column(ForeignKey("roots.id"), primary_key=True)

    with pytest.raises(ConfigError, match="Leaf is mapped to .* stores aggregates in one table"):
        ModelMapper(_entity(), Leaf)


def test_a_table_that_other_classes_share_is_refused() -> None:
    by_kind = {"polymorphic_on": "kind", "polymorphic_identity": "root"}
    root = _model(kind=Column(Text), __mapper_args__=by_kind)
    leaf = type("Leaf", (root,), {"__mapper_args__": {"polymorphic_identity": "leaf"}})
    bare_leaf = type("BareLeaf", (_model(),), {})

    for model in (root, leaf, bare_leaf):
        with pytest.raises(ConfigError, match=f"{model.__name__} shares its table with other"):
            ModelMapper(_entity(), model)


def test_a_relation_with_a_condition_of_its_own_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Parent(VersionMixin, Base):
        __tablename__ = "parents"
        id: Mapped[str] = mapped_column(Text, primary_key=True)
        parent_id: Mapped[str | None] = mapped_column(ForeignKey("parents.id"))
        width: Mapped[int] = mapped_column(default=0)
        unit: Mapped[str | None]
        plain: Mapped[list[Any]] = relationship("Child", viewonly=True)
        open: Mapped[list[Any]] = relationship(
            "Child",
            viewonly=True,
            primaryjoin="and_(Parent.id == Child.parent_id, Child.kind == 'open')",
        )
        either: Mapped[list[Any]] = relationship(
            "Child",
            viewonly=True,
            primaryjoin="or_(Parent.id == Child.parent_id, Child.kind == None)",
        )
        below: Mapped[list[Any]] = relationship(
            "Child", viewonly=True, primaryjoin="Parent.id >= foreign(Child.parent_id)"
        )
        smaller: Mapped[list[Any]] = relationship("Parent", viewonly=True)

    class Child(Base):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[str] = mapped_column(ForeignKey("parents.id"))
        kind: Mapped[str | None] = mapped_column(Text)
        width: Mapped[int]
        unit: Mapped[str | None]

    ModelMapper(_entity(plain=list[Size]), Parent, relations=("plain",))
    for name in ("open", "either", "below", "smaller"):
        told = _refused(_entity(**{name: list[Size]}), Parent, relations=(name,))
        assert f"{name}: a relation must be a list of pydantic models in Thing" in told
        assert "to one column of another table, without a further condition" in told


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

    told = "a relation must be a list of pydantic models in Thing, and in"

    assert told in _refused(_entity(children=list[str]), Parent, relations=("children",))
    assert told in _refused(_entity(other=list[Size]), Parent, relations=("other",))
    assert told in _refused(_entity(), Parent, relations=("children",))
    assert told in _refused(_entity(parent=list[Size]), Child, relations=("parent",))
    refused = _refused(_entity(children=list[Size]), Parent, relations=("children",))
    assert "children.width: Child has no column width" in refused
    assert "extra of Child must not be NULL and no field fills it" in refused


def test_a_mapper_of_something_else_is_refused() -> None:
    model, entity = _model(), _entity()

    with pytest.raises(ConfigError, match="pass a mapper for the same classes"):
        SQLAlchemyRepository(entity, _model(), mapper=ModelMapper(entity, model))


def test_an_exact_decimal_has_eighteen_digits() -> None:
    for precision, scale in ((19, 2), (2, 3), (5, -1)):
        with pytest.raises(ConfigError, match="it stores at most 18 digits"):
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
            for name in ("at (DateTime", "opens (Time", "price (Numeric", "total (Numeric"):
                assert name in str(caught.value)
        else:
            await ask()

    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE things"))
