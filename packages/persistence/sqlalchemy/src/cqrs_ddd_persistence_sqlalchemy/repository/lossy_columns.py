"""Detection of column types that do not round-trip every Python value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pydantic
import sqlalchemy as sa

from ..schema.column_types import ColumnType

Check = Callable[[ColumnType], bool]

_VALUE_TYPES: Mapping[object, type] = {
    pydantic.AwareDatetime: datetime,
    pydantic.PastDatetime: datetime,
    pydantic.FutureDatetime: datetime,
    pydantic.PastDate: date,
    pydantic.FutureDate: date,
}
_FLOAT_DIGITS = 15


def _has_no_zone(stored: ColumnType) -> bool:
    return isinstance(stored, sa.DateTime) and not stored.timezone


def _rounds(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Float) or (isinstance(stored, sa.Numeric) and not stored.asdecimal)


def _has_scale(stored: ColumnType) -> bool:
    is_numeric = isinstance(stored, sa.Numeric) and stored.scale is not None
    return is_numeric and not isinstance(stored, sa.Float)


def _is_uuid(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Uuid) and stored.as_uuid


def _is_uuid_text(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Uuid) and not stored.as_uuid


def _is_a(*types: type[ColumnType]) -> Check:
    return lambda stored: isinstance(stored, types)


_LOSSES: Mapping[type, Sequence[tuple[Check, str]]] = {
    bool: (),
    int: (
        (_rounds, "rounds an int of more than 15 digits; use BigInteger, or Numeric"),
        (_is_a(sa.Boolean), "stores 0 and 1 only; use BigInteger"),
    ),
    float: (
        (_is_a(sa.Integer), "has no fractions for a float; use Float(53)"),
        (_has_scale, "rounds a float; use Float(53)"),
    ),
    Decimal: (
        (_rounds, "rounds a Decimal; use Numeric, or ExactDecimal"),
        (_is_a(sa.Integer), "has no fractions for a Decimal; use Numeric, or ExactDecimal"),
    ),
    datetime: (
        (_has_no_zone, "drops the time zone of a datetime; use UtcDateTime"),
        (_is_a(sa.Date, sa.Time), "stores a part of a datetime only; use UtcDateTime"),
    ),
    str: (
        (
            _is_a(sa.Numeric, sa.Float, sa.Integer, sa.Boolean, sa.Date, sa.DateTime, sa.Time),
            "does not store str; use Text",
        ),
        (_is_uuid, "stores UUID and not str; use Text, or declare a UUID"),
    ),
    UUID: ((_is_uuid_text, "stores str and not UUID; use Uuid"),),
}
"""Lossy columns by the class of a value; other column types are lossless."""


def find_loss(kind: type, stored: ColumnType) -> str | None:
    """Return the loss if the column stores values of the class, or None if it is lossless."""
    if issubclass(kind, Enum):
        return None
    losses = next((_LOSSES[base] for base in find_value_type(kind).__mro__ if base in _LOSSES), ())
    return next((loss for is_lossy, loss in losses if is_lossy(stored)), None)


def find_sqlite_loss(column: sa.Column[object]) -> str | None:
    """Return the loss if SQLite stores values of the column, or None if it is lossless."""
    stored = column.type
    if isinstance(stored, (sa.DateTime, sa.Time)) and stored.timezone:
        return f"SQLite drops the time zone of {column.name} ({stored!r}); use UtcDateTime"
    if not isinstance(stored, sa.Numeric) or isinstance(stored, sa.Float) or not stored.asdecimal:
        return None
    if stored.precision is not None and stored.precision <= _FLOAT_DIGITS:
        return None
    return (
        f"SQLite stores {column.name} ({stored!r}) as a float of {_FLOAT_DIGITS} digits; "
        "use ExactDecimal"
    )


def find_value_type(kind: type) -> type:
    """Return the class of an annotation's values, for pydantic's own date and time types."""
    return _VALUE_TYPES.get(kind, kind)
