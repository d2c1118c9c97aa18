"""Parts of aggregates in their own tables, which only change together with the aggregate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import eq
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

from .field_encoding import find_item_model
from .field_mapping import Field, FieldMapping, MappedClass, Row, build_checks
from .value_checks import RowChecks

_POSITION = "position"
"""Attribute of the related model that stores the order of the parts."""


class Relation:
    """Field that is a list of pydantic models, stored by a one-to-many relationship.

    Args:
        parent: class of the table of the aggregates.
        owner: class of the aggregates.
        name: name of the field and of the relationship.
        problems: list to which the problems of the mapping are added.
    """

    def __init__(
        self, parent: MappedClass, owner: type[BaseModel], name: str, problems: list[str]
    ) -> None:
        self.name = self.attribute = name
        self.fields: Mapping[str, Field] = {}
        self.columns: Sequence[sa.Column[Any]] = ()
        self._parent_key = parent.columns[parent.keys[0]]
        field = owner.model_fields.get(name)
        item = None if field is None else find_item_model(field.annotation)
        relationship = parent.mapper.relationships.get(name)
        if item is None or relationship is None or not _is_owned(relationship, parent):
            problems.append(
                f"{name}: a relation must be a list of pydantic models in {owner.__name__}, and in "
                f"{parent.name} a one-to-many relationship from its primary key to one column of "
                "another table, without a further condition"
            )
            return
        self.item_type: type[BaseModel] = item
        child = MappedClass(relationship.mapper)
        self.table = child.table
        self._foreign = relationship.local_remote_pairs[0][1]
        keys = {column: key for key, column in child.table.columns.items()}
        self._foreign_key = keys[self._foreign]
        is_ours = _POSITION in child.columns and _POSITION not in item.model_fields
        self._position_key = keys[child.columns[_POSITION]] if is_ours else None
        mapping = FieldMapping(child, {})
        self.fields = mapping.map_fields(item)
        self._attributes = [each for field in self.fields.values() for each in field.attributes]
        self.columns = [child.columns[each] for each in self._attributes]
        self._keys = [keys[column] for column in self.columns]
        filled = {*self._attributes, *([_POSITION] if is_ours else [])}
        filled |= {name for name, column in child.columns.items() if column is self._foreign}
        problems += [f"{name}.{problem}" for problem in mapping.problems]
        problems += [
            f"{each} of {child.name} must not be NULL and no field fills it; set a default"
            for each in child.find_unfilled(filled)
        ]
        self._order = [child.columns[each] for each in child.keys]
        if _POSITION in child.columns:
            self._order = [child.columns[_POSITION]]

    def select(self, version: sa.Column[Any]) -> sa.Select[Any]:
        """Select one row per part: parent, its version and the part, or NULL without parts."""
        parent = self._parent_key
        return (
            sa.select(parent, version, self._foreign, *self.columns)
            .select_from(parent.table)
            .outerjoin(self.table, self._foreign == parent)
            .order_by(*self._order)
        )

    def read_parts(self, rows: Iterable[Sequence[Any]]) -> dict[object, tuple[int, list[Row]]]:
        """Return the version and the ordered parts of each parent."""
        found: dict[object, tuple[int, list[Row]]] = {}
        for parent, version, foreign, *values in rows:
            _, parts = found.setdefault(parent, (version, []))
            if foreign is not None:
                row = dict(zip(self._attributes, values))  # noqa: B905
                parts.append({name: field.pop(row) for name, field in self.fields.items()})
        return found

    def delete(self, *parents: sa.ColumnElement[bool]) -> sa.Delete:
        """Delete the parts of the parents that satisfy the conditions."""
        wanted = sa.select(self._parent_key).where(*parents)
        return sa.delete(self.table).where(self._foreign.in_(wanted.scalar_subquery()))

    @property
    def insert(self) -> sa.Insert:
        """Return an INSERT into the table of the parts."""
        return sa.insert(self.table)

    def build_checks(self, dialect: str) -> RowChecks:
        """Return the checks of the rows of parts for a database."""
        keys = dict(zip(self._attributes, self._keys))  # noqa: B905
        return build_checks(self.fields.values(), keys, dialect)

    def to_rows(self, parent: object, parts: Sequence[BaseModel] | None) -> list[Row]:
        """Return the values for ``insert``, by the keys of the columns."""
        rows: list[Row] = []
        for place, part in enumerate(parts or ()):
            held, values = part.__dict__, Row()
            for name, field in self.fields.items():
                field.write(held[name], values)
            row = {key: values[name] for key, name in zip(self._keys, self._attributes)}  # noqa: B905
            row[self._foreign_key] = parent
            if self._position_key is not None:
                row[self._position_key] = place
            rows.append(row)
        return rows


def _is_owned(relationship: RelationshipProperty[object], parent: MappedClass) -> bool:
    pairs, join = relationship.local_remote_pairs or [], relationship.primaryjoin
    return (
        relationship.direction is RelationshipDirection.ONETOMANY
        and relationship.secondary is None
        and relationship.mapper.local_table is not parent.table
        and len(pairs) == 1
        and pairs[0][0] is parent.columns[parent.keys[0]]
        and relationship.remote_side == {pairs[0][1]}
        and isinstance(join, sa.BinaryExpression)
        and join.operator is eq
        and {join.left, join.right} == set(pairs[0])
    )
