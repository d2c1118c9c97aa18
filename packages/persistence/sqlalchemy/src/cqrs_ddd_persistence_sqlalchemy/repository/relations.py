"""Parts of aggregates in tables of their own, which change with their aggregate only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import eq
from typing import Any

from pydantic import BaseModel
from sqlalchemy import (
    BinaryExpression,
    Column,
    ColumnElement,
    Delete,
    Insert,
    Select,
    delete,
    insert,
    select,
)
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

from .field_encoding import item_in
from .field_mapping import Field, FieldFinder, MappedClass

_POSITION = "position"
"""An attribute of the related model that keeps the order."""


class Relation:
    """A field that is a list of pydantic models, and the one-to-many relationship that keeps it.

    What is wrong with it is added to ``problems``.
    """

    def __init__(
        self, parent: MappedClass, owner: type[BaseModel], name: str, problems: list[str]
    ) -> None:
        self.name = self.attribute = name
        self.fields: Mapping[str, Field] = {}
        self.columns: Sequence[Column[Any]] = ()
        self._parent_key = parent.columns[parent.keys[0]]
        item = item_in(owner.model_fields[name].annotation) if name in owner.model_fields else None
        relationship = parent.mapper.relationships.get(name)
        if item is None or relationship is None or not _is_owned(relationship, parent):
            problems.append(
                f"{name}: a relation is a list of pydantic models in {owner.__name__}, and a "
                f"one-to-many relationship to the primary key in {parent.name}, from one column of "
                "another table and with no further condition"
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
        finder = FieldFinder(child, {})
        self.fields = finder.fields_of(item)
        self._attributes = [each for field in self.fields.values() for each in field.attributes]
        self.columns = [child.columns[each] for each in self._attributes]
        self._keys = [keys[column] for column in self.columns]
        filled = {*self._attributes, *([_POSITION] if is_ours else [])}
        filled |= {name for name, column in child.columns.items() if column is self._foreign}
        problems += [f"{name}.{problem}" for problem in finder.problems]
        problems += [
            f"{each} of {child.name} may not be NULL and nothing fills it; give it a default"
            for each in child.unfilled(filled)
        ]
        self._order = [child.columns[each] for each in child.keys]
        if _POSITION in child.columns:
            self._order = [child.columns[_POSITION]]

    def read(self, version: Column[Any]) -> Select[Any]:
        """Parent, its version and a part, one row a part; a parent without parts has NULL."""
        parent = self._parent_key
        return (
            select(parent, version, self._foreign, *self.columns)
            .select_from(parent.table)
            .outerjoin(self.table, self._foreign == parent)
            .order_by(*self._order)
        )

    def parts_of(self, rows: Iterable[Any]) -> dict[Any, tuple[int, list[dict[str, Any]]]]:
        """By parent, what was read: its version and its parts in order."""
        found: dict[Any, tuple[int, list[dict[str, Any]]]] = {}
        for parent, version, foreign, *values in rows:
            _, parts = found.setdefault(parent, (version, []))
            if foreign is not None:
                row = dict(zip(self._attributes, values))  # noqa: B905
                parts.append({name: field.take(row) for name, field in self.fields.items()})
        return found

    def remove(self, *parents: ColumnElement[bool]) -> Delete:
        """The parts of those parents that satisfy the conditions."""
        wanted = select(self._parent_key).where(*parents)
        return delete(self.table).where(self._foreign.in_(wanted.scalar_subquery()))

    @property
    def insert(self) -> Insert:
        return insert(self.table)

    def rows_of(self, parent: Any, parts: Sequence[BaseModel] | None) -> list[dict[str, Any]]:
        """For ``insert``, by the keys of the columns."""
        rows: list[dict[str, Any]] = []
        for place, part in enumerate(parts or ()):
            held, values = part.__dict__, dict[str, Any]()
            for name, field in self.fields.items():
                field.write(held[name], values)
            row = {key: values[name] for key, name in zip(self._keys, self._attributes)}  # noqa: B905
            row[self._foreign_key] = parent
            if self._position_key is not None:
                row[self._position_key] = place
            rows.append(row)
        return rows


def _is_owned(relationship: RelationshipProperty[Any], parent: MappedClass) -> bool:
    pairs, join = relationship.local_remote_pairs or [], relationship.primaryjoin
    return (
        relationship.direction is RelationshipDirection.ONETOMANY
        and relationship.secondary is None
        and relationship.mapper.local_table is not parent.table
        and len(pairs) == 1
        and pairs[0][0] is parent.columns[parent.keys[0]]
        and relationship.remote_side == {pairs[0][1]}
        and isinstance(join, BinaryExpression)
        and join.operator is eq
        and {join.left, join.right} == set(pairs[0])
    )
