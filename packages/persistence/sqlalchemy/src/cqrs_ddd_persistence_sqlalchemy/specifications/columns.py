"""Resolution of dotted paths to columns of a model: the allow-list of queries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper

from cqrs_ddd_core import ConfigError
from cqrs_ddd_specifications import exceptions, field_types
from cqrs_ddd_specifications.field_types import FieldType, Kind

from ..schema.column_types import ColumnType


@dataclass(frozen=True)
class Target:
    """Column at the end of a path, with the relations before it and the keys into its JSON.

    Args:
        relations: names of the relationships on the path.
        name: attribute of the column.
        column: the column of the table, which statements without the ORM accept as well.
        keys: keys into a JSON column.
        type: type of the value at the end of the path.
    """

    relations: tuple[str, ...]
    name: str
    column: sa.Column[Any]
    keys: tuple[str, ...]
    type: FieldType


@lru_cache(maxsize=4096)
def resolve_path(model: type, path: str, relations: frozenset[str]) -> Target:
    """Return the column at the end of a path.

    Raises:
        UnknownFieldError: the model does not have the column, or the path passes a relationship
            outside ``relations``.
    """
    names = path.split(".")
    mapper = get_mapper(model)
    passed: list[str] = []
    for index, name in enumerate(names):
        column = mapper.column_attrs[name].columns[0] if name in mapper.column_attrs else None
        if isinstance(column, sa.Column):
            kind = _find_field_type(f"{mapper.class_.__name__}.{name}", column.type)
            keys = tuple(names[index + 1 :])
            if keys and kind.kind is not Kind.JSON:
                raise exceptions.UnknownFieldError(path, _list_allowed(mapper, passed, relations))
            return Target(tuple(passed), name, column, keys, field_types.JSON if keys else kind)
        so_far = ".".join((*passed, name))
        if name not in mapper.relationships or so_far not in relations:
            raise exceptions.UnknownFieldError(path, _list_allowed(mapper, passed, relations))
        passed.append(name)
        mapper = mapper.relationships[name].mapper
    raise exceptions.UnknownFieldError(path, _list_allowed(mapper, passed, relations))


def get_mapper(model: object) -> Mapper[Any]:
    """Return the mapper of a model.

    Raises:
        ConfigError: the model is not a declarative class.
    """
    mapper: Any = sa.inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, Mapper):
        raise ConfigError(f"{model!r} is not mapped by SQLAlchemy; pass a declarative class")
    return mapper


def _list_allowed(
    mapper: Mapper[Any], passed: Collection[str], relations: Collection[str]
) -> list[str]:
    before = "".join(f"{name}." for name in passed)
    declared = [name for name in relations if name.startswith(before)]
    columns = [each.key for each in mapper.column_attrs if isinstance(each.columns[0], sa.Column)]
    return [f"{before}{name}" for name in columns] + declared


def _find_field_type(name: str, kind: ColumnType) -> FieldType:
    while isinstance(kind, sa.TypeDecorator) and not isinstance(kind, sa.Interval):
        if _is_declared(kind):
            return field_types.type_of(kind.python_type)
        if _is_changed(kind) and not isinstance(kind.impl_instance, (sa.String, sa.JSON)):
            raise ConfigError(
                f"{name} is a {type(kind).__name__}, which does not declare the class of its "
                "values; give it a python_type"
            )
        kind = kind.impl_instance
    if isinstance(kind, sa.Enum):
        if kind.enum_class is None:
            raise ConfigError(f"{name} is an Enum of texts; use an enum class, or String")
        return FieldType(Kind.ENUM, enum=kind.enum_class)
    if isinstance(kind, sa.CHAR):
        raise ConfigError(f"{name} is CHAR, which ignores trailing blanks; use String")
    if isinstance(kind, sa.DateTime) and not kind.timezone:
        raise ConfigError(f"{name} does not store the time zone; use UtcDateTime")
    if isinstance(kind, sa.ARRAY):
        return FieldType(Kind.ARRAY, item=_find_field_type(name, kind.item_type))
    if isinstance(kind, sa.Uuid) and not kind.as_uuid:
        raise ConfigError(f"{name} is a UUID that is read as text; use Uuid()")
    if isinstance(kind, sa.Time) and kind.timezone:
        raise ConfigError(
            f"{name} is a time of day with a time zone, whose offset depends on the day; use Time()"
        )
    if isinstance(kind, sa.Float) or (isinstance(kind, sa.Numeric) and not kind.asdecimal):
        return FieldType(Kind.FLOAT)
    for sql_type, field_kind in _KINDS:
        if isinstance(kind, sql_type):
            return FieldType(field_kind)
    raise ConfigError(f"{name} is {kind!r}, which no operator supports; use another column type")


def _is_declared(kind: sa.TypeDecorator[Any]) -> bool:
    """Return whether the type declares the Python class of its values."""
    return type(kind).python_type is not sa.TypeDecorator.python_type


def _is_changed(kind: sa.TypeDecorator[Any]) -> bool:
    """Return whether the type converts values before it stores them."""
    return type(kind).process_bind_param is not sa.TypeDecorator.process_bind_param


_KINDS: tuple[tuple[type[ColumnType], Kind], ...] = (
    (sa.JSON, Kind.JSON),
    (sa.Uuid, Kind.UUID),
    (sa.Boolean, Kind.BOOLEAN),
    (sa.Integer, Kind.INTEGER),
    (sa.Numeric, Kind.DECIMAL),
    (sa.DateTime, Kind.DATETIME),
    (sa.Date, Kind.DATE),
    (sa.Time, Kind.TIME),
    (sa.Interval, Kind.DURATION),
    (sa.LargeBinary, Kind.BYTES),
    (sa.String, Kind.TEXT),
)


def find_related_class(owner: object, relation: str) -> type[object]:
    """Return the class at the other end of a relationship."""
    mapper: Mapper[object] = sa.inspect(owner).mapper
    return mapper.relationships[relation].mapper.class_


def is_collection(owner: object, relation: str) -> bool:
    """Return whether a relationship leads to several rows."""
    mapper: Mapper[object] = sa.inspect(owner).mapper
    return bool(mapper.relationships[relation].uselist)
