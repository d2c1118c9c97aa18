"""``=``, ``<``, ``in``, ``between`` and ``is_null``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from cqrs_ddd_core.primitives.exceptions import NaiveDatetimeError

from ..field_types import FieldType, Kind
from ..operators import BETWEEN, EQ, GE, GT, IN, IS_NULL, LE, LT, Operator
from .check import Check, calling, calling_unless_none

_UNDECLARED = (Kind.JSON, Kind.ANY)
_LARGEST_EXACT_FLOAT = 2.0**53
_SIGNS = {LT: "<", LE: "<=", GT: ">", GE: ">="}
_CLASSES: tuple[type | tuple[type, ...], ...] = (
    str,
    datetime,
    date,
    time,
    UUID,
    bytes,
)


def _equal(value: Any, field_type: FieldType) -> Check:
    if value is None:
        return Check("{x} is None")
    if field_type.kind in (*_UNDECLARED, Kind.ARRAY):
        return calling(lambda actual: same(actual, value))
    if field_type.kind is Kind.DATETIME:
        asked = instant(value)
        return calling_unless_none(lambda actual: instant(actual) == asked)
    return Check("{x} == {v}", value)


def _ordered(operator: Operator) -> Callable[[Any, FieldType], Check]:
    sign = _SIGNS[operator]

    def check(value: Any, field_type: FieldType) -> Check:
        if field_type.kind in _UNDECLARED:
            return calling(_COMPARISONS[operator](value))
        return Check(f"{{x}} is not None and {{again}} {sign} {{v}}", value)

    return check


def _between(value: tuple[Any, Any], field_type: FieldType) -> Check:
    if field_type.kind in _UNDECLARED:
        lowest, highest = _COMPARISONS[GE](value[0]), _COMPARISONS[LE](value[1])
        return calling(lambda actual: lowest(actual) and highest(actual))
    return Check("{x} is not None and {v}[0] <= {again} <= {v}[1]", value)


def _one_of(values: tuple[Any, ...], field_type: FieldType) -> Check:
    if field_type.kind in _UNDECLARED:
        return calling(lambda actual: any(same(actual, value) for value in values))
    if field_type.kind is Kind.DATETIME:
        instants = {None if value is None else instant(value) for value in values}
        return calling(lambda actual: (None if actual is None else instant(actual)) in instants)
    return Check("{x} in {v}", frozenset(values))


def _is_null(value: None, field_type: FieldType) -> Check:
    return Check("{x} is None")


CHECKS: dict[Operator, Callable[[Any, FieldType], Check]] = {
    EQ: _equal,
    **{operator: _ordered(operator) for operator in _SIGNS},
    BETWEEN: _between,
    IN: _one_of,
    IS_NULL: _is_null,
}


def same(one: Any, other: Any) -> bool:
    """Equality of undeclared values, as in JSON: true is no 1, and 1 is 1.0."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if _is_number(one) and _is_number(other):
        one, other = _sized(one, other)
        return bool(one == other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return bool(one == other)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return _class_of(one) == _class_of(other) and instant(one) == instant(other)
    return bool(type(one) is type(other) and one == other)


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Callable[[Any], bool]]:
    def of(value: Any) -> Callable[[Any], bool]:
        def decide(actual: Any) -> bool:
            if _is_number(actual) and _is_number(value):
                return compare(*_sized(actual, value))
            if isinstance(actual, bool) or isinstance(value, bool):
                return type(actual) is type(value) and compare(actual, value)
            return (
                _class_of(actual) is not None
                and _class_of(actual) == _class_of(value)
                and compare(actual, value)
            )

        return decide

    return of


_COMPARISONS: dict[Operator, Callable[[Any], Callable[[Any], bool]]] = {
    LT: _comparison(lambda one, other: bool(one < other)),
    LE: _comparison(lambda one, other: bool(one <= other)),
    GT: _comparison(lambda one, other: bool(one > other)),
    GE: _comparison(lambda one, other: bool(one >= other)),
}


def _class_of(value: Any) -> Any:
    found = next((each for each in _CLASSES if isinstance(value, each)), None)
    is_naive = isinstance(value, (datetime, time)) and value.utcoffset() is None
    return None if found is None else (found, is_naive)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _sized(one: Any, other: Any) -> tuple[Any, Any]:
    """Two numbers that Python compares as their decimal texts would."""
    if type(one) is type(other) or not (_is_inexact(one, other) or _is_inexact(other, one)):
        return one, other
    return Decimal(repr(one) if isinstance(one, float) else one), Decimal(
        repr(other) if isinstance(other, float) else other
    )


def _is_inexact(one: Any, beside: Any) -> bool:
    return isinstance(one, float) and (
        isinstance(beside, Decimal) or abs(one) >= _LARGEST_EXACT_FLOAT
    )


def instant(value: datetime) -> datetime:
    """To be compared with others, whatever the zone."""
    if value.utcoffset() is None:
        raise NaiveDatetimeError(f"{value} has no zone; give the object an aware one", value=value)
    # Python never calls two times equal of which one is in the hour that clocks repeat.
    return value.astimezone(timezone.utc)
