"""``=``, ``<``, ``in``, ``between`` and ``is_null``."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Numeric,
    Text,
    TypeDecorator,
    and_,
    any_,
    false,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from cqrs_ddd_specifications.field_types import FieldType, Kind
from cqrs_ddd_specifications.operators import (
    BETWEEN,
    EQ,
    GE,
    GT,
    IN,
    IS_EMPTY,
    IS_NULL,
    LE,
    LT,
    Operator,
)

from .bounds import WHOLE_NUMBERS, Grid, grid_of
from .dialects import ByDialect, faithful, text_of

Condition = Callable[[ColumnElement[Any], Any, FieldType], ColumnElement[bool]]

_NUMBERS = (Kind.INTEGER, Kind.DECIMAL)
COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    EQ: python.eq,
    LT: python.lt,
    LE: python.le,
    GT: python.gt,
    GE: python.ge,
}


class ListAsJson(TypeDecorator[Sequence[Any]]):
    """A list as one JSON text, each element as the database keeps it."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> str:
        process = self.item.dialect_impl(dialect).bind_processor(dialect)
        kept = value or () if process is None else map(process, value or ())
        return to_json(list(kept)).decode()


def element_type(column: ColumnElement[Any], kind: Kind) -> TypeEngine[Any]:
    """Of a value beside the column: as wide as can be, so that no value is cut or rounded."""
    if isinstance(column.type, TypeDecorator):
        return column.type
    if kind is Kind.INTEGER:
        return BigInteger()
    if kind is Kind.DECIMAL:
        return Numeric()
    return Text() if kind is Kind.TEXT else column.type


def _comparing(operator: Operator) -> Condition:
    compare = COMPARE[operator]

    def condition(
        column: ColumnElement[Any], value: Any, field_type: FieldType
    ) -> ColumnElement[bool]:
        kind = field_type.kind
        if value is None:
            return column.is_(None)
        if kind in _NUMBERS:
            nearest = _grid(column, kind).nearest(operator, Decimal(value))
            if isinstance(nearest, bool):
                return column.is_not(None) if nearest else false()
            value = int(nearest) if kind is Kind.INTEGER else nearest
        if kind is Kind.TEXT:
            column = text_of(column, is_ordered=operator is not EQ)
        result: ColumnElement[bool] = compare(
            faithful(column), literal(value, element_type(column, kind))
        )
        return result

    return condition


def _between(
    column: ColumnElement[Any], value: tuple[Any, Any], field_type: FieldType
) -> ColumnElement[bool]:
    lowest, highest = value
    return and_(
        CONDITIONS[GE](column, lowest, field_type), CONDITIONS[LE](column, highest, field_type)
    )


def _one_of(
    column: ColumnElement[Any], values: tuple[Any, ...], field_type: FieldType
) -> ColumnElement[bool]:
    given = [value for value in values if value is not None]
    found = _in_list(column, given, field_type.kind)
    return found if len(given) == len(values) else or_(column.is_(None), found)


def _in_list(column: ColumnElement[Any], values: list[Any], kind: Kind) -> ColumnElement[bool]:
    if kind in _NUMBERS:
        grid = _grid(column, kind)
        held = [Decimal(value) for value in values if grid.holds(Decimal(value))]
        values = [int(number) for number in held] if kind is Kind.INTEGER else held
    item = element_type(column, kind)
    if kind is Kind.TEXT:
        column = text_of(column, is_ordered=False)
    column = faithful(column)
    # One parameter for any number of values: the statement stays the same.
    in_array = column == any_(literal(values, ARRAY(item)))
    if kind in (Kind.FLOAT, Kind.BYTES):
        # JSON has no bytes, and SQLite rounds the floats that it reads in it.
        return ByDialect(in_array, column.in_(values))
    listed = func.json_each(literal(values, ListAsJson(item))).table_valued("value")
    return ByDialect(in_array, column.in_(select(listed.c.value)))


def _grid(column: ColumnElement[Any], kind: Kind) -> Grid:
    grid = grid_of(column.type)
    # Of a type of somebody else's, that its values are whole numbers is all that is known.
    return WHOLE_NUMBERS if kind is Kind.INTEGER and grid.scale is None else grid


def _is_null(column: ColumnElement[Any], value: None, field_type: FieldType) -> ColumnElement[bool]:
    return column.is_(None)


CONDITIONS: dict[Operator, Condition] = {
    **{operator: _comparing(operator) for operator in COMPARE},
    BETWEEN: _between,
    IN: _one_of,
    IS_NULL: _is_null,
}


def accepts_none(operator: Operator, value: Any) -> bool:
    """Whether None satisfies it."""
    return (
        operator in (IS_NULL, IS_EMPTY)
        or (operator is EQ and value is None)
        or (operator is IN and None in value)
    )
