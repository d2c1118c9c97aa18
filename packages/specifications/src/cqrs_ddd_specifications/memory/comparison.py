"""Checks of ``=``, ``<``, ``in``, ``between`` and ``is_null``."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from cqrs_ddd_core.primitives.exceptions import NaiveDatetimeError

from ..field_types import FieldType, Kind
from ..operators import BETWEEN, EQ, GE, GT, IN, IS_NULL, LE, LT, Operator

Predicate = Callable[[Any], bool]


@dataclass(frozen=True)
class Check:
    """One condition as Python code with placeholders; values are never part of the code.

    Args:
        code: code with ``{x}`` at the first use of the attribute's value, ``{again}`` at every
            further use, and ``{v}`` for ``value``.
        value: the operand, or a function that the code calls.
    """

    code: str
    value: object = None

    @classmethod
    def call(cls, function: Predicate) -> Check:
        """Return a check that calls the function with the value, also with None."""
        return cls("{v}({x})", function)

    @classmethod
    def call_unless_none(cls, function: Predicate) -> Check:
        """Return a check that calls the function with the value; None never satisfies the check."""
        return cls("{x} is not None and {v}({again})", function)


CheckMaker = Callable[[Any, FieldType], Check]
"""Function that builds the check of one operator for an operand and the type of the field."""

_UNDECLARED = (Kind.JSON, Kind.ANY)
_MAX_EXACT_FLOAT = 2.0**53
_INSTANT = (datetime, False)
_CLASSES = (str, datetime, date, time, timedelta, UUID, bytes)
_ORDER: Mapping[Operator, tuple[str, Callable[[Any, Any], bool]]] = {
    LT: ("<", python.lt),
    LE: ("<=", python.le),
    GT: (">", python.gt),
    GE: (">=", python.ge),
}


def _check_equal(value: Any, field_type: FieldType) -> Check:
    if value is None:
        return Check("{x} is None")
    if field_type.kind in (*_UNDECLARED, Kind.ARRAY):
        return Check.call(lambda actual: equal(actual, value))
    if field_type.kind is Kind.DATETIME:
        moment = to_utc(value)
        return Check.call_unless_none(lambda actual: to_utc(actual) == moment)
    return Check("{x} == {v}", value)


def _make_order_check(operator: Operator) -> CheckMaker:
    sign, compare = _ORDER[operator]

    def check(value: object, field_type: FieldType) -> Check:
        if field_type.kind in _UNDECLARED:
            return Check.call(lambda actual: _compare(compare, actual, value))
        return Check(f"{{x}} is not None and {{again}} {sign} {{v}}", value)

    return check


def _check_between(value: tuple[object, object], field_type: FieldType) -> Check:
    if field_type.kind in _UNDECLARED:
        lowest, highest = value
        return Check.call(
            lambda actual: (
                _compare(python.ge, actual, lowest) and _compare(python.le, actual, highest)
            )
        )
    return Check("{x} is not None and {v}[0] <= {again} <= {v}[1]", value)


def _check_in(values: tuple[Any, ...], field_type: FieldType) -> Check:
    if field_type.kind in _UNDECLARED:
        return Check.call(lambda actual: any(equal(actual, value) for value in values))
    if field_type.kind is Kind.DATETIME:
        moments = {None if value is None else to_utc(value) for value in values}
        return Check.call(lambda actual: (None if actual is None else to_utc(actual)) in moments)
    return Check("{x} in {v}", frozenset(values))


CHECKS: Mapping[Operator, CheckMaker] = {
    EQ: _check_equal,
    **{operator: _make_order_check(operator) for operator in _ORDER},
    BETWEEN: _check_between,
    IN: _check_in,
    IS_NULL: lambda value, field_type: Check("{x} is None"),
}


def equal(one: object, other: object) -> bool:
    """Compare undeclared values as JSON does: true is not equal to 1, and 1 is equal to 1.0."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if _is_number(one) and _is_number(other):
        one, other = _align(one, other)
        return bool(one == other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, datetime) and isinstance(other, datetime):
        return _class_of(one) == _class_of(other) and to_utc(one) == to_utc(other)
    return type(one) is type(other) and one == other


def _compare(compare: Callable[[Any, Any], bool], actual: object, value: object) -> bool:
    """Compare undeclared values; values of different kinds have no order."""
    if _is_number(actual) and _is_number(value):
        return compare(*_align(actual, value))
    if isinstance(actual, bool) or isinstance(value, bool):
        return type(actual) is type(value) and compare(actual, value)
    found = _class_of(actual)
    if found is None or found != _class_of(value):
        return False
    if found == _INSTANT and isinstance(actual, datetime) and isinstance(value, datetime):
        actual, value = to_utc(actual), to_utc(value)
    return compare(actual, value)


def _class_of(value: object) -> tuple[type, bool] | None:
    """Return the class that values must share to be comparable, and whether the value is naive."""
    found = next((each for each in _CLASSES if isinstance(value, each)), None)
    is_naive = isinstance(value, (datetime, time)) and value.utcoffset() is None
    return None if found is None else (found, is_naive)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _align(one: Any, other: Any) -> tuple[Any, Any]:
    """Convert two numbers so that Python compares their decimal digits."""
    if type(one) is type(other) or not (_is_inexact(one, other) or _is_inexact(other, one)):
        return one, other
    return _to_decimal(one), _to_decimal(other)


def _to_decimal(number: float | Decimal) -> Decimal:
    return Decimal(repr(number) if isinstance(number, float) else number)


def _is_inexact(one: object, other: object) -> bool:
    return isinstance(one, float) and (isinstance(other, Decimal) or abs(one) >= _MAX_EXACT_FLOAT)


def to_utc(value: datetime) -> datetime:
    """Convert a datetime to UTC, so that it compares by instant with datetimes of any zone.

    Raises:
        NaiveDatetimeError: the value has no time zone.
    """
    if value.utcoffset() is None:
        raise NaiveDatetimeError(
            f"{value} has no time zone; store an aware datetime in the object", value=value
        )
    # Python never treats two datetimes as equal if one lies in an hour that its zone repeats.
    return value.astimezone(timezone.utc)
