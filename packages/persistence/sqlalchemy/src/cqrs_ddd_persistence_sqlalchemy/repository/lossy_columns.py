"""Column types that keep values unchanged, by the class of the values and the database.

The tests write boundary values of each type through a repository, and generate the page of column
types from the same cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from uuid import UUID

import pydantic
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ..engine import driver
from ..schema.column_types import ColumnType

DIALECTS: Mapping[str, sa.Dialect] = MappingProxyType(
    {"postgresql": driver.get_dialect(True), "sqlite": driver.get_dialect(False)}
)
IntervalType = (sa.Interval, postgresql.INTERVAL)
"""Types of durations; the first is a decorator of SQLAlchemy's own."""
_CUSTOM = (sa.TypeDecorator, sa.types.UserDefinedType)

_VALUE_TYPES: Mapping[object, type] = {
    pydantic.AwareDatetime: datetime,
    pydantic.PastDatetime: datetime,
    pydantic.FutureDatetime: datetime,
    pydantic.PastDate: date,
    pydantic.FutureDate: date,
}
_FLOAT_DIGITS = 15
_FLOAT_BITS = 24
"""Bits of a REAL column, which PostgreSQL also creates for ``Float(24)``."""
_MICROSECONDS = 6

_IsLossy = Callable[[ColumnType], bool]
_ROUNDS_TIME = "rounds to less than microseconds; leave its precision out"


def _has_no_zone(stored: ColumnType) -> bool:
    return isinstance(stored, sa.DateTime) and not stored.timezone


def _has_zone(stored: ColumnType) -> bool:
    return isinstance(stored, sa.DateTime) and stored.timezone


def _rounds(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Float) or (isinstance(stored, sa.Numeric) and not stored.asdecimal)


def _has_digits(stored: ColumnType) -> bool:
    if not isinstance(stored, sa.Numeric) or isinstance(stored, sa.Float):
        return False
    return stored.scale is not None or stored.precision is not None


def _is_uuid(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Uuid) and stored.as_uuid


def _is_uuid_text(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Uuid) and not stored.as_uuid


def _is_decimal_float(stored: ColumnType) -> bool:
    return isinstance(stored, sa.Float) and stored.asdecimal


def _is_a(*types: type[ColumnType]) -> _IsLossy:
    return lambda stored: isinstance(stored, types)


_LOSSES: Mapping[type, Sequence[tuple[_IsLossy, str]]] = {
    bool: (),
    int: (
        (_rounds, "rounds an int of more than 15 digits; use BigInteger, or Numeric"),
        (_is_a(sa.Boolean), "stores 0 and 1 only; use BigInteger"),
    ),
    float: (
        (_is_a(sa.Integer), "has no fractions for a float; use Float(53)"),
        (_has_digits, "rounds a float; use Float(53)"),
        (_is_decimal_float, "rounds a float to 10 digits after the point; leave asdecimal out"),
    ),
    Decimal: (
        (_rounds, "rounds a Decimal; use Numeric, or ExactDecimal"),
        (_is_a(sa.Integer), "has no fractions for a Decimal; use Numeric, or ExactDecimal"),
    ),
    datetime: (
        (_has_no_zone, "drops the time zone of a datetime; use UtcDateTime"),
        (_is_a(sa.Date, sa.Time), "stores a part of a datetime only; use UtcDateTime"),
    ),
    pydantic.NaiveDatetime: ((_has_zone, "requires a time zone; use DateTime"),),
    str: (
        (
            _is_a(sa.Numeric, sa.Float, sa.Integer, sa.Boolean, sa.Date, sa.DateTime, sa.Time),
            "does not store str; use Text",
        ),
        (_is_uuid, "stores UUID and not str; use Text, or declare a UUID"),
    ),
    UUID: ((_is_uuid_text, "stores str and not UUID; use Uuid"),),
}
"""Lossy column types with a hint, by the class of a value."""

_NATIVE: Sequence[tuple[type[ColumnType], tuple[type, ...]]] = (
    (sa.Boolean, (bool,)),
    (sa.Integer, (int,)),
    (sa.Float, (float,)),
    (sa.Numeric, (Decimal, int, float)),
    (sa.DateTime, (datetime,)),
    (sa.Date, (date,)),
    (sa.Time, (time,)),
    (sa.String, (str,)),
    (sa.LargeBinary, (bytes,)),
)
"""Classes of the values that a column type keeps; other types are rejected."""


def resolve(stored: ColumnType, dialect: str) -> ColumnType:
    """Return the type of a column on a database: its variant, and the base type of a domain."""
    # SQLAlchemy's own function returns a type of the driver, without some of the settings.
    found = stored._variant_mapping.get(dialect, stored)
    return found.data_type if isinstance(found, postgresql.DOMAIN) else found


def find_losses(kinds: Iterable[type], stored: ColumnType) -> Mapping[str, str]:
    """Return the loss on each database that would change values of the classes."""
    names = sorted(kinds, key=lambda kind: kind.__name__)
    found: dict[str, str] = {}
    for dialect in DIALECTS:
        resolved = resolve(stored, dialect)
        losses = (find_loss(kind, resolved, dialect) for kind in names)
        if (loss := next(filter(None, losses), None)) is not None:
            found[dialect] = loss
    return found


def is_custom(stored: ColumnType) -> bool:
    """Return whether code of the application converts the values."""
    return isinstance(stored, _CUSTOM) and not isinstance(stored, IntervalType)


def find_loss(kind: type, stored: ColumnType, dialect: str) -> str | None:
    """Return the loss if the column stores values of the class, or None if it keeps them."""
    if isinstance(stored, (sa.JSON, sa.ARRAY)) or is_custom(stored):
        return None
    if isinstance(stored, sa.Enum):
        return _find_enum_loss(kind, stored)
    if kind is object:  # The check of each value decides about its class.
        kind = next(iter(find_native_types(stored)), object)
    value_type = find_value_type(kind)
    losses = next((_LOSSES[base] for base in value_type.__mro__ if base in _LOSSES), ())
    loss = next((loss for is_lossy, loss in losses if is_lossy(stored)), None)
    if loss is None and not _is_native(value_type, stored):
        loss = f"is not known to return {kind.__name__} unchanged; use another type, or Json"
    return loss or _find_setting(stored, dialect)


def find_native_types(stored: ColumnType) -> tuple[type, ...]:
    """Return the classes of the values that the type keeps; it is empty for an unknown type."""
    if isinstance(stored, IntervalType):
        return (timedelta,)
    if isinstance(stored, sa.Uuid):
        return (UUID,) if stored.as_uuid else (str,)
    return next((kinds for each, kinds in _NATIVE if isinstance(stored, each)), ())


def find_value_type(kind: type) -> type:
    """Return the class of an annotation's values, for pydantic's own date and time types."""
    return _VALUE_TYPES.get(kind, kind)


def _is_native(kind: type, stored: ColumnType) -> bool:
    natives = find_native_types(stored)
    if kind is pydantic.NaiveDatetime:
        return datetime in natives
    if kind is bool:
        return isinstance(stored, (sa.Boolean, sa.Integer))
    # A text column stores the JSON form of other classes.
    return (isinstance(stored, sa.String) and bool(natives)) or issubclass(kind, natives)


def _find_enum_loss(kind: type, stored: sa.Enum) -> str | None:
    if kind is object:
        return None
    if stored.enum_class is None:
        is_kept = issubclass(kind, (str, Enum))
    else:
        is_kept = kind is stored.enum_class
    if is_kept:
        return None
    members = stored.enum_class.__name__ if stored.enum_class else "texts"
    return f"stores {members} and not {kind.__name__}; declare it, or use another column"


def _find_setting(stored: ColumnType, dialect: str) -> str | None:
    """Return the loss by the settings of a type that keeps values of the class otherwise."""
    if isinstance(stored, (postgresql.TIMESTAMP, postgresql.TIME, postgresql.INTERVAL)):
        digits = stored.precision
        if digits is not None and digits < _MICROSECONDS:
            return _ROUNDS_TIME
    if isinstance(stored, sa.Interval) and stored.second_precision is not None:
        return _ROUNDS_TIME
    if isinstance(stored, postgresql.INTERVAL) and stored.fields is not None:
        return "stores a part of a duration only; leave its fields out"
    if dialect == "sqlite":
        return _find_sqlite_setting(stored)
    if isinstance(stored, sa.REAL) or (
        isinstance(stored, sa.Float) and (stored.precision or _FLOAT_BITS + 1) <= _FLOAT_BITS
    ):
        return f"has {_FLOAT_BITS} bits for a float of 53; use Float(53)"
    return None


def _find_sqlite_setting(stored: ColumnType) -> str | None:
    if isinstance(stored, (sa.DateTime, sa.Time)) and stored.timezone:
        return "drops the time zone on SQLite; use UtcDateTime"
    for value in _SQLITE_PROBES.get(next(iter(find_native_types(stored)), object), ()):
        if _pass_through(stored, value) != value:
            return "drops a part of the values on SQLite; leave its format out"
    if not isinstance(stored, sa.Numeric) or isinstance(stored, sa.Float) or not stored.asdecimal:
        return None
    precision, scale = stored.precision, stored.scale or 0
    if precision is None or precision > _FLOAT_DIGITS:
        return f"is stored as a float of {_FLOAT_DIGITS} digits on SQLite; use ExactDecimal"
    longest = Decimal("9" * precision).scaleb(-scale)
    if _pass_through(stored, longest) != longest:
        return "is rounded by its decimal_return_scale on SQLite; leave it out"
    return None


_SQLITE_PROBES: Mapping[type, Sequence[object]] = {
    date: (date(1, 1, 2), date(9999, 12, 30)),
    datetime: (datetime(1, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999998)),
    time: (time(0, 0, 0, 1), time.max),
}
"""Boundary values, for types that SQLAlchemy stores as texts in a format."""


def _pass_through(stored: ColumnType, value: object) -> object:
    """Return the value after the conversions of SQLAlchemy for SQLite, in both directions."""
    dialect = DIALECTS["sqlite"]
    bind, read = stored.bind_processor(dialect), stored.result_processor(dialect, None)
    written = value if bind is None else bind(value)
    try:
        return written if read is None else read(written)
    except ValueError:  # A format without some of the parts is not read by its own pattern.
        return None
