"""Columns of type ARRAY, which only PostgreSQL has."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Numeric, TypeDecorator, cast, false, func, literal, or_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError
from cqrs_ddd_specifications.field_types import FieldType, Kind
from cqrs_ddd_specifications.operators import (
    CONTAINS_ALL,
    CONTAINS_ANY,
    EQ,
    IS_EMPTY,
    JSON_CONTAINED_BY,
    JSON_CONTAINS,
    Operator,
)

from .bounds import grid_of
from .comparison import Condition

_ALIKE_IN_JSON = (Kind.TEXT, Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN, Kind.UUID)


def _equal(column: ColumnElement[Any], value: Any, field_type: FieldType) -> ColumnElement[bool]:
    if value is None:
        return column.is_(None)
    if len(_held(column, value, field_type)) < len(value):
        return false()
    result: ColumnElement[bool] = column == _array(column, value, field_type)
    return result


def _is_empty(
    column: ColumnElement[Any], value: None, field_type: FieldType
) -> ColumnElement[bool]:
    return or_(column.is_(None), func.cardinality(column) == 0)


def _contains_any(
    column: ColumnElement[Any], values: Any, field_type: FieldType
) -> ColumnElement[bool]:
    return column.op("&&", is_comparison=True)(
        _array(column, _held(column, values, field_type), field_type)
    )


def _contains_all(
    column: ColumnElement[Any], values: Any, field_type: FieldType
) -> ColumnElement[bool]:
    if len(_held(column, values, field_type)) < len(values):
        return false()
    return column.op("@>", is_comparison=True)(_array(column, values, field_type))


def _held(column: ColumnElement[Any], values: Any, field_type: FieldType) -> list[Any]:
    """Those that an element of the column can be."""
    assert field_type.item is not None
    if field_type.item.kind not in (Kind.INTEGER, Kind.DECIMAL):
        return list(values)
    grid = grid_of(_item(column), is_stored_so=True)
    return [value for value in values if value is None or grid.holds(Decimal(value))]


def _array(column: ColumnElement[Any], values: Any, field_type: FieldType) -> ColumnElement[Any]:
    assert field_type.item is not None
    item = _item(column)
    if field_type.item.kind is Kind.INTEGER:
        values = [None if value is None else int(value) for value in values]
    if field_type.item.kind is Kind.DECIMAL and not isinstance(item, TypeDecorator):
        item = Numeric()
    return literal(list(values), ARRAY(item))


def _item(column: ColumnElement[Any]) -> TypeEngine[Any]:
    assert isinstance(column.type, ARRAY)
    item: TypeEngine[Any] = column.type.item_type
    return item


def _contains(column: ColumnElement[Any], value: Any, field_type: FieldType) -> ColumnElement[bool]:
    document = _document(column, field_type)
    result: ColumnElement[bool] = document.contains(literal(value, JSONB()))
    return result


def _contained(
    column: ColumnElement[Any], value: Any, field_type: FieldType
) -> ColumnElement[bool]:
    document = _document(column, field_type)
    result: ColumnElement[bool] = document.contained_by(literal(value, JSONB()))
    return result


def _document(column: ColumnElement[Any], field_type: FieldType) -> Any:
    assert field_type.item is not None
    if field_type.item.kind not in _ALIKE_IN_JSON:
        raise UnsupportedOperatorError(
            f"{column} is an array of {field_type.item.kind.value}, which JSON writes otherwise; "
            "use contains_all"
        )
    return cast(func.to_jsonb(column), JSONB())


CONDITIONS: dict[Operator, Condition] = {
    EQ: _equal,
    IS_EMPTY: _is_empty,
    CONTAINS_ANY: _contains_any,
    CONTAINS_ALL: _contains_all,
    JSON_CONTAINS: _contains,
    JSON_CONTAINED_BY: _contained,
}
