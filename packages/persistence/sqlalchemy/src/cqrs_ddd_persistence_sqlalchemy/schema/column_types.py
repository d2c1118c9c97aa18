"""Column types that store the same values on every database."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, datetime, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cqrs_ddd_core import ConfigError, NaiveDatetimeError, ValidationError

ColumnType = sa.types.TypeEngine[Any]
Json: sa.JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)
"""Column type for JSON: JSONB on PostgreSQL; None is stored as NULL."""

_MOST_DIGITS = 18
"""Digits that always fit a 64-bit integer."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware date and time in UTC; on SQLite ISO text of fixed length, which sorts by time.

    Raises:
        NaiveDatetimeError: a value has no time zone.
        ValidationError: a value is the very first or very last datetime, which PostgreSQL would
            return as infinity without a zone.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """Python class of the values."""
        return datetime

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Return TIMESTAMP WITH TIME ZONE, or TEXT on SQLite."""
        kind = sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Return the value in the form that the driver takes, after checking its zone and range."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise NaiveDatetimeError.without_zone("the value", value)
        if value.year in (MINYEAR, MAXYEAR) and _to_utc(value) in _INFINITE:
            raise ValidationError(
                f"{value.isoformat()} stands for infinity; use None for an unlimited time"
            )
        return iso_utc(value) if dialect.name == "sqlite" else value

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Return a parser for SQLite; on PostgreSQL the driver returns aware datetimes in UTC."""
        # None for PostgreSQL: a function call for each row would take measurable time.
        return _read_time if dialect.name == "sqlite" else None


_INFINITE = (datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc))


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValidationError("the time is out of range in UTC") from None


def _read_time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def iso_utc(value: datetime) -> str:
    """Return the time as ISO text of fixed length: ``2026-01-31T12:00:00.000000+00:00``."""
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds")


class _ScaledInteger(sa.Integer):
    """Column of SQLite with integers, which declares the scale by which they are read."""

    __visit_name__ = "user_defined"

    def __init__(self, precision: int, scale: int) -> None:
        # SQLAlchemy copies a type with the attributes that have the names of the arguments.
        self.precision = precision
        self.scale = scale

    def get_col_spec(self, **_: object) -> str:
        return f"{SCALED_INTEGER}({self.precision}, {self.scale})"


SCALED_INTEGER = "EXACTINT"
"""Declared type on SQLite; it contains INT, so SQLite stores integers."""


class ExactDecimal(sa.TypeDecorator[Decimal]):
    """NUMERIC column, stored on SQLite as an integer of the smallest unit.

    SQLite would store NUMERIC as a float. Comparisons, order and sums are exact on both databases.
    A value that does not fit raises ``ValidationError`` instead of being rounded. The declared type
    on SQLite contains precision and scale, so that a migration sees a change of them.

    Args:
        precision: number of digits, at most 18.
        scale: number of digits after the point.

    Raises:
        ConfigError: the digits do not fit a 64-bit integer.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        if not 0 <= scale <= precision <= _MOST_DIGITS:
            raise ConfigError(
                f"ExactDecimal({precision}, {scale}) is not possible: it stores at most "
                f"{_MOST_DIGITS} digits, at most {precision} of them after the point; use Numeric "
                "on PostgreSQL for more digits"
            )
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale
        self._unit = Decimal(1).scaleb(-scale)
        self._context = Context(prec=precision, traps=[Inexact, InvalidOperation])

    @property
    def python_type(self) -> type[Decimal]:
        """Python class of the values."""
        return Decimal

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Return NUMERIC, or an integer type on SQLite."""
        is_sqlite = dialect.name == "sqlite"
        kind = (_ScaledInteger if is_sqlite else sa.Numeric)(self.precision, self.scale)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | int | None, dialect: sa.Dialect) -> Any:
        """Return the exact value, on SQLite as an integer of the smallest unit."""
        if value is None:
            return None
        exact = self._quantize(value)
        if dialect.name != "sqlite":
            return exact
        return int(exact.scaleb(self.scale, self._context))

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Return a converter of SQLite's integers; on PostgreSQL the driver returns Decimal."""
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
            f"a number does not fit {self.precision} digits, {self.scale} of them after the "
            "point; round it by a rule of the domain, or widen the column"
        )


# Reflection returns the type with its scale instead of an integer.
sqlite.base.ischema_names[SCALED_INTEGER] = ExactDecimal

_WIDE = Context(prec=38)
"""Context for sums, which have more digits than their terms."""
