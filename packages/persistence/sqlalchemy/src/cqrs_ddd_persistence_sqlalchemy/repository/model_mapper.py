"""Mapping between aggregates and rows of a declarative model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel

from cqrs_ddd_core import AggregateRoot, ConfigError, InvalidOperationError, SerializationError
from cqrs_ddd_core.primitives.exceptions import ConcealedError, describe_error
from cqrs_ddd_core.primitives.exceptions.arguments import ensure_class
from cqrs_ddd_core.primitives.storable import is_storable
from cqrs_ddd_specifications import coercion, exceptions, field_types, json_values, operators

from ..specifications.columns import get_mapper
from ..specifications.comparison import find_grid
from .field_encoding import ColumnValueError
from .field_mapping import (
    ColumnField,
    Field,
    FieldMapping,
    MappedClass,
    PartsField,
    Row,
    find_generated,
    list_columns,
)
from .relations import Relation

T = TypeVar("T", bound=AggregateRoot[Any])
_TEXT_IN_JSON = (
    field_types.Kind.DECIMAL,
    field_types.Kind.DATETIME,
    field_types.Kind.DATE,
    field_types.Kind.TIME,
    field_types.Kind.DURATION,
    field_types.Kind.BYTES,
)


class ModelMapper(Generic[T]):
    """Mapping of the fields of an aggregate to the columns of a declarative model.

    A field is stored in the attribute of the same name. A value object without such an attribute is
    stored in one attribute per part: ``price.amount`` in ``price_amount``.

    Args:
        entity_type: class of the aggregates.
        model: declarative class of one table.
        names: attributes by field, if the names differ: ``{"owner": "owner_name", "price.amount":
            "cost"}``.
        relations: fields that are lists of rows of a related model, which the aggregate owns.

    Raises:
        ConfigError: fields and columns do not fit; the message lists every problem.
    """

    def __init__(
        self,
        entity_type: type[T],
        model: type[Any],
        *,
        names: Mapping[str, str] | None = None,
        relations: Sequence[str] = (),
    ) -> None:
        ensure_class(entity_type, AggregateRoot, "entity_type")
        self.entity_type = entity_type
        self.model = model
        self._mapped = MappedClass(get_mapper(model))
        self._mapped.ensure_single_key()
        self.table = self._mapped.table
        given = dict(names or {})
        self.id_attribute = given.setdefault("id", self._mapped.keys[0])
        self.version_attribute = given.pop("version", "version")
        mapping = FieldMapping(self._mapped, given, {self.version_attribute: "the version"})
        self.fields: Mapping[str, Field] = mapping.map_fields(entity_type, left_out=relations)
        self.relations = [
            Relation(self._mapped, entity_type, name, mapping.problems) for name in relations
        ]
        mapping.find_unused_names()
        self._ensure_no_problems(mapping.problems + self._find_problems())
        filled = [name for field in self.fields.values() for name in field.attributes]
        self.attributes = (*filled, self.version_attribute)
        """Attributes of the model, in the order of the SELECT."""
        self.columns = [self._mapped.columns[name] for name in self.attributes]
        self.key = self._mapped.columns[self.id_attribute]
        self.renamed = {
            name: key
            for key, column in self.table.columns.items()
            for name in self.attributes
            if self._mapped.columns[name] is column and key != name
        }
        """Keys of the table's columns by attribute, where the two differ."""
        self._relations = {relation.name: relation for relation in self.relations}
        self._fitting_dialects: set[str] = set()
        self._validate = entity_type.__pydantic_validator__.validate_python
        self._prepare_rows()

    def _prepare_rows(self) -> None:
        columns = {n: f for n, f in self.fields.items() if isinstance(f, ColumnField)}
        self._names = list(columns)
        self._attributes = [field.attribute for field in columns.values()]
        self._encoded = [f for f in columns.values() if f.encode is not None]
        self._composites = [(n, f) for n, f in self.fields.items() if n not in columns]
        self._decoders = [
            (n, f.encoding.decode) for n, f in columns.items() if f.encoding.decode is not None
        ]
        self._is_plain = not self._composites and type(self).from_row is ModelMapper.from_row
        decoded = [name for name, _ in self._decoders]
        moved = [(n, f) for n, f in columns.items() if f.attribute != n or n in decoded]
        self._moved = moved + self._composites

    def to_row(self, entity: T) -> Row:
        """Return values by attribute of the model, with the version after the save.

        Raises:
            InvalidOperationError: a field is not set, or the aggregate has more fields than the
                class of this mapper.
            SerializationError: JSON cannot represent the value of a field.
        """
        if type(entity) is not self.entity_type:
            self._ensure_no_more_fields(entity)
        values = entity.__dict__
        try:
            row = dict(zip(self._attributes, map(values.__getitem__, self._names)))  # noqa: B905
            for field in self._encoded:
                field.write(row[field.attribute], row)
            for name, composite in self._composites:
                composite.write(values[name], row)
        except KeyError:
            unset = [name for name in self.fields if name not in values]
            raise InvalidOperationError(
                f"cannot save {entity.aggregate_type} {entity.id}: {', '.join(unset)} was "
                "never set; set it, or declare a default"
            ) from None
        row[self.version_attribute] = entity.next_version
        return row

    def from_rows(self, rows: Iterable[sa.Row[Any]]) -> list[T]:
        """Return the aggregates of rows with values in the order of ``attributes``.

        Raises:
            SerializationError: the class does not accept the values of a row.
        """
        if not self._is_plain:
            return [self.from_row(dict(zip(self.attributes, row))) for row in rows]  # noqa: B905
        names, decoders, validate = self._names, self._decoders, self._validate
        found: list[T] = []
        for row in rows:
            try:
                values = dict(zip(names, row))  # noqa: B905
                for name, decode in decoders:
                    if values[name] is not None:
                        values[name] = decode(values[name])
                entity = validate(values, strict=False)
            except ValueError:  # Of pydantic, or of a decoder.
                entity = self.from_row(dict(zip(self.attributes, row)))  # noqa: B905
            entity.mark_persisted(row[-1] or 0)
            found.append(entity)
        return found

    def from_row(self, row: Row) -> T:
        """Return the aggregate of a row, by attribute; relations must be lists in the row already.

        Raises:
            SerializationError: the class does not accept the values.
        """
        version = row.pop(self.version_attribute)
        entity_id = row.get(self.id_attribute)
        try:
            row.update({name: field.pop(row) for name, field in self._moved})
            entity: T = self._validate(row, strict=False)
        except ValueError as error:
            is_safe = isinstance(error, ColumnValueError)
            problem = str(error) if is_safe else describe_error(error)
            raise SerializationError(
                f"the row of {self.entity_type.__name__} {entity_id} is not valid: {problem}; "
                "correct the row, or change the class so that it accepts the value",
                type_name=self.entity_type.__name__,
            ) from ConcealedError(error)
        entity.mark_persisted(version or 0)
        return entity

    def map_path(self, path: str) -> str:
        """Return the path of the model for a path of the aggregate.

        Raises:
            UnknownFieldError: the aggregate does not have the field.
            UnsupportedOperatorError: the field cannot be searched.
        """
        return _map_path(self.entity_type, self.fields, self._relations, path)

    def encode_operand(self, path: str, operator: operators.Operator, value: object) -> object:
        """Return the operand of a condition in the form that the columns store.

        Raises:
            SpecificationError: the operator or the operand does not fit the field.
        """
        return _encode_operand(
            self.entity_type, self.fields, self._relations, path, operator, value
        )

    def encode_ids(self, entity_ids: Iterable[object]) -> list[object]:
        """Return the ids in the form that their column stores."""
        field = self.fields["id"]
        if isinstance(field, ColumnField) and field.encode is not None:
            return list(map(field.encode, entity_ids))
        return list(entity_ids)

    def can_store_id(self, entity_id: object, *, is_postgres: bool) -> bool:
        """Return whether a row can have this id, as ``encode_ids`` returns it.

        PostgreSQL rejects a query for a number beyond the range of the column, or for a text with
        NUL, instead of finding nothing.
        """
        if isinstance(entity_id, str):
            return is_storable(entity_id)
        if isinstance(entity_id, int) and isinstance(self.key.type, sa.Integer):
            kind = self.key.type if is_postgres else sa.BigInteger()
            return find_grid(kind, is_stored=True).holds(Decimal(entity_id))
        return True

    def ensure_fits(self, dialect: str) -> None:
        """Raise ``ConfigError`` if this database would change values of the columns."""
        if dialect in self._fitting_dialects:
            return
        parts = (field for each in self.relations for field in each.fields.values())
        columns = list_columns([*self.fields.values(), *parts])
        losses = (column.find_loss(dialect) for column in columns)
        self._ensure_no_problems([loss for loss in losses if loss is not None])
        self._fitting_dialects.add(dialect)

    def _ensure_no_more_fields(self, entity: T) -> None:
        more = [
            name for name in type(entity).model_fields if name not in self.entity_type.model_fields
        ]
        if more:
            raise InvalidOperationError(
                f"cannot save {type(entity).__name__} {entity.id} as a "
                f"{self.entity_type.__name__}, which lacks {', '.join(more)}; use a repository "
                f"for {type(entity).__name__}"
            )

    def _find_problems(self) -> list[str]:
        problems: list[str] = []
        if self.version_attribute not in self._mapped.columns:
            problems.append(
                f"{self._mapped.name} has no column {self.version_attribute}, which detects "
                "conflicts; add VersionMixin"
            )
        filled = {name for field in self.fields.values() for name in field.attributes}
        if self.id_attribute != self._mapped.keys[0]:
            problems.append(
                f"id is mapped to {self.id_attribute}, but the primary key is "
                f"{self._mapped.keys[0]}"
            )
        problems += [
            f"{name} of {self._mapped.name} must not be NULL and no field fills it; set a default"
            for name in self._mapped.find_unfilled({*filled, self.version_attribute})
        ]
        version = self._mapped.columns.get(self.version_attribute)
        if version is not None and (problem := find_generated(version)) is not None:
            problems.append(f"version: {problem}")
        if self.entity_type.model_config.get("extra") == "allow":
            problems.append("undeclared fields (extra='allow') have no columns; forbid them")
        return problems

    def _ensure_no_problems(self, problems: Sequence[str]) -> None:
        if problems:
            raise ConfigError(
                f"cannot store {self.entity_type.__name__} in {self._mapped.name}: "
                f"{'; '.join(problems)}"
            )


def _map_path(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
) -> str:
    """Return the path of the model for a path of ``owner``.

    Raises:
        UnknownFieldError: ``owner`` does not have the field.
        UnsupportedOperatorError: the field cannot be searched.
    """
    target = field_types.path_of(owner, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        if not rest:
            raise _part_error(path, [f"{first}.{name}" for name in relation.fields])
        return f"{relation.attribute}.{_map_path(relation.item_type, relation.fields, {}, rest)}"
    here = fields
    names = path.split(".")
    for index, name in enumerate(names):
        field = here.get(name)
        if field is None:
            raise exceptions.UnknownFieldError(path, [*here])
        if isinstance(field, ColumnField):
            keys = names[index + 1 :]
            stored = target.type.item or target.type
            if field.is_json and stored.kind in _TEXT_IN_JSON:
                raise exceptions.UnsupportedOperatorError(
                    f"{path} is {stored.kind.value}, which JSON stores and compares as text; "
                    "map it to its own column"
                )
            if keys and not field.is_json:
                raise exceptions.UnknownFieldError(path, [".".join(names[: index + 1])])
            return ".".join((field.attribute, *keys))
        here = field.parts
    raise _part_error(path, [f"{path}.{name}" for name in here])


def _encode_operand(
    owner: type[BaseModel],
    fields: Mapping[str, Field],
    relations: Mapping[str, Relation],
    path: str,
    operator: operators.Operator,
    value: object,
) -> object:
    """Return the operand as the column stores it, raising the errors of the in-memory evaluator.

    The field decides which operators apply, not the column: an enum stored as a number has no
    order.
    """
    field_type = field_types.path_of(owner, path).type
    given = coercion.coerce(operator, value, field_type, path)
    first, _, rest = path.partition(".")
    if first in relations:
        relation = relations[first]
        return _encode_operand(relation.item_type, relation.fields, {}, rest, operator, value)
    field: Field | None = None
    for name in path.split("."):
        field = (field.parts if isinstance(field, PartsField) else fields).get(name)
        if isinstance(field, ColumnField):
            break
    if field_type.kind is field_types.Kind.JSON:
        return value if field_type.item is None else given
    if not isinstance(field, ColumnField):
        return value
    encode = json_values.to_field_json if field.is_json else field.encode
    if encode is None or (field_type.kind is field_types.Kind.ARRAY and not field.is_json):
        return value
    if operator.takes in (operators.Takes.LIST, operators.Takes.RANGE):
        return [None if each is None else encode(each) for each in given]
    if operator.takes is operators.Takes.VALUE and given is not None:
        return encode(given)
    return value


def _part_error(path: str, parts: list[str]) -> exceptions.UnsupportedOperatorError:
    return exceptions.UnsupportedOperatorError(
        f"{path} is stored in several columns; use {', '.join(parts)}"
    )
