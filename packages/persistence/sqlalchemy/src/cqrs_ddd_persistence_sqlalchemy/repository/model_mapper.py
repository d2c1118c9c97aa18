"""Aggregates as rows, and rows as aggregates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import pydantic

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    InvalidOperationError,
    SerializationError,
)
from cqrs_ddd_specifications.operators import Operator

from ..specifications.columns import mapper_of
from .attribute_paths import model_path, stored_value
from .field_encoding import problem_on_sqlite
from .field_mapping import ColumnField, Field, FieldFinder, MappedClass
from .relations import Relation

T = TypeVar("T", bound=AggregateRoot[Any])


class ModelMapper(Generic[T]):
    """Which column of a declarative model holds which field of an aggregate.

    A field goes to the attribute of its name. A value object without one goes to an attribute for
    each of its parts: ``price.amount`` to ``price_amount``. Raises ``ConfigError`` that lists what
    does not fit.

    Args:
        names: other attributes, by field: ``{"owner": "owner_name", "price.amount": "cost"}``.
        relations: fields whose items are rows of a related model, which the aggregate owns.
    """

    def __init__(
        self,
        entity_type: type[T],
        model: type[Any],
        *,
        names: Mapping[str, str] | None = None,
        relations: Sequence[str] = (),
    ) -> None:
        self.entity_type = entity_type
        self.model = model
        self._mapped = MappedClass(mapper_of(model))
        self._mapped.ensure_single_key()
        self.table = self._mapped.table
        given = dict(names or {})
        self.id_attribute = given.setdefault("id", self._mapped.keys[0])
        self.version_attribute = given.pop("version", "version")
        finder = FieldFinder(self._mapped, given, {self.version_attribute: "the version"})
        self.fields: Mapping[str, Field] = finder.fields_of(entity_type, left_out=relations)
        self.relations = [
            Relation(self._mapped, entity_type, name, finder.problems) for name in relations
        ]
        finder.find_unused_names()
        self._ensure_no_problems(finder.problems + self._problems())
        filled = [name for field in self.fields.values() for name in field.attributes]
        self.attributes = (*filled, self.version_attribute)
        """Of the model, in the order in which they are selected."""
        self.columns = [self._mapped.columns[name] for name in self.attributes]
        self.key = self._mapped.columns[self.id_attribute]
        self.renamed = {
            name: key
            for key, column in self.table.columns.items()
            for name in self.attributes
            if self._mapped.columns[name] is column and key != name
        }
        """Attributes whose column has another key in the table."""
        self._fit: set[str] = set()
        self._validate = entity_type.__pydantic_validator__.validate_python
        columns = {n: f for n, f in self.fields.items() if isinstance(f, ColumnField)}
        self._names = list(columns)
        self._attributes = [field.attribute for field in columns.values()]
        self._encoded = [f for f in columns.values() if f.encode is not None]
        self._composed = [(n, f) for n, f in self.fields.items() if n not in columns]
        self._is_plain = not self._composed and type(self).from_row is ModelMapper.from_row
        self._taken = [(n, f) for n, f in columns.items() if f.attribute != n] + self._composed

    def to_row(self, entity: T) -> dict[str, Any]:
        """Values by the attributes of the model, with the version that the row will have."""
        if type(entity) is not self.entity_type:
            self._ensure_no_more_fields(entity)
        held = entity.__dict__
        try:
            row = dict(zip(self._attributes, map(held.__getitem__, self._names)))  # noqa: B905
            for field in self._encoded:
                field.write(row[field.attribute], row)
            for name, composed in self._composed:
                composed.write(held[name], row)
        except KeyError:
            unset = [name for name in self.fields if name not in held]
            raise InvalidOperationError(
                f"{entity.aggregate_type} {entity.id} cannot be saved: {', '.join(unset)} was "
                "never set; set it, or give it a default"
            ) from None
        row[self.version_attribute] = entity.next_version
        return row

    def from_rows(self, rows: Iterable[Any]) -> list[T]:
        """As ``from_row`` for each, from values in the order of ``attributes``."""
        if not self._is_plain:
            return [self.from_row(dict(zip(self.attributes, row))) for row in rows]  # noqa: B905
        names, validate = self._names, self._validate
        found: list[T] = []
        for row in rows:
            try:
                entity = validate(dict(zip(names, row)), strict=False)  # noqa: B905
            except pydantic.ValidationError:
                entity = self.from_row(dict(zip(self.attributes, row)))  # noqa: B905
            entity.mark_persisted(row[-1])
            found.append(entity)
        return found

    def from_row(self, row: dict[str, Any]) -> T:
        """The aggregate in the values of a row, by attribute; relations are lists in it already.

        Raises ``SerializationError`` for a row that the class does not accept.
        """
        version = row.pop(self.version_attribute)
        row.update({name: field.take(row) for name, field in self._taken})
        try:
            entity: T = self._validate(row, strict=False)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            raise SerializationError(
                f"the row of {self.entity_type.__name__} {row.get('id')} is not valid: "
                f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}; correct the row, or "
                "let the class accept it",
                type_name=self.entity_type.__name__,
            ) from error
        entity.mark_persisted(version)
        return entity

    def attribute_path(self, path: str) -> str:
        """``price_amount`` for ``price.amount``; raises ``UnknownFieldError``."""
        relations = {relation.name: relation for relation in self.relations}
        return model_path(self.entity_type, self.fields, relations, path)

    def stored_value(self, path: str, operator: Operator, value: Any) -> Any:
        """What the columns hold for a value that a field is asked for."""
        relations = {relation.name: relation for relation in self.relations}
        return stored_value(self.entity_type, self.fields, relations, path, operator, value)

    def id_values(self, entity_ids: Iterable[Any]) -> list[Any]:
        """The ids as their column takes them."""
        field = self.fields["id"]
        if isinstance(field, ColumnField) and field.encode is not None:
            return list(map(field.encode, entity_ids))
        return list(entity_ids)

    def ensure_fits(self, dialect: str) -> None:
        """Raise ``ConfigError`` for columns whose values this database would change."""
        if dialect in self._fit:
            return
        if dialect == "sqlite":
            columns = [*self.columns, *(c for each in self.relations for c in each.columns)]
            self._ensure_no_problems(
                [problem for column in columns if (problem := problem_on_sqlite(column))]
            )
        self._fit.add(dialect)

    def _ensure_no_more_fields(self, entity: T) -> None:
        more = [
            name for name in type(entity).model_fields if name not in self.entity_type.model_fields
        ]
        if more:
            raise InvalidOperationError(
                f"{type(entity).__name__} {entity.id} cannot be saved as a "
                f"{self.entity_type.__name__}, which has no {', '.join(more)}; use a repository "
                f"for {type(entity).__name__}"
            )

    def _problems(self) -> list[str]:
        problems: list[str] = []
        if self.version_attribute not in self._mapped.columns:
            problems.append(
                f"{self._mapped.name} has no column {self.version_attribute}, by which a stale "
                "aggregate is refused; add VersionMixin"
            )
        filled = {name for field in self.fields.values() for name in field.attributes}
        if self.id_attribute != self._mapped.keys[0]:
            problems.append(
                f"id goes to {self.id_attribute}, the primary key is {self._mapped.keys[0]}"
            )
        problems += [
            f"{name} of {self._mapped.name} may not be NULL and nothing fills it; give it a default"
            for name in self._mapped.unfilled({*filled, self.version_attribute})
        ]
        if self.entity_type.model_config.get("extra") == "allow":
            problems.append("fields that are not declared (extra='allow') have no columns")
        return problems

    def _ensure_no_problems(self, problems: Sequence[str]) -> None:
        if problems:
            raise ConfigError(
                f"{self.entity_type.__name__} cannot be kept in {self._mapped.name}: "
                f"{'; '.join(problems)}"
            )
