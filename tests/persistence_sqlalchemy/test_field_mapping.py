"""Tests that a mapper rejects fields which their columns cannot store, all at once."""

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
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, Json
from cqrs_ddd_specifications import AttributeSpecification
from cqrs_ddd_specifications.exceptions import SpecificationError
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
    """Create a model with a key and a version, unless they are given."""
    body = {
        "id": Column(Text, primary_key=True),
        "version": Column(BigInteger, nullable=False),
        **columns,
    }
    present = {name: column for name, column in body.items() if column is not None}
    return type("Model", (declarative_base(),), {"__tablename__": "things", **present})


def _entity(**annotations: Any) -> type[AggregateRoot[str]]:
    return type("Thing", (AggregateRoot[str],), {"__annotations__": annotations})


def _get_error(entity: type[AggregateRoot[str]], model: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        ModelMapper(entity, model, **options)
    return str(caught.value)


def test_model_mapper_reports_all_problems_of_a_mapping_at_once() -> None:
    message = _get_error(
        _entity(name=str, at=datetime, size=Size),
        _model(
            version=None,
            at=Column(DateTime),
            size_width=Column(Integer),
            more=Column(Text, nullable=False),
        ),
    )

    assert message.startswith("cannot store Thing in Model: ")
    assert "name: Model has no column name; add one, or name it by names={'name': ...}" in message
    assert "at: DateTime() drops the time zone of a datetime; use UtcDateTime" in message
    assert "size.unit: Model has no column size_unit" in message
    assert "Model has no column version, which detects conflicts" in message
    assert "more of Model must not be NULL and no field fills it; set a default" in message


@pytest.mark.parametrize(
    ("annotation", "column", "message"),
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
def test_model_mapper_rejects_a_column_that_does_not_round_trip_the_field(
    annotation: Any, column: Column[Any], message: str
) -> None:
    assert message in _get_error(_entity(value=annotation), _model(value=column))


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
def test_model_mapper_accepts_a_column_that_round_trips_the_field(
    annotation: Any, column: Column[Any]
) -> None:
    ModelMapper(_entity(value=annotation), _model(value=column))


def test_model_mapper_rejects_two_fields_in_one_column() -> None:
    model = _model(size_width=Column(Integer), size_unit=Column(Text), size_count=Column(Integer))

    message = _get_error(_entity(size=Size, size_width=int), model)
    other = _get_error(_entity(size=Size), model, names={"size.unit": "size_width"})
    version = _get_error(_entity(count=int), model, names={"count": "version"})

    assert "size_width and size.width are both mapped to size_width; name another column" in message
    assert "size.unit and size.width are both mapped to size_width" in other
    assert "count and the version are both mapped to version" in version


def test_model_mapper_rejects_secret_and_excluded_fields() -> None:
    class Login(ValueObject):
        name: str
        word: SecretStr
        hint: str = Field(default="", exclude=True)

    class Account(AggregateRoot[str]):
        note: str = Field(default="", exclude=True)
        words: list[SecretBytes] | None = None
        login: Login
        logins: list[Login]
        parts: list[Login]

    model = _model(note=Column(Text), words=Column(Json), logins=Column(Json), parts=Column(Json))
    model.login_name, model.login_word, model.login_hint = (Column(Text) for _ in range(3))
    json_message = _get_error(_entity(logins=list[Login]), model)
    message = _get_error(Account, model)

    for each in (json_message, message):
        assert "Login.word is a secret, which pydantic writes as asterisks" in each
        assert "Login.hint is excluded from pydantic's output (exclude=True)" in each
    assert "Account.note is excluded" in message
    assert "Account.words is a secret" in message
    assert message.count("Login.word is a secret") == 3


def test_optional_value_object_without_a_required_field_needs_a_json_column() -> None:
    model = _model(size_width=Column(Integer))

    assert "store it in one Json column size" in _get_error(_entity(size=Loose | None), model)
    ModelMapper(_entity(size=Loose), model)


def test_recursive_value_object_needs_a_json_column() -> None:
    assert "has no column tree_left_left" in _get_error(_entity(tree=Tree), _model())
    ModelMapper(_entity(tree=Tree), _model(tree=Column(Json)))


def test_model_mapper_rejects_names_of_unknown_fields() -> None:
    message = _get_error(_entity(), _model(), names={"colour": "id", "size.width": "id"})

    assert "names has 'colour', which is not a field" in message
    assert "names has 'size.width', which is not a field" in message


def test_model_mapper_rejects_an_id_outside_the_primary_key() -> None:
    message = _get_error(_entity(), _model(other=Column(Text)), names={"id": "other"})

    assert "id is mapped to other, but the primary key is id" in message


def test_model_mapper_rejects_fields_that_pydantic_reads_only_by_alias() -> None:
    class Aliased(AggregateRoot[str]):
        name: str = Field(alias="Name")

    class Part(BaseModel):
        name: str = Field(validation_alias="Name")

    class Nested(AggregateRoot[str]):
        parts: list[Part]

    class ByName(Aliased):
        model_config = ConfigDict(populate_by_name=True)

    model = _model(name=Column(Text), parts=Column(Json))

    assert "Aliased.name can be read by its alias only; set populate_by_name" in _get_error(
        Aliased, model
    )
    assert "Part.name can be read by its alias only" in _get_error(Nested, model)
    ModelMapper(ByName, model)


def test_model_mapper_rejects_an_aggregate_with_undeclared_fields() -> None:
    class Open(AggregateRoot[str]):
        model_config = ConfigDict(extra="allow")

    assert "undeclared fields (extra='allow') have no columns" in _get_error(Open, _model())


def test_model_mapper_rejects_composite_keys_and_unmapped_models() -> None:
    with pytest.raises(ConfigError, match="primary key of 2 columns; a repository requires"):
        ModelMapper(_entity(), _model(more=Column(Text, primary_key=True)))
    mapped = _model()
    unmapped: list[Any] = [Size, mapped.__table__, mapped(), mapped.__mapper__, None]
    for model in unmapped:
        with pytest.raises(ConfigError, match="is not mapped by SQLAlchemy; pass a declarative cl"):
            ModelMapper(_entity(), model)


def test_model_mapper_rejects_a_model_in_two_tables() -> None:
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


def test_model_mapper_rejects_a_table_shared_by_other_classes() -> None:
    by_kind = {"polymorphic_on": "kind", "polymorphic_identity": "root"}
    root = _model(kind=Column(Text), __mapper_args__=by_kind)
    leaf = type("Leaf", (root,), {"__mapper_args__": {"polymorphic_identity": "leaf"}})
    bare_leaf = type("BareLeaf", (_model(),), {})

    for model in (root, leaf, bare_leaf):
        with pytest.raises(ConfigError, match=f"{model.__name__} shares its table with other"):
            ModelMapper(_entity(), model)


def test_model_mapper_rejects_a_relation_with_a_further_condition() -> None:
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
        message = _get_error(_entity(**{name: list[Size]}), Parent, relations=(name,))
        assert f"{name}: a relation must be a list of pydantic models in Thing" in message
        assert "to one column of another table, without a further condition" in message


def test_model_mapper_rejects_relations_that_are_not_one_to_many() -> None:
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

    message = "a relation must be a list of pydantic models in Thing, and in"

    assert message in _get_error(_entity(children=list[str]), Parent, relations=("children",))
    assert message in _get_error(_entity(other=list[Size]), Parent, relations=("other",))
    assert message in _get_error(_entity(), Parent, relations=("children",))
    assert message in _get_error(_entity(parent=list[Size]), Child, relations=("parent",))
    problem = _get_error(_entity(children=list[Size]), Parent, relations=("children",))
    assert "children.width: Child has no column width" in problem
    assert "extra of Child must not be NULL and no field fills it" in problem


def test_repository_rejects_a_mapper_of_another_model() -> None:
    model, entity = _model(), _entity()

    with pytest.raises(ConfigError, match="pass a mapper for the same classes"):
        SQLAlchemyRepository(entity, _model(), mapper=ModelMapper(entity, model))


def test_exact_decimal_column_has_at_most_eighteen_digits() -> None:
    for precision, scale in ((19, 2), (2, 3), (5, -1)):
        with pytest.raises(ConfigError, match="it stores at most 18 digits"):
            ExactDecimal(precision, scale)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
async def test_repository_rejects_inexact_column_types_on_sqlite_only(
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

    for call in (lambda: things.get("t-1"), lambda: things.add(Measured(id="t-1"))):
        if backend == "sqlite":
            with pytest.raises(ConfigError) as caught:
                await call()
            for name in ("at (DateTime", "opens (Time", "price (Numeric", "total (Numeric"):
                assert name in str(caught.value)
        else:
            await call()

    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE things"))


class Stop(ValueObject):
    key: UUID
    colour: Colour = Colour.RED
    others: tuple[UUID, ...] = ()


class Tour(AggregateRoot[str]):
    stop: Stop
    stops: tuple[Stop, ...] = ()
    keys: dict[str, UUID] = Field(default_factory=dict)
    groups: dict[str, dict[str, list[UUID] | None]] = Field(default_factory=dict)
    by_name: dict[str, Stop] = Field(default_factory=dict)


class TourModel(VersionMixin, declarative_base()):  # type: ignore[misc]
    __tablename__ = "tours"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    stop: Mapped[Any] = mapped_column(Json)
    stops: Mapped[Any] = mapped_column(Json)
    keys: Mapped[Any] = mapped_column(Json)
    groups: Mapped[Any] = mapped_column(Json)
    by_name: Mapped[Any] = mapped_column(Json)


async def test_value_inside_a_json_column_is_found_in_every_spelling(
    engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    one, two = UUID(int=0xABC), UUID(int=0xDEF)
    tours = SQLAlchemyRepository[Tour, str](Tour, TourModel, session_factory)
    fake = InMemoryRepository[Tour, str](Tour)
    async with engine.begin() as connection:
        await connection.run_sync(TourModel.metadata.create_all)
    for each in (tours, fake):
        stop = Stop(key=one, others=(two,))
        more: Any = {"keys": {"home": one}, "groups": {"a": {"b": [two]}}, "by_name": {"x": stop}}
        await each.add(Tour(id="t-1", stop=stop, stops=(Stop(key=two),), **more))
        await each.add(Tour(id="t-2", stop=Stop(key=two)))

    async def find(path: str, operator: str, value: object) -> list[list[str]]:
        condition = AttributeSpecification(path, operator, value)
        return [
            [tour.id for tour in await (await each.search(condition))] for each in (tours, fake)
        ]

    for spelling in (one, str(one), str(one).upper(), one.hex):
        assert await find("stop.key", "=", spelling) == [["t-1"]] * 2
        assert await find("stop.key", "in", [spelling]) == [["t-1"]] * 2
        assert await find("keys.home", "=", spelling) == [["t-1"]] * 2
        assert await find("keys.home", "!=", spelling) == [["t-2"]] * 2
        assert await find("keys.home", "in", [spelling, None]) == [["t-1", "t-2"]] * 2
        assert await find("keys.home", "between", [spelling, spelling]) == [["t-1"]] * 2
        assert await find("by_name.x.key", "=", spelling) == [["t-1"]] * 2
    assert await find("stop.others", "contains_any", [two.hex]) == [["t-1"]] * 2
    assert await find("stops.key", "=", two.hex) == [["t-1"]] * 2
    assert await find("groups.a.b", "contains_any", [two.hex]) == [["t-1"]] * 2
    assert await find("groups.a.b", "contains_all", [str(two).upper()]) == [["t-1"]] * 2
    with pytest.raises(SpecificationError, match="keys.home is JSON and cannot be compared"):
        await find("keys.home", "=", "not an id")
    assert await find("stop.colour", "=", "red") == [["t-1", "t-2"]] * 2
    async with engine.begin() as connection:
        await connection.run_sync(TourModel.metadata.drop_all)
