"""SQL of ``=``, ``<``, ``in``, ``between`` and ``is_null``."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json

from cqrs_ddd_specifications import operators as ops
from cqrs_ddd_specifications.field_types import FieldType, Kind

from ..schema.column_types import ColumnType, ExactDecimal
from .dialects import ByDialect, Expression, Predicate, collate_text, ensure_faithful

PredicateBuilder = Callable[[Expression, Any, FieldType], Predicate]
"""Function from a column, an operand and the type of the field to a condition."""

_NUMBERS = (Kind.INTEGER, Kind.DECIMAL)
_DIGITS = 10_000
COMPARE: dict[ops.Operator, Callable[[Expression, Any], Predicate]] = {
    ops.EQ: python.eq,
    ops.LT: python.lt,
    ops.LE: python.le,
    ops.GT: python.gt,
    ops.GE: python.ge,
}


class ListAsJson(sa.TypeDecorator[Sequence[Any]]):
    """List as one JSON text, with each element in the form that the database stores.

    Args:
        item: type of the elements.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, item: ColumnType) -> None:
        super().__init__()
        self.item = item

    def process_bind_param(self, value: Sequence[object] | None, dialect: sa.Dialect) -> str:
        """Return the JSON of the encoded elements."""
        encode = self.item.dialect_impl(dialect).bind_processor(dialect)
        return to_json(list(value or () if encode is None else map(encode, value or ()))).decode()


@dataclass(frozen=True)
class Grid:
    """Numbers that a column can store: multiples of ``10 ** -scale`` within a limit.

    Args:
        scale: digits after the point; None for any number of digits.
        limit: bound that every stored number is below; the negative limit is the lowest number.
            None for a column without a bound.
    """

    scale: int | None
    limit: Decimal | None

    def holds(self, number: Decimal) -> bool:
        """Return whether the column can store the number exactly."""
        if not self._fits(number):
            return False
        return self.scale is None or number == self._round(number, ops.EQ)

    def nearest(self, operator: ops.Operator, number: Decimal) -> Decimal | bool:
        """Return a storable number that compares alike, or the result for all values but None."""
        if operator is ops.EQ:
            return number if self.holds(number) else False
        if not self._fits(number):
            return (number > 0) is (operator in (ops.LT, ops.LE))
        return number if self.scale is None else self._round(number, operator)

    def _fits(self, number: Decimal) -> bool:
        return self.limit is None or -self.limit <= number < self.limit

    def _round(self, number: Decimal, operator: ops.Operator) -> Decimal:
        assert self.scale is not None
        if number.as_tuple().exponent >= -self.scale:  # type: ignore[operator]
            return number
        step = Decimal(1).scaleb(-self.scale)
        # In a column of integers, x < 1.5 is x < 2 and x > 1.5 is x > 1.
        up = operator in (ops.LT, ops.GE)
        rounding = ROUND_CEILING if up else ROUND_FLOOR
        return number.quantize(step, rounding, Context(prec=_DIGITS))


WHOLE_NUMBERS = Grid(0, Decimal(2**63))


def find_grid(kind: ColumnType, *, is_stored: bool = False) -> Grid:
    """Return the numbers that a column of this type can store.

    Args:
        kind: type of the column.
        is_stored: True if the number must fit the column itself, as an element of an array does.
    """
    if isinstance(kind, ExactDecimal):
        return Grid(kind.scale, Decimal(10) ** (kind.precision - kind.scale))
    if isinstance(kind, sa.Integer):
        return Grid(0, Decimal(2 ** ((_count_bits(kind) if is_stored else 64) - 1)))
    if isinstance(kind, sa.Numeric) and (kind.scale is not None or kind.precision is not None):
        scale = kind.scale or 0
        whole = None if kind.precision is None else kind.precision - scale
        return Grid(scale, None if whole is None else Decimal(10) ** whole)
    return Grid(None, None)


def _count_bits(kind: sa.Integer) -> int:
    if isinstance(kind, sa.SmallInteger):
        return 16
    return 64 if isinstance(kind, sa.BigInteger) else 32


def choose_element_type(column: Expression, kind: Kind) -> ColumnType:
    """Return the type of an operand of the column, wide enough to neither cut nor round a value."""
    if isinstance(column.type, sa.TypeDecorator):
        return column.type
    if kind is Kind.INTEGER:
        return sa.BigInteger()
    if kind is Kind.DECIMAL:
        return sa.Numeric()
    return sa.Text() if kind is Kind.TEXT else column.type


def _build_comparison(operator: ops.Operator) -> PredicateBuilder:
    compare = COMPARE[operator]

    def build(column: Expression, value: Any, field_type: FieldType) -> Predicate:
        kind = field_type.kind
        if value is None:
            return column.is_(None)
        if kind in _NUMBERS:
            nearest = _find_grid(column, kind).nearest(operator, Decimal(value))
            if isinstance(nearest, bool):
                return column.is_not(None) if nearest else sa.false()
            value = int(nearest) if kind is Kind.INTEGER else nearest
        if kind is Kind.TEXT:
            column = collate_text(column, is_ordered=operator is not ops.EQ)
        return compare(
            ensure_faithful(column), sa.literal(value, choose_element_type(column, kind))
        )

    return build


def _build_between(
    column: Expression, value: tuple[object, object], field_type: FieldType
) -> Predicate:
    lowest, highest = value
    is_above = BUILDERS[ops.GE](column, lowest, field_type)
    return sa.and_(is_above, BUILDERS[ops.LE](column, highest, field_type))


def _build_in(column: Expression, values: tuple[object, ...], field_type: FieldType) -> Predicate:
    present = [value for value in values if value is not None]
    is_found = _build_in_list(column, present, field_type.kind)
    return is_found if len(present) == len(values) else sa.or_(column.is_(None), is_found)


def _build_in_list(column: Expression, values: Sequence[Any], kind: Kind) -> Predicate:
    if kind in _NUMBERS:
        grid = _find_grid(column, kind)
        storable = [Decimal(value) for value in values if grid.holds(Decimal(value))]
        values = [int(number) for number in storable] if kind is Kind.INTEGER else storable
    item = choose_element_type(column, kind)
    if kind is Kind.TEXT:
        column = collate_text(column, is_ordered=False)
    column = ensure_faithful(column)
    # One parameter for any number of values, so that the statement is prepared once.
    in_array = column == sa.any_(sa.literal(values, sa.ARRAY(item)))
    if kind in (Kind.FLOAT, Kind.BYTES):
        # JSON cannot represent bytes, and SQLite rounds floats that it reads from JSON.
        return ByDialect(in_array, column.in_(values))
    listed = sa.func.json_each(sa.literal(values, ListAsJson(item))).table_valued("value")
    return ByDialect(in_array, column.in_(sa.select(listed.c.value)))


def _find_grid(column: Expression, kind: Kind) -> Grid:
    grid = find_grid(column.type)
    # For an unknown column type, only the kind of its values is known: integers.
    return WHOLE_NUMBERS if kind is Kind.INTEGER and grid.scale is None else grid


def _build_is_null(column: Expression, value: None, field_type: FieldType) -> Predicate:
    return column.is_(None)


BUILDERS: dict[ops.Operator, PredicateBuilder] = {
    **{operator: _build_comparison(operator) for operator in COMPARE},
    ops.BETWEEN: _build_between,
    ops.IN: _build_in,
    ops.IS_NULL: _build_is_null,
}


def accepts_none(operator: ops.Operator, value: Any) -> bool:
    """Return whether None satisfies the operator."""
    return (
        operator in (ops.IS_NULL, ops.IS_EMPTY)
        or (operator is ops.EQ and value is None)
        or (operator is ops.IN and None in value)
    )
