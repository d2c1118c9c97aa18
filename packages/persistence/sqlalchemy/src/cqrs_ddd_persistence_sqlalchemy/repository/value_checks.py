"""Checks of single values that their column type would change, or that no reader accepts.

A check returns the problem, or None for a value that comes back equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from math import inf, isfinite
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cqrs_ddd_core import AggregateRoot, CQRSDDDError, ValidationError

from ..schema.column_types import ColumnType, ExactDecimal, UtcDateTime
from . import lossy_columns

Check = Callable[[Any], "str | None"]
Restore = Callable[[Any], Any]
"""Function that returns the value of a field for a value that was read."""

_INTEGER_BITS: Sequence[tuple[type[ColumnType], int]] = (
    (sa.SmallInteger, 16),
    (sa.BigInteger, 64),
    (sa.Integer, 32),
)
_MOST_SCALE = 16383
"""Digits after the point of a NUMERIC without limits on PostgreSQL."""
_MOST_PRECISION = 131072
_EPOCH = datetime(1970, 1, 1)
"""Time from which SQLAlchemy counts a duration on SQLite."""
_INFINITE_DATES = (date.min, date.max)
_INFINITE_TIMES = (datetime.min, datetime.max)
_INFINITE = "stands for infinity on PostgreSQL; use None for an unlimited time"
_LONGEST = 2**63
_LONGEST_EXACT_FLOAT = 2.0**53


class RowChecks:
    """Checks of the values of one table, before its rows are written.

    Args:
        checks: key of a value in the rows, its column, and the check.
    """

    def __init__(self, checks: Sequence[tuple[str, sa.Column[Any], Check]]) -> None:
        self._checks = [
            (key, _list_kept_classes(check), column, check) for key, column, check in checks
        ]

    def ensure_kept(self, aggregate: AggregateRoot[Any], row: Mapping[str, Any]) -> None:
        """Raise ``ValidationError`` for a value that its column would change."""
        for key, kept, column, check in self._checks:
            value = row[key]
            # Most values are kept by their class, without a call.
            if value.__class__ not in kept and (problem := check(value)) is not None:
                text = f"column {column.name} ({column.type!r}) {problem}"
                raise ValidationError(
                    f"cannot save {aggregate.aggregate_type} {aggregate.id}: {text}",
                    errors={key: (problem,)},
                )


class _CheckClass:
    """Check of the class of a value alone."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds

    def __call__(self, value: object) -> str | None:
        expected = " or ".join(kind.__name__ for kind in self.kinds)
        return None if isinstance(value, self.kinds) else _expect(expected, value)


def _list_kept_classes(check: Check) -> frozenset[type]:
    """Return the classes whose values need no check, with the class of None."""
    kinds = check.kinds if isinstance(check, _CheckClass) else ()
    return frozenset({type(None), *kinds})


def build_check(stored: ColumnType, dialect: str, restore: Restore) -> Check | None:
    """Return the check of a column on a database, or None if the type checks its own values."""
    stored = lossy_columns.resolve(stored, dialect)
    if isinstance(stored, sa.ARRAY):
        return _check_items(build_check(stored.item_type, dialect, lambda value: value))
    if isinstance(stored, lossy_columns.IntervalType):
        is_native = dialect != "sqlite" and (
            isinstance(stored, postgresql.INTERVAL) or stored.native
        )
        return _CheckClass(timedelta) if is_native else _check_duration
    if isinstance(stored, (UtcDateTime, ExactDecimal, sa.types.UserDefinedType)):
        return None
    if isinstance(stored, sa.TypeDecorator):
        return _check_custom(stored, dialect, restore)
    if isinstance(stored, sa.Enum):
        return _check_member(stored)
    if isinstance(stored, sa.JSON):
        return _check_json(stored, dialect, restore)
    if isinstance(stored, sa.Numeric) and not isinstance(stored, sa.Float) and stored.asdecimal:
        return _check_decimal(stored.precision, stored.scale, restore)
    return _find_check(stored, dialect)


def _find_check(stored: ColumnType, dialect: str) -> Check | None:
    if isinstance(stored, sa.Integer):
        bits = next(size for kind, size in _INTEGER_BITS if isinstance(stored, kind))
        return _check_integer(64 if dialect == "sqlite" else bits)
    if isinstance(stored, (sa.Float, sa.Numeric)):
        return _check_float
    if isinstance(stored, sa.Uuid) and not stored.as_uuid:
        return _check_uuid_text
    if isinstance(stored, sa.DateTime):
        return _check_zoned_datetime if stored.timezone else _check_naive_datetime
    if isinstance(stored, sa.Time):
        return _check_time(stored.timezone)
    if isinstance(stored, sa.CHAR):
        return _check_padded_text(stored.length or 1)
    if isinstance(stored, sa.String):
        return _CheckClass(str) if stored.length is None else _check_text(stored.length)
    if isinstance(stored, sa.Date):
        return _check_date
    natives = lossy_columns.find_native_types(stored)
    return _CheckClass(*natives) if natives and natives != (bool,) else None


def _expect(expected: str, value: object) -> str:
    return f"stores {expected} and not {type(value).__name__}"


def _check_integer(bits: int) -> Check:
    limit = 2 ** (bits - 1)

    def check(value: object) -> str | None:
        if not isinstance(value, int):
            return _expect("int", value)
        return None if -limit <= value < limit else f"holds integers of {bits} bits"

    return check


def _check_float(value: object) -> str | None:
    if not isinstance(value, (float, int)):
        return _expect("float", value)
    if not isfinite(value):
        return "holds no NaN, which SQLite changes to NULL, and no infinity"
    is_exact = isinstance(value, float) or abs(value) <= _LONGEST_EXACT_FLOAT
    return None if is_exact else "rounds an integer of more than 53 bits"


def _check_decimal(precision: int | None, scale: int | None, restore: Restore) -> Check:
    places = _MOST_SCALE if precision is None else scale or 0
    digits = _MOST_PRECISION + _MOST_SCALE if precision is None else precision
    unit = Decimal(1).scaleb(-places)
    context = Context(prec=max(digits, 1), traps=[Inexact, InvalidOperation])
    problem = f"holds at most {digits} digits, {places} of them after the point; round it before"

    def check(value: object) -> str | None:
        if not isinstance(value, (Decimal, int, float)):
            return _expect("Decimal", value)
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if not exact.is_finite():
            return "has no NaN and no infinity on every database"
        try:
            exact.quantize(unit, context=context)
        except (Inexact, InvalidOperation):
            return problem
        is_kept = isinstance(value, Decimal) or restore(exact) == value
        return None if is_kept else "returns Decimal, which is another value of the union"

    return check


def _check_uuid_text(value: object) -> str | None:
    if not isinstance(value, str):
        return _expect("str", value)
    try:
        is_kept = str(UUID(value)) == value
    except ValueError:
        is_kept = False
    return None if is_kept else "holds the standard spelling of a UUID; use str(UUID(...))"


def _check_zoned_datetime(value: object) -> str | None:
    if not isinstance(value, datetime):
        return _expect("datetime", value)
    if value.utcoffset() is None:
        return "requires a time zone; pass an aware datetime"
    try:
        utc = value.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:
        return "holds times from year 1 to 9999 in UTC"
    return _INFINITE if utc in _INFINITE_TIMES else None


def _check_naive_datetime(value: object) -> str | None:
    if not isinstance(value, datetime):
        return _expect("datetime", value)
    if value.utcoffset() is not None:
        return "drops the time zone; use UtcDateTime"
    return _INFINITE if value in _INFINITE_TIMES else None


def _check_date(value: object) -> str | None:
    if not isinstance(value, date) or isinstance(value, datetime):
        return _expect("date", value)
    return _INFINITE if value in _INFINITE_DATES else None


def _check_time(has_zone: bool) -> Check:
    problem = "requires an offset from UTC" if has_zone else "drops the offset from UTC"

    def check(value: object) -> str | None:
        if not isinstance(value, time):
            return _expect("time", value)
        return None if (value.utcoffset() is not None) == has_zone else problem

    return check


def _check_duration(value: object) -> str | None:
    if not isinstance(value, timedelta):
        return _expect("timedelta", value)
    try:
        _EPOCH + value
    except OverflowError:
        return "holds durations from 1970 back to year 1 and on to year 9999 on SQLite"
    return None


def _check_text(length: int) -> Check:
    problem = f"holds at most {length} characters"

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return _expect("str", value)
        # PostgreSQL cuts off blanks beyond the length without an error.
        return None if len(value) <= length else problem

    return check


def _check_padded_text(length: int) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return _expect("str", value)
        if len(value) == length and value[-1] != " ":
            return None
        return f"pads texts with blanks to {length} characters; use String({length})"

    return check


def _check_member(stored: sa.Enum) -> Check:
    texts, enum_class = stored.enums, stored.enum_class

    def check(value: object) -> str | None:
        if enum_class is not None:
            is_member = isinstance(value, enum_class)
        else:
            is_member = isinstance(value, str) and value in texts
        return None if is_member else "is not a member of the enum of the column"

    return check


def _check_items(check_item: Check | None) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return _expect("list", value)
        for item in value:
            if isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
                problem = check(item) if item else "changes a list of empty lists to an empty list"
            elif item is not None and check_item is not None:
                problem = check_item(item)
            else:
                problem = None
            if problem is not None:
                return problem
        return None

    return check


def _check_json(stored: sa.JSON, dialect: str, restore: Restore) -> Check:
    is_binary = isinstance(stored, postgresql.JSONB)

    def check(value: object) -> str | None:
        largest = _find_largest_float(value)
        if largest == inf:
            return "holds no NaN and no infinity, which JSON does not have"
        # PostgreSQL returns large floats as integers of all their decimal digits.
        is_changed = is_binary and largest > _LONGEST_EXACT_FLOAT
        if is_changed and restore(_return_from_jsonb(value)) != value:
            return "changes floats of more than 16 digits"
        is_long = isinstance(value, int) and not -_LONGEST <= value < _LONGEST
        return "stores a single integer in 64 bits" if is_long and dialect == "sqlite" else None

    return check


def _find_largest_float(value: object) -> float:
    """Return the largest absolute value of the floats in JSON values; infinity for NaN."""
    if isinstance(value, float):
        return abs(value) if isfinite(value) else inf
    if isinstance(value, dict):
        value = list(value.values())
    return max(map(_find_largest_float, value), default=0.0) if isinstance(value, list) else 0.0


def _return_from_jsonb(value: object) -> object:
    if isinstance(value, float):
        return int(Decimal(repr(value))) if abs(value) > _LONGEST_EXACT_FLOAT else value
    if isinstance(value, dict):
        return {key: _return_from_jsonb(part) for key, part in value.items()}
    return list(map(_return_from_jsonb, value)) if isinstance(value, list) else value


def _check_custom(stored: sa.TypeDecorator[Any], dialect: str, restore: Restore) -> Check | None:
    """Return a check that converts a value in both directions, and checks the stored one."""
    bind, read = stored.process_bind_param, stored.process_result_value
    has_bind = type(stored).process_bind_param is not sa.TypeDecorator.process_bind_param
    has_read = type(stored).process_result_value is not sa.TypeDecorator.process_result_value
    if not has_bind and not has_read:
        return None  # A type with processors of its own, such as PickleType.
    target = lossy_columns.DIALECTS[dialect]
    inner = stored.load_dialect_impl(target)
    check_inner = build_check(inner, dialect, lambda value: value)

    def find_inner_loss(written: object) -> str | None:
        kept = lossy_columns.resolve(inner, dialect)
        if not lossy_columns.find_native_types(kept) and check_inner is None:
            return None  # The application decides about a type that is unknown here.
        loss = lossy_columns.find_loss(type(written), kept, dialect)
        return check_inner(written) if loss is None and check_inner is not None else loss

    def check(value: object) -> str | None:
        try:
            written = bind(value, target) if has_bind else value
            loss = None if written is None else find_inner_loss(written)
            found = restore(read(written, target) if has_read else written)
        except CQRSDDDError:
            raise
        except Exception as error:  # Of the application.
            return f"does not convert a {type(value).__name__}: {type(error).__name__}"
        if loss is not None:
            return f"converts it for {inner!r}, which {loss}"
        return None if found == value else "converts it to another value"

    return check
