"""Column types that store the same values on every database."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, datetime, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cqrs_ddd_core import ConfigError, NaiveDatetimeError, ValidationError

ColumnType = sa.types.TypeEngine[Any]
Json: sa.JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)
"""JSONB on PostgreSQL; None is NULL."""

_MOST_DIGITS = 18
"""Digits that every 64-bit integer can hold."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware date and time, in UTC; on SQLite as ISO text of one length, which sorts by time.

    Raises ``NaiveDatetimeError`` for one without a zone, and ``ValidationError`` for the very first
    and the very last one, which PostgreSQL would give back as infinity, without a zone.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        kind = sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise NaiveDatetimeError.without_zone("the value", value)
        if value.year in (MINYEAR, MAXYEAR) and _to_utc(value) in _INFINITE:
            raise ValidationError(f"{value.isoformat()} stands for infinity; use None for no end")
        return iso_utc(value) if dialect.name == "sqlite" else value

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        # PostgreSQL's are as they should be, and a function called for each row is felt.
        return _read_time if dialect.name == "sqlite" else None


_INFINITE = (datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc))


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValidationError(f"{value.isoformat()} is out of range in UTC") from None


def _read_time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def iso_utc(value: datetime) -> str:
    """``2026-01-31T12:00:00.000000+00:00``"""
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds")


class ExactDecimal(sa.TypeDecorator[Decimal]):
    """NUMERIC, or an integer of the smallest unit on SQLite, which keeps NUMERIC as a float.

    Comparisons, order and sums are exact on both. Raises ``ValidationError`` for a value that
    does not fit, instead of rounding it.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        if not 0 <= scale <= precision <= _MOST_DIGITS:
            raise ConfigError(
                f"ExactDecimal({precision}, {scale}) is not possible: it holds up to "
                f"{_MOST_DIGITS} digits, {precision} of them after the point at most; use Numeric "
                "for more, on PostgreSQL"
            )
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale
        self._unit = Decimal(1).scaleb(-scale)
        self._context = Context(prec=precision, traps=[Inexact, InvalidOperation])

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        kind = sa.Integer() if dialect.name == "sqlite" else sa.Numeric(self.precision, self.scale)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | int | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        exact = self._quantize(value)
        if dialect.name != "sqlite":
            return exact
        return int(exact.scaleb(self.scale, self._context))

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return self._read if dialect.name == "sqlite" else None

    def _read(self, value: int | None) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-self.scale, _WIDE)

    def _quantize(self, value: object) -> Decimal:
        if isinstance(value, (Decimal, int)) and Decimal(value).is_finite():
            try:
                return Decimal(value).quantize(self._unit, context=self._context)
            except (Inexact, InvalidOperation):
                pass
        raise ValidationError(
            f"{value!r} does not fit {self.precision} digits, {self.scale} of them after the "
            "point; round it as the domain says, or widen the column"
        )


_WIDE = Context(prec=38)
"""A sum has more digits than its terms."""
