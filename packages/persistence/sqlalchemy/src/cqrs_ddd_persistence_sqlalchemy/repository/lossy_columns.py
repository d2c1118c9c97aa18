"""Find column types that do not return every value that they are given."""

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
        (_is_a(sa.Boolean), "knows 0 and 1 only; use BigInteger"),
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
        (_has_no_zone, "forgets the zone of a datetime; use UtcDateTime"),
        (_is_a(sa.Date, sa.Time), "keeps a part of a datetime only; use UtcDateTime"),
    ),
    str: (
        (
            _is_a(sa.Numeric, sa.Float, sa.Integer, sa.Boolean, sa.Date, sa.DateTime, sa.Time),
            "is not for str; use Text",
        ),
        (_is_uuid, "takes UUIDs and not str; use Text, or declare a UUID"),
    ),
    UUID: ((_is_uuid_text, "takes str and not UUIDs; use Uuid"),),
}
"""Lossy columns by the class of a value; columns of other types lose nothing."""


def find_loss(kind: type, stored: ColumnType) -> str | None:
    """Describe the loss if the column stores a value of the class, or return None."""
    if issubclass(kind, Enum):
        return None
    losses = next((_LOSSES[base] for base in find_value_type(kind).__mro__ if base in _LOSSES), ())
    return next((loss for is_lossy, loss in losses if is_lossy(stored)), None)


def find_sqlite_loss(column: sa.Column[object]) -> str | None:
    """Describe the loss if SQLite stores values of the column, or return None."""
    stored = column.type
    if isinstance(stored, (sa.DateTime, sa.Time)) and stored.timezone:
        return f"{column.name} is {stored!r}, of which SQLite forgets the zone; use UtcDateTime"
    if not isinstance(stored, sa.Numeric) or isinstance(stored, sa.Float) or not stored.asdecimal:
        return None
    if stored.precision is not None and stored.precision <= _FLOAT_DIGITS:
        return None
    return (
        f"{column.name} is {stored!r}, which SQLite keeps as a float of {_FLOAT_DIGITS} digits; "
        "use ExactDecimal"
    )


def find_value_type(kind: type) -> type:
    """Return the class of the values of an annotation, which pydantic may have a class for."""
    return _VALUE_TYPES.get(kind, kind)
