"""Mapping of the fields of a pydantic class to columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic
import sqlalchemy as sa
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy.orm import Mapper

from cqrs_ddd_core import ConfigError
from cqrs_ddd_core.primitives.exceptions import describe_error

from . import field_encoding, value_checks
from .field_encoding import Convert, Encoding
from .value_checks import Check, RowChecks

Row = dict[str, Any]
"""Row of values, by attribute of the model or by key of the column."""

_DEEPEST = 8
"""Levels of nested value objects; a recursive value object would have no end."""


@dataclass(frozen=True)
class ColumnField:
    """Field stored in one column of the model.

    Args:
        attribute: attribute of the model.
        column: column that stores the field.
        encoding: conversion of values other than None.
        annotation: annotation of the field.
    """

    attribute: str
    column: sa.Column[Any]
    encoding: Encoding
    annotation: Any

    @property
    def encode(self) -> Convert | None:
        """Return the encoder of values other than None; None stores them as they are."""
        return self.encoding.encode

    @property
    def may_be_null(self) -> bool:
        """Return whether the field may be None."""
        return field_encoding.allows_none(self.annotation)

    @property
    def is_json(self) -> bool:
        """Return whether the column has a JSON type."""
        return isinstance(self.column.type, sa.JSON)

    @property
    def attributes(self) -> Sequence[str]:
        """Attributes of the model that store the field."""
        return (self.attribute,)

    def write(self, value: Any, row: Row) -> None:
        """Add the column value to the row."""
        encode = self.encoding.encode
        row[self.attribute] = value if value is None or encode is None else encode(value)

    def pop(self, row: Row) -> object:
        """Remove the values of the field from the row, and return the field value."""
        value, decode = row.pop(self.attribute), self.encoding.decode
        try:
            return value if value is None or decode is None else decode(value)
        except ValueError as error:
            is_safe = isinstance(error, field_encoding.ColumnValueError)
            reason = str(error) if is_safe else describe_error(error)
            raise field_encoding.ColumnValueError(f"column {self.column.name}: {reason}") from None

    def find_loss(self, dialect: str) -> str | None:
        """Return the reason why a database would change values, or None if it keeps them."""
        loss = self.encoding.losses.get(dialect)
        return None if loss is None else f"{self.column.name} ({self.column.type!r}) {loss}"

    def build_check(self, dialect: str) -> Check | None:
        """Return a check of column values, or None if the column keeps each value."""
        return value_checks.build_check(self.column.type, dialect, self._restore)

    def _restore(self, value: Any) -> Any:
        """Return the column value of the field value that a value is read as."""
        encode, decode, _ = self.encoding
        read = value if value is None or decode is None else decode(value)
        read = self._adapter.validate_python(read, strict=False)
        return read if read is None or encode is None else encode(read)

    @cached_property
    def _adapter(self) -> pydantic.TypeAdapter[Any]:
        return pydantic.TypeAdapter[Any](self.annotation)


@dataclass(frozen=True)
class PartsField:
    """Field with a column for each part of a value object, all NULL if the value object is None.

    Args:
        parts: mapping of each part, by name.
        is_optional: True if the value object may be None.
    """

    parts: Mapping[str, ColumnField | PartsField]
    is_optional: bool

    @property
    def attributes(self) -> Sequence[str]:
        """Attributes of the model that store the parts."""
        return [name for part in self.parts.values() for name in part.attributes]

    @property
    def may_be_null(self) -> bool:
        """Return whether all columns of the parts may be NULL."""
        return self.is_optional or all(part.may_be_null for part in self.parts.values())

    def write(self, value: Any, row: Row) -> None:
        """Add the column values of all parts to the row."""
        held = {} if value is None else value.__dict__
        for name, part in self.parts.items():
            part.write(held.get(name), row)

    def pop(self, row: Row) -> object:
        """Remove the values of the parts from the row, and return them by name, or None."""
        is_none = self.is_optional and all(row[name] is None for name in self.attributes)
        parts = {name: part.pop(row) for name, part in self.parts.items()}
        return None if is_none else parts


Field = ColumnField | PartsField


def list_columns(fields: Iterable[Field]) -> Iterator[ColumnField]:
    """Yield the fields that are stored in one column, in value objects too."""
    for field in fields:
        if isinstance(field, ColumnField):
            yield field
        else:
            yield from list_columns(field.parts.values())


def build_checks(fields: Iterable[Field], keys: Mapping[str, str], dialect: str) -> RowChecks:
    """Return the checks of rows for a database.

    Args:
        fields: fields that the rows store.
        keys: keys of the rows by attribute, where the two differ.
        dialect: name of the database.
    """
    columns = [(field, field.build_check(dialect)) for field in list_columns(fields)]
    return RowChecks(
        [
            (keys.get(field.attribute, field.attribute), field.column, check)
            for field, check in columns
            if check is not None
        ]
    )


def find_generated(column: sa.Column[Any]) -> str | None:
    """Return the problem of a column for which the database rejects values, or None."""
    if column.computed is not None:
        return f"{column.name} is computed by the database; leave the field out"
    if column.identity is not None and column.identity.always:
        return f"the database rejects values for {column.name}; use Identity(always=False)"
    return None


class MappedClass:
    """Declarative class of one table, with its attributes that are columns of the table.

    Args:
        mapper: SQLAlchemy's mapper of the class.

    Raises:
        ConfigError: the class has several tables, or shares its table with other classes.
    """

    def __init__(self, mapper: Mapper[object]) -> None:
        self.name = mapper.class_.__name__
        self.mapper = mapper
        table = mapper.local_table
        if not isinstance(table, sa.Table) or mapper.persist_selectable is not table:
            raise ConfigError(
                f"{self.name} is mapped to {table!r}; a repository stores aggregates in one table"
            )
        if mapper.single or mapper.polymorphic_on is not None:
            raise ConfigError(
                f"{self.name} shares its table with other classes (inheritance); a repository "
                "stores aggregates of one class in a table"
            )
        self.table = table
        self.columns: dict[str, sa.Column[Any]] = {
            attribute.key: column
            for attribute in mapper.column_attrs
            if isinstance(column := attribute.columns[0], sa.Column) and column.table is table
        }
        self.keys = [
            name for name, column in self.columns.items() if column in set(table.primary_key)
        ]

    def ensure_single_key(self) -> None:
        """Raise ``ConfigError`` unless the primary key is one column."""
        if len(self.keys) != 1:
            raise ConfigError(
                f"{self.name} has a primary key of {len(self.keys)} columns; a repository requires "
                "one column, since an aggregate has one id"
            )
        if self.table.primary_key.deferrable:
            raise ConfigError(
                f"{self.name} has a deferrable primary key, by which PostgreSQL finds no existing "
                "row in an INSERT; make it not deferrable"
            )

    def find_unfilled(self, filled: set[str]) -> Iterator[str]:
        """Yield the attributes that an INSERT would leave NULL although they must not be NULL."""
        for name, column in self.columns.items():
            has_default = (
                column.default is not None
                or column.server_default is not None
                or column.computed is not None
                or column is self.table.autoincrement_column
            )
            if name not in filled and not column.nullable and not has_default:
                yield name


class FieldMapping:
    """Mapping of the fields of a class to columns, which collects its problems.

    Args:
        mapped: class that stores the fields.
        names: attributes of the model by field, if the names differ.
        taken: attributes that other values use, with a description of each.
    """

    def __init__(
        self, mapped: MappedClass, names: Mapping[str, str], taken: Mapping[str, str] | None = None
    ) -> None:
        self.problems: list[str] = []
        self._taken = {mapped.columns.get(each): value for each, value in (taken or {}).items()}
        self._mapped = mapped
        self._names = names
        self._unused = set(names)

    def map_fields(
        self,
        owner: type[BaseModel],
        path: str = "",
        prefix: str = "",
        *,
        left_out: Collection[str] = (),
    ) -> dict[str, Field]:
        """Map the fields by name; a field without a column is omitted and listed as a problem."""
        found: dict[str, Field] = {}
        for name in owner.model_fields:
            self._find_misfits(owner, name)
            if name not in left_out and (field := self._map_field(owner, name, path, prefix)):
                found[name] = field
        return found

    def _map_field(self, owner: type[BaseModel], name: str, path: str, prefix: str) -> Field | None:
        field, full = owner.model_fields[name], f"{path}{name}"
        attribute = self._names.get(full, f"{prefix}{name}")
        self._unused.discard(full)
        model = field_encoding.find_model(field.annotation)
        if attribute in self._mapped.columns:
            return self._map_to_column(owner, full, attribute, field)
        if model is not None and full.count(".") < _DEEPEST:
            return self._map_to_parts(full, attribute, model, field)
        self.problems.append(
            f"{full}: {self._mapped.name} has no column {attribute}; add one, or name it by "
            f"names={{{full!r}: ...}}"
        )
        return None

    def _map_to_column(
        self, owner: type[BaseModel], full: str, attribute: str, field: FieldInfo
    ) -> ColumnField | None:
        for nested in field_encoding.walk_models(field.annotation):
            for inner in nested.model_fields:
                self._find_misfits(nested, inner)
        column = self._mapped.columns[attribute]
        other = self._taken.setdefault(column, full)
        if other != full:
            self.problems.append(
                f"{full} and {other} are both mapped to {attribute}; name another column by "
                f"names={{{full!r}: ...}}"
            )
        if (problem := find_generated(column)) is not None:
            self.problems.append(f"{full}: {problem}")
        name = f"{owner.__name__}.{full.rpartition('.')[2]}"
        try:
            encoding = field_encoding.choose_encoding(name, field, column)
        except ConfigError as problem:
            self.problems.append(f"{full}: {problem}")
            return None
        return ColumnField(attribute, column, encoding, field.annotation)

    def _map_to_parts(
        self, full: str, attribute: str, model: type[BaseModel], field: FieldInfo
    ) -> PartsField:
        parts = self.map_fields(model, f"{full}.", f"{attribute}_")
        value_object = PartsField(parts, field_encoding.allows_none(field.annotation))
        if value_object.is_optional and all(part.may_be_null for part in parts.values()):
            self.problems.append(
                f"{full}: all of its parts may be NULL, which would read as None; store it in one "
                f"Json column {attribute}"
            )
        return value_object

    def find_unused_names(self) -> None:
        """Add a problem for each entry of ``names`` that is not a field."""
        for name in sorted(self._unused):
            self.problems.append(f"names has {name!r}, which is not a field")

    def _find_misfits(self, owner: type[BaseModel], name: str) -> None:
        field = owner.model_fields[name]
        if field.exclude:
            self.problems.append(
                f"{owner.__name__}.{name} is excluded from pydantic's output (exclude=True); "
                "make it a private attribute, or do not exclude it"
            )
        if field_encoding.has_secret(field.annotation):
            self.problems.append(
                f"{owner.__name__}.{name} is a secret, which pydantic writes as asterisks; store "
                "secrets elsewhere, or encrypt them and declare str or bytes"
            )
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        config = owner.model_config
        by_name = config.get("populate_by_name") or config.get("validate_by_name")
        if name not in choices and not by_name:
            self.problems.append(
                f"{owner.__name__}.{name} can be read by its alias only; set populate_by_name"
            )
