"""From a dotted path to the column of a model: the allow-list of what may be asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Time,
    TypeDecorator,
    Uuid,
    inspect,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeEngine

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_specifications.exceptions import UnknownFieldError
from cqrs_ddd_specifications.field_types import JSON as ANY_JSON
from cqrs_ddd_specifications.field_types import FieldType, Kind, type_of


@dataclass(frozen=True)
class Target:
    """Where a path leads: over relations, to a column, and on by keys into its JSON."""

    relations: tuple[str, ...]
    name: str
    column: Column[Any]
    """The plain one, which also a statement without ORM takes."""
    keys: tuple[str, ...]
    type: FieldType


@lru_cache(maxsize=4096)
def target_of(model: type, path: str, relations: frozenset[str]) -> Target:
    """Raises ``UnknownFieldError`` for what is no column, or a relation that was not declared."""
    names = path.split(".")
    mapper = mapper_of(model)
    passed: list[str] = []
    for index, name in enumerate(names):
        column = mapper.column_attrs[name].columns[0] if name in mapper.column_attrs else None
        if isinstance(column, Column):
            kind = _field_type(f"{mapper.class_.__name__}.{name}", column.type)
            keys = tuple(names[index + 1 :])
            if keys and kind.kind is not Kind.JSON:
                raise UnknownFieldError(path, _allowed(mapper, passed, relations))
            return Target(tuple(passed), name, column, keys, ANY_JSON if keys else kind)
        so_far = ".".join((*passed, name))
        if name not in mapper.relationships or so_far not in relations:
            raise UnknownFieldError(path, _allowed(mapper, passed, relations))
        passed.append(name)
        mapper = mapper.relationships[name].mapper
    raise UnknownFieldError(path, _allowed(mapper, passed, relations))


def mapper_of(model: object) -> Mapper[Any]:
    """Raises ``ConfigError`` for what is no declarative class."""
    mapper: Any = inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, Mapper):
        raise ConfigError(f"{model!r} is not mapped by SQLAlchemy; pass a declarative class")
    return mapper


def _allowed(mapper: Mapper[Any], passed: Collection[str], relations: Collection[str]) -> list[str]:
    before = "".join(f"{name}." for name in passed)
    declared = [name for name in relations if name.startswith(before)]
    columns = [each.key for each in mapper.column_attrs if isinstance(each.columns[0], Column)]
    return [f"{before}{name}" for name in columns] + declared


def _field_type(name: str, kind: TypeEngine[Any]) -> FieldType:
    while isinstance(kind, TypeDecorator) and not isinstance(kind, Interval):
        if _is_declared(kind):
            return type_of(kind.python_type)
        if _is_changed(kind) and not isinstance(kind.impl_instance, (String, JSON)):
            raise ConfigError(
                f"{name} is a {type(kind).__name__}, which does not tell what its values are; give "
                "it a python_type"
            )
        kind = kind.impl_instance
    if isinstance(kind, EnumType):
        if kind.enum_class is None:
            raise ConfigError(f"{name} is an Enum of texts; make it of a class, or of String")
        return FieldType(Kind.ENUM, enum=kind.enum_class)
    if isinstance(kind, CHAR):
        raise ConfigError(f"{name} is CHAR, which ignores blanks at the end; give it String")
    if isinstance(kind, DateTime) and not kind.timezone:
        raise ConfigError(f"{name} keeps no zone; give it UtcDateTime")
    if isinstance(kind, ARRAY):
        return FieldType(Kind.ARRAY, item=_field_type(name, kind.item_type))
    if isinstance(kind, Uuid) and not kind.as_uuid:
        raise ConfigError(f"{name} is a UUID that is read as text; give it Uuid()")
    if isinstance(kind, Time) and kind.timezone:
        raise ConfigError(f"{name} is a time of day with a zone, which no day tells; use Time()")
    if isinstance(kind, Float) or (isinstance(kind, Numeric) and not kind.asdecimal):
        return FieldType(Kind.FLOAT)
    for sql_type, field_kind in _KINDS:
        if isinstance(kind, sql_type):
            return FieldType(field_kind)
    raise ConfigError(f"{name} is {kind!r}, which no operator knows how to compare")


def _is_declared(kind: TypeDecorator[Any]) -> bool:
    """Whether the type says what its values are in Python."""
    return type(kind).python_type is not TypeDecorator.python_type


def _is_changed(kind: TypeDecorator[Any]) -> bool:
    """Whether the database keeps something else than the value."""
    return type(kind).process_bind_param is not TypeDecorator.process_bind_param


_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (JSON, Kind.JSON),
    (Uuid, Kind.UUID),
    (Boolean, Kind.BOOLEAN),
    (Integer, Kind.INTEGER),
    (Numeric, Kind.DECIMAL),
    (DateTime, Kind.DATETIME),
    (Date, Kind.DATE),
    (Time, Kind.TIME),
    (LargeBinary, Kind.BYTES),
    (String, Kind.TEXT),
)


def related(owner: Any, relation: str) -> type[Any]:
    """The class at the other end."""
    return inspect(owner).mapper.relationships[relation].mapper.class_  # type: ignore[no-any-return]


def is_list(owner: Any, relation: str) -> bool:
    return bool(inspect(owner).mapper.relationships[relation].uselist)
