"""Conditions on columns of type ARRAY, which only PostgreSQL has."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from cqrs_ddd_specifications import operators as ops
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError
from cqrs_ddd_specifications.field_types import FieldType, Kind

from ..schema.column_types import ColumnType
from .comparison import PredicateBuilder, find_grid
from .dialects import Expression, Predicate

_ALIKE_IN_JSON = (Kind.TEXT, Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN, Kind.UUID)

Values = Sequence[Any]


def _build_equal(column: Expression, value: Values | None, field_type: FieldType) -> Predicate:
    if value is None:
        return column.is_(None)
    if len(_select_storable(column, value, field_type)) < len(value):
        return sa.false()
    return column == _to_array(column, value, field_type)


def _build_is_empty(column: Expression, value: None, field_type: FieldType) -> Predicate:
    return sa.or_(column.is_(None), sa.func.cardinality(column) == 0)


def _build_contains_any(column: Expression, values: Values, field_type: FieldType) -> Predicate:
    storable = _select_storable(column, values, field_type)
    return column.bool_op("&&")(_to_array(column, storable, field_type))


def _build_contains_all(column: Expression, values: Values, field_type: FieldType) -> Predicate:
    if len(_select_storable(column, values, field_type)) < len(values):
        return sa.false()
    return column.bool_op("@>")(_to_array(column, values, field_type))


def _select_storable(column: Expression, values: Values, field_type: FieldType) -> Values:
    """Return the values that an element of the column can store."""
    assert field_type.item is not None
    if field_type.item.kind not in (Kind.INTEGER, Kind.DECIMAL):
        return list(values)
    grid = find_grid(_get_item_type(column), is_stored=True)
    return [value for value in values if value is None or grid.holds(Decimal(value))]


def _to_array(column: Expression, values: Values, field_type: FieldType) -> Expression:
    assert field_type.item is not None
    item = _get_item_type(column)
    if field_type.item.kind is Kind.INTEGER:
        values = [None if value is None else int(value) for value in values]
    if field_type.item.kind is Kind.DECIMAL and not isinstance(item, sa.TypeDecorator):
        item = sa.Numeric()
    return sa.literal(list(values), sa.ARRAY(item))


def _get_item_type(column: Expression) -> ColumnType:
    assert isinstance(column.type, sa.ARRAY)
    item: ColumnType = column.type.item_type
    return item


def _build_json_contains(column: Expression, value: object, field_type: FieldType) -> Predicate:
    return _to_jsonb(column, field_type).bool_op("@>")(sa.literal(value, JSONB()))


def _build_json_contained(column: Expression, value: object, field_type: FieldType) -> Predicate:
    return _to_jsonb(column, field_type).bool_op("<@")(sa.literal(value, JSONB()))


def _to_jsonb(column: Expression, field_type: FieldType) -> Expression:
    assert field_type.item is not None
    if field_type.item.kind not in _ALIKE_IN_JSON:
        raise UnsupportedOperatorError(
            f"{column} is an array of {field_type.item.kind.value}, which JSON writes in another "
            "form; use contains_all"
        )
    return sa.cast(sa.func.to_jsonb(column), JSONB())


BUILDERS: dict[ops.Operator, PredicateBuilder] = {
    ops.EQ: _build_equal,
    ops.IS_EMPTY: _build_is_empty,
    ops.CONTAINS_ANY: _build_contains_any,
    ops.CONTAINS_ALL: _build_contains_all,
    ops.JSON_CONTAINS: _build_json_contains,
    ops.JSON_CONTAINED_BY: _build_json_contained,
}
