"""The fields of a pydantic class, and the columns that hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy import JSON, Column, Table
from sqlalchemy.orm import Mapper

from cqrs_ddd_core.primitives.exceptions import ConfigError

from .field_encoding import Encode, encoder_of, has_secret, may_be_none, model_in, models_within

_DEEPEST = 8
"""Value objects in value objects; one that holds its own kind has no end."""


@dataclass(frozen=True)
class ColumnField:
    """Kept in one attribute of the model, which has one column."""

    attribute: str
    encode: Encode | None
    may_be_null: bool
    is_json: bool

    @property
    def attributes(self) -> Sequence[str]:
        return (self.attribute,)

    def write(self, value: Any, row: dict[str, Any]) -> None:
        row[self.attribute] = value if value is None or self.encode is None else self.encode(value)

    def take(self, row: dict[str, Any]) -> Any:
        """The value, which the row then no longer has."""
        return row.pop(self.attribute)


@dataclass(frozen=True)
class PartsField:
    """A value object, with an attribute for each of its parts; all NULL where it is None."""

    parts: Mapping[str, ColumnField | PartsField]
    is_optional: bool

    @property
    def attributes(self) -> Sequence[str]:
        return [name for part in self.parts.values() for name in part.attributes]

    @property
    def may_be_null(self) -> bool:
        return self.is_optional or all(part.may_be_null for part in self.parts.values())

    def write(self, value: Any, row: dict[str, Any]) -> None:
        held = {} if value is None else value.__dict__
        for name, part in self.parts.items():
            part.write(held.get(name), row)

    def take(self, row: dict[str, Any]) -> Any:
        is_none = self.is_optional and all(row[name] is None for name in self.attributes)
        parts = {name: part.take(row) for name, part in self.parts.items()}
        return None if is_none else parts


Field = ColumnField | PartsField


class MappedClass:
    """A class of SQLAlchemy with one table; its attributes that are columns of that table.

    Raises ``ConfigError`` for a class in more than a table, or in one that others are in as well.
    """

    def __init__(self, mapper: Mapper[Any]) -> None:
        self.name = mapper.class_.__name__
        self.mapper = mapper
        table = mapper.local_table
        if not isinstance(table, Table) or mapper.persist_selectable is not table:
            raise ConfigError(
                f"{self.name} is mapped to {table!r}; a repository keeps aggregates in one table"
            )
        if mapper.single or mapper.polymorphic_on is not None:
            raise ConfigError(
                f"{self.name} shares its table with other classes (inheritance); a repository "
                "keeps aggregates of one kind in a table"
            )
        self.table = table
        self.columns: dict[str, Column[Any]] = {
            attribute.key: column
            for attribute in mapper.column_attrs
            if isinstance(column := attribute.columns[0], Column) and column.table is table
        }
        self.keys = [
            name for name, column in self.columns.items() if column in set(table.primary_key)
        ]

    def ensure_single_key(self) -> None:
        if len(self.keys) != 1:
            raise ConfigError(
                f"{self.name} has a primary key of {len(self.keys)} columns; a repository needs "
                "one, since an aggregate has one id"
            )

    def unfilled(self, filled: set[str]) -> Iterator[str]:
        """Attributes that would be NULL and may not be."""
        for name, column in self.columns.items():
            has_default = (
                column.default is not None
                or column.server_default is not None
                or column is self.table.autoincrement_column
            )
            if name not in filled and not column.nullable and not has_default:
                yield name


class FieldFinder:
    """Finds the columns of the fields of a class, and notes what is wrong with them."""

    def __init__(
        self, mapped: MappedClass, names: Mapping[str, str], taken: Mapping[str, str] | None = None
    ) -> None:
        self.problems: list[str] = []
        self._taken = {mapped.columns.get(each): what for each, what in (taken or {}).items()}
        self._mapped = mapped
        self._names = names
        self._unused = set(names)

    def fields_of(
        self,
        owner: type[BaseModel],
        path: str = "",
        prefix: str = "",
        *,
        left_out: Collection[str] = (),
    ) -> dict[str, Field]:
        """By the names of the fields; what has no column is missing, and among the problems."""
        found: dict[str, Field] = {}
        for name in owner.model_fields:
            self._find_misfits(owner, name)
            if name not in left_out and (field := self._field(owner, name, path, prefix)):
                found[name] = field
        return found

    def _field(self, owner: type[BaseModel], name: str, path: str, prefix: str) -> Field | None:
        field, full = owner.model_fields[name], f"{path}{name}"
        attribute = self._names.get(full, f"{prefix}{name}")
        self._unused.discard(full)
        model = model_in(field.annotation)
        if attribute in self._mapped.columns:
            return self._column_field(full, attribute, field)
        if model is not None and full.count(".") < _DEEPEST:
            return self._parts_field(full, attribute, model, field)
        self.problems.append(
            f"{full}: {self._mapped.name} has no column {attribute}; add one, or name it by "
            f"names={{{full!r}: ...}}"
        )
        return None

    def _column_field(self, full: str, attribute: str, field: FieldInfo) -> ColumnField | None:
        for nested in models_within(field.annotation):
            for inner in nested.model_fields:
                self._find_misfits(nested, inner)
        column = self._mapped.columns[attribute]
        other = self._taken.setdefault(column, full)
        if other != full:
            self.problems.append(
                f"{full} and {other} would both go to {attribute}; name another column by "
                f"names={{{full!r}: ...}}"
            )
        try:
            encode = encoder_of(field, column)
        except ConfigError as problem:
            self.problems.append(f"{full}: {problem}")
            return None
        is_json = isinstance(column.type, JSON)
        return ColumnField(attribute, encode, may_be_none(field.annotation), is_json)

    def _parts_field(
        self, full: str, attribute: str, model: type[BaseModel], field: FieldInfo
    ) -> PartsField:
        parts = self.fields_of(model, f"{full}.", f"{attribute}_")
        value_object = PartsField(parts, may_be_none(field.annotation))
        if value_object.is_optional and all(part.may_be_null for part in parts.values()):
            self.problems.append(
                f"{full}: each of its parts may be NULL, so None could not be told from it; keep "
                f"it in one Json column {attribute}"
            )
        return value_object

    def find_unused_names(self) -> None:
        for name in sorted(self._unused):
            self.problems.append(f"names has {name!r}, which is not a field")

    def _find_misfits(self, owner: type[BaseModel], name: str) -> None:
        field = owner.model_fields[name]
        if field.exclude:
            self.problems.append(
                f"{owner.__name__}.{name} is left out of what pydantic writes (exclude=True); "
                "make it a private attribute, or do not exclude it"
            )
        if has_secret(field.annotation):
            self.problems.append(
                f"{owner.__name__}.{name} is a secret, of which pydantic writes asterisks; keep "
                "secrets elsewhere, or encrypt them and declare str or bytes"
            )
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        config = owner.model_config
        by_name = config.get("populate_by_name") or config.get("validate_by_name")
        if name not in choices and not by_name:
            self.problems.append(
                f"{owner.__name__}.{name} is read by an alias only; set populate_by_name"
            )
