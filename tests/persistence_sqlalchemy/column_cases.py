"""Column types with boundary values, and what comes back from each database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, create_model
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import declarative_base

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import (
    ColumnType,
    ExactDecimal,
    Json,
    UtcDateTime,
)

DIALECTS = ("postgresql", "sqlite")
POSTGRES_ONLY = ("sqlite",)
UTC = timezone.utc
TICK = timedelta(microseconds=1)
FAR = timezone(timedelta(hours=5, minutes=45))
NUMBER = UUID("0190a8b4-0000-7000-8000-0000000000ab")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Point(Enum):
    ORIGIN = (0, 0)


class Size(BaseModel):
    width: int
    weight: float = 0.0


class Upper(sa.TypeDecorator[str]):
    """Type that stores texts in capital letters, so that it does not keep others."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()


class Cents(sa.TypeDecorator[Decimal]):
    """Type that stores an amount in cents."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value) / 100


class Address(sa.TypeDecorator[IPv4Address]):
    """Type over a type that the toolkit does not know."""

    impl = postgresql.INET
    cache_ok = True

    def process_bind_param(self, value: IPv4Address | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> IPv4Address | None:
        return None if value is None else IPv4Address(str(value))


class Labels(sa.TypeDecorator[frozenset[str]]):
    """Type that stores a set as a list."""

    impl = postgresql.ARRAY(sa.String(3))
    cache_ok = True

    def process_bind_param(
        self, value: frozenset[str] | None, dialect: sa.Dialect
    ) -> list[str] | None:
        return None if value is None else sorted(value)


@dataclass(frozen=True)
class Case:
    """Column type for a kind of field.

    Attributes:
        field: annotation, for the documentation.
        column: column type, for the documentation.
        annotation: annotation of the field.
        type: column type.
        kept: values that come back equal.
        rejected: values that raise an error before they are stored.
        limits: description of the rejected values.
        loss: part of the error by which the mapper rejects the column, or empty.
        lossy_on: databases on which the column is rejected.
        absent_on: databases that do not have the type.
    """

    field: str
    column: str
    annotation: Any
    type: ColumnType
    kept: Sequence[object] = ()
    rejected: Sequence[object] = ()
    limits: str = ""
    loss: str = ""
    lossy_on: Collection[str] = ()
    absent_on: Collection[str] = ()

    def works_on(self, dialect: str) -> bool:
        """Return whether aggregates can be saved in the column."""
        return dialect not in self.lossy_on and dialect not in self.absent_on


def _case(field: str, column: str, annotation: Any, type_: Any, **more: Any) -> Case:
    return Case(field, column, annotation, type_, **more)


def _lossy(field: str, column: str, annotation: Any, type_: Any, loss: str) -> Case:
    return Case(field, column, annotation, type_, loss=loss, lossy_on=DIALECTS)


_HUGE = 10**30
_LAST_DATE = date.max - timedelta(days=1)
_NOON = datetime(2026, 1, 31, 12, 0, 0, 123456)
_FIRST, _LAST = datetime.min + TICK, datetime.max - TICK
_ENDS = (datetime.min, datetime.max)
_ZONED_ENDS = [
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
]
_ZONED = [each.replace(tzinfo=UTC) for each in (_FIRST, _NOON, _LAST)] + [
    _NOON.replace(tzinfo=FAR),
    datetime(1, 1, 1, 5, 45, 0, 1, tzinfo=FAR),
]
_TEXTS = ["", " ", " a ", "naïve ☃ 'quoted' 😀", "a\n\t", "x" * 300]

CASES: Sequence[Case] = (
    _case("bool", "Boolean", bool, sa.Boolean(), kept=[True, False]),
    _case("bool", "Integer", bool, sa.Integer(), kept=[True, False]),
    _case(
        "int",
        "SmallInteger",
        int,
        sa.SmallInteger(),
        kept=[-(2**15), 0, 2**15 - 1],
        rejected=[2**63],
        limits="more than 16 bits, on SQLite more than 64",
    ),
    _case(
        "int",
        "Integer",
        int,
        sa.Integer(),
        kept=[-(2**31), 2**31 - 1],
        rejected=[2**63, 1.5],
        limits="more than 32 bits, on SQLite more than 64",
    ),
    _case(
        "int",
        "BigInteger",
        int,
        sa.BigInteger(),
        kept=[-(2**63), 2**53 + 1, 2**63 - 1],
        rejected=[2**63, -_HUGE],
        limits="more than 64 bits",
    ),
    _case(
        "int",
        "Numeric(15, 0)",
        int,
        sa.Numeric(15, 0),
        kept=[10**15 - 1, -1],
        rejected=[10**15],
        limits="more than 15 digits",
    ),
    _lossy("int", "Float(53), Numeric(asdecimal=False)", int, sa.Float(53), "rounds an int"),
    _lossy("int", "Boolean", int, sa.Boolean(), "stores 0 and 1 only"),
    _lossy("int, Decimal, datetime", "Text", int, sa.Text(), "would sort int as text"),
    _case(
        "float",
        "Float, Float(53), Double",
        float,
        sa.Float(53),
        kept=[0.1 + 0.2, -0.0, 1e23, 5e-324, 1.7976931348623157e308],
        rejected=[float("nan"), float("-inf"), "1"],
        limits="NaN and infinity",
    ),
    _case(
        "float",
        "REAL, Float(24)",
        float,
        sa.REAL(),
        kept=[0.1 + 0.2],
        loss="has 24 bits for a float of 53",
        lossy_on=["postgresql"],
    ),
    _lossy("float", "Float(asdecimal=True)", float, sa.Float(53, asdecimal=True), "to 10 digits"),
    _lossy("float", "Numeric(p, s)", float, sa.Numeric(12, 2), "rounds a float"),
    _lossy("float", "Integer", float, sa.Integer(), "has no fractions for a float"),
    _case(
        "Decimal",
        "ExactDecimal(p, s)",
        Decimal,
        ExactDecimal(18, 4),
        kept=[Decimal("99999999999999.9999"), Decimal("-0.0001"), Decimal("1E+3")],
        rejected=[Decimal("0.00001"), Decimal(10**14), Decimal("NaN")],
        limits="more digits than the column has",
    ),
    _case(
        "Decimal",
        "Numeric(p, s)",
        Decimal,
        sa.Numeric(12, 2),
        kept=[Decimal("9999999999.99"), Decimal("-0.01"), Decimal("1E+3"), Decimal("1.10")],
        rejected=[Decimal("0.005"), Decimal(10**10), Decimal("NaN"), Decimal("Infinity")],
        limits="more digits than the column has",
    ),
    _case(
        "Decimal",
        "Numeric(p)",
        Decimal,
        sa.Numeric(10),
        kept=[Decimal(10**10 - 1)],
        rejected=[Decimal("0.5"), Decimal(10**10)],
        limits="more digits than the column has, which has no fractions",
    ),
    _case(
        "Decimal",
        "Numeric(p, s), p > 15",
        Decimal,
        sa.Numeric(30, 10),
        kept=[Decimal("12345678901234567890.0123456789")],
        rejected=[Decimal("0.00000000001")],
        limits="more digits than the column has",
        loss="is stored as a float of 15 digits on SQLite",
        lossy_on=["sqlite"],
    ),
    _case(
        "Decimal",
        "Numeric",
        Decimal,
        sa.Numeric(),
        kept=[Decimal("1E-16383"), Decimal("1E+100"), Decimal("0.1")],
        rejected=[Decimal("1E-16384"), Decimal("NaN")],
        limits="more than 16,383 digits after the point",
        loss="is stored as a float of 15 digits on SQLite",
        lossy_on=["sqlite"],
    ),
    _lossy("Decimal", "Float, Numeric(asdecimal=False)", Decimal, sa.Float(53), "rounds a Decimal"),
    _lossy("Decimal", "Integer", Decimal, sa.BigInteger(), "has no fractions for a Decimal"),
    _case(
        "str",
        "Text, String, Unicode",
        str,
        sa.Text(),
        kept=_TEXTS,
        rejected=[5],
        limits="NUL on PostgreSQL",
    ),
    _case(
        "str",
        "String(n)",
        str,
        sa.String(3),
        kept=["", "a  ", "  a", "☃☃☃"],
        rejected=["abcd", "abc ", "a   "],
        limits="more than n characters, also blanks",
    ),
    _case(
        "str",
        "CHAR(n)",
        str,
        sa.CHAR(3),
        kept=["SEK", " ab"],
        rejected=["", "ab", "ab ", "abcd"],
        limits="less or more than n characters, and a blank at the end",
    ),
    _case(
        "str",
        "Uuid(as_uuid=False)",
        str,
        sa.Uuid(as_uuid=False),
        kept=[str(NUMBER)],
        rejected=[str(NUMBER).upper(), NUMBER.hex, "a"],
        limits="other spellings than `str(UUID(...))`",
    ),
    _case(
        "str",
        'Enum("a", "b")',
        str,
        sa.Enum("red", "blue", name="column_texts"),
        kept=["red"],
        rejected=["green"],
        limits="other texts",
    ),
    _lossy("str", "Uuid", str, sa.Uuid(), "stores UUID and not str"),
    _lossy("str", "INET, CIDR, MACADDR, MONEY, BIT", str, postgresql.INET(), "is not known to"),
    _lossy("str", "Integer, Date, DateTime", str, sa.Date(), "does not store str"),
    _case(
        "Literal",
        "Text",
        Literal["red", "blue"],
        sa.Text(),
        kept=["red"],
    ),
    _case(
        "bytes",
        "LargeBinary",
        bytes,
        sa.LargeBinary(),
        kept=[b"", b"\x00\xff"],
        rejected=["a"],
        limits="other classes",
    ),
    _case(
        "bytes",
        "Text",
        bytes,
        sa.Text(),
        kept=["ü".encode()],
        rejected=[b"\xff"],
        limits="other bytes than UTF-8",
    ),
    _case("UUID", "Uuid", UUID, sa.Uuid(), kept=[NUMBER, UUID(int=0)]),
    _case("UUID", "Text", UUID, sa.Text(), kept=[NUMBER]),
    _lossy("UUID", "Uuid(as_uuid=False)", UUID, sa.Uuid(as_uuid=False), "stores str and not UUID"),
    _case(
        "UUID | str",
        "Text",
        UUID | str,
        sa.Text(),
        kept=[NUMBER, "ann"],
        rejected=[str(NUMBER)],
        limits="text that is also the text of another class",
    ),
    _case(
        "AwareDatetime, datetime",
        "UtcDateTime",
        AwareDatetime,
        UtcDateTime(),
        kept=_ZONED,
        rejected=[*_ZONED_ENDS, _NOON],
        limits="without a zone, and the first and the last time, which are infinity",
    ),
    _case(
        "AwareDatetime, datetime",
        "DateTime(timezone=True)",
        datetime,
        sa.DateTime(timezone=True),
        kept=_ZONED,
        rejected=[*_ZONED_ENDS, _NOON],
        limits="without a zone, and the first and the last time, which are infinity",
        loss="drops the time zone on SQLite",
        lossy_on=["sqlite"],
    ),
    _lossy("AwareDatetime, datetime", "DateTime", datetime, sa.DateTime(), "drops the time zone"),
    _lossy("datetime", "Date, Time", datetime, sa.Date(), "stores a part of a datetime"),
    _lossy(
        "datetime",
        "TIMESTAMP(precision=3)",
        datetime,
        postgresql.TIMESTAMP(True, 3),
        "rounds to less than microseconds",
    ),
    _case(
        "NaiveDatetime",
        "DateTime",
        NaiveDatetime,
        sa.DateTime(),
        kept=[_FIRST, _NOON, _LAST],
        rejected=[*_ENDS, _NOON.replace(tzinfo=UTC)],
        limits="with a zone, and the first and the last time, which are infinity",
    ),
    _case(
        "date",
        "Date",
        date,
        sa.Date(),
        kept=[date(1, 1, 2), _LAST_DATE],
        rejected=[date.min, date.max, _NOON],
        limits="the first and the last date, which are infinity",
    ),
    _case(
        "time",
        "Time",
        time,
        sa.Time(),
        kept=[time.min, time.max, time(9, 30, 15, 123)],
        rejected=[time(9, tzinfo=FAR)],
        limits="with an offset",
    ),
    _case(
        "time",
        "Time(timezone=True)",
        time,
        sa.Time(timezone=True),
        kept=[time(0, tzinfo=UTC), time.max.replace(tzinfo=FAR)],
        rejected=[time(9)],
        limits="without an offset",
        loss="drops the time zone on SQLite",
        lossy_on=["sqlite"],
    ),
    _case(
        "timedelta",
        "Interval",
        timedelta,
        sa.Interval(),
        kept=[TICK, -TICK, timedelta(days=700000), timedelta(days=3, hours=26)],
        rejected=[1.5],
        limits="on SQLite, more than some 2,000 years back or 8,000 years on",
    ),
    _lossy(
        "timedelta",
        'INTERVAL(precision=0), INTERVAL(fields="DAY")',
        timedelta,
        postgresql.INTERVAL(precision=0),
        "rounds to less than microseconds",
    ),
    _case("Enum", "Enum(class)", Colour, sa.Enum(Colour, name="column_colour"), kept=[*Colour]),
    _case("Enum with texts", "Text", Colour, sa.Text(), kept=[*Colour]),
    _case(
        "Enum with texts",
        'Enum("a", "b")',
        Colour,
        sa.Enum("red", name="column_reds"),
        kept=[Colour.RED],
        rejected=[Colour.BLUE],
        limits="other texts",
    ),
    _case("Enum with numbers", "Integer", Level, sa.SmallInteger(), kept=[Level.LOW]),
    _lossy("Enum with numbers", "Text", Level, sa.Text(), "would sort Level as text"),
    _lossy("Enum with other values", "Text, Integer", Point, sa.Integer(), "is not known to"),
    _case(
        "model, list, dict, and others that pydantic writes as JSON",
        "Json, JSON",
        list[Size],
        Json,
        kept=[[], [Size(width=1, weight=1e23)]],
        rejected=[[Size(width=1, weight=float("nan"))], ["a"]],
        limits="values that JSON does not keep: see [kinds of fields](fields.md)",
    ),
    _case(
        "dict[str, Any]",
        "Json, JSON",
        dict[str, Any],
        Json,
        kept=[{"a": [1, 2.5, None, "ü"], "": {}}, {"n": 10**25, "m": 1e15}],
        rejected=[{"a": float("nan")}, {"a": NUMBER}],
        limits="values that JSON does not keep, and on PostgreSQL large floats such as 1e23",
    ),
    _lossy("model, list, dict", "Text, Integer", Size, sa.Text(), "use Json"),
    _case(
        "list",
        "ARRAY",
        list[UUID],
        sa.ARRAY(sa.Uuid()),
        kept=[[], [NUMBER, UUID(int=1)]],
        absent_on=POSTGRES_ONLY,
    ),
    _case(
        "list of lists",
        "ARRAY",
        list[list[int]],
        sa.ARRAY(sa.Integer(), dimensions=2),
        kept=[[[1, 2], [3, 4]]],
        rejected=[[[]], [[2**40]]],
        limits="lists of empty lists, and items that the type does not keep",
        absent_on=POSTGRES_ONLY,
    ),
    _lossy("dict, str", "ARRAY", str, sa.ARRAY(sa.Text()), "stores a list and not str"),
    _case(
        "each",
        "TypeDecorator",
        str,
        Upper(),
        kept=["LOUD"],
        rejected=["loud"],
        limits="values that its methods, or its column type, do not return equal",
    ),
    _case(
        "each",
        "TypeDecorator",
        Decimal,
        Cents(),
        kept=[Decimal("1.10"), Decimal("-0.01")],
        rejected=[Decimal("0.005"), Decimal(2**63)],
        limits="values that its methods, or its column type, do not return equal",
    ),
    _case(
        "each",
        "TypeDecorator",
        IPv4Address,
        Address(),
        kept=[IPv4Address("10.0.0.1")],
        absent_on=POSTGRES_ONLY,
    ),
    _case(
        "each",
        "TypeDecorator",
        frozenset[str],
        Labels(),
        kept=[frozenset({"a", "b"})],
        rejected=[frozenset({"a   "})],
        limits="values that its methods, or its column type, do not return equal",
        absent_on=POSTGRES_ONLY,
    ),
    _case(
        "each",
        "DOMAIN",
        str,
        postgresql.DOMAIN("column_code", sa.CHAR(2)),
        kept=["SE"],
        rejected=["S"],
        limits="as for its type",
        absent_on=POSTGRES_ONLY,
    ),
)


def make_entity(annotation: Any) -> type[AggregateRoot[str]]:
    """Create an aggregate with one field, which may be None."""
    return create_model(
        "Held", __base__=AggregateRoot[str], __module__=__name__, value=(annotation | None, None)
    )


def make_model(stored: ColumnType, number: int, base: Any = None) -> Any:
    """Create the declarative class of a table with one column of the type."""
    body = {
        "__tablename__": f"column_case_{number}",
        "id": sa.Column(sa.Text, primary_key=True),
        "value": sa.Column(stored),
    }
    return type(f"HeldModel{number}", (VersionMixin, base or declarative_base()), body)


def list_cases(dialect: str) -> Iterator[tuple[int, Case]]:
    """Yield the cases with columns in which a database can store aggregates."""
    return ((n, case) for n, case in enumerate(CASES) if case.works_on(dialect))


KINDS: Sequence[Any] = (
    bool,
    int,
    float,
    Decimal,
    int | float,
    int | Decimal,
    float | Decimal,
    str,
    bytes,
    UUID,
    UUID | str,
    datetime,
    NaiveDatetime,
    date,
    date | datetime,
    time,
    timedelta,
    Colour,
    Level,
    Point,
    Colour | str,
    Literal["red", 1],
    list[int],
    list[str],
    list[datetime],
    list[Any],
    set[Decimal],
    Sequence[int],
    tuple[Colour, ...],
    tuple[int, str],
    dict[str, Any],
    dict[int, float],
    Size,
    IPv4Address,
    Path,
    Any,
)
"""Kinds of fields, each with each of the types."""

TYPES: Sequence[ColumnType] = (
    sa.Boolean(),
    sa.SmallInteger(),
    sa.Integer(),
    sa.BigInteger(),
    sa.Float(),
    sa.Float(24),
    sa.Double(),
    sa.REAL(),
    sa.Float(53, asdecimal=True),
    sa.Numeric(),
    sa.Numeric(5),
    sa.Numeric(15, 15),
    sa.Numeric(12, 2),
    sa.Numeric(12, 2, decimal_return_scale=1),
    sa.Numeric(12, 2, asdecimal=False),
    sa.Numeric(asdecimal=False),
    sa.Numeric(30, 5),
    sa.Text(),
    sa.String(3),
    sa.CHAR(3),
    sa.Unicode(5),
    sa.LargeBinary(),
    sa.Uuid(),
    sa.Uuid(as_uuid=False),
    sa.Uuid(native_uuid=False),
    sa.Date(),
    sa.DateTime(),
    sa.DateTime(timezone=True),
    sa.TIMESTAMP(timezone=True),
    sa.Time(),
    sa.Time(timezone=True),
    sa.Interval(),
    sa.Interval(native=False),
    sa.Interval(second_precision=0),
    sa.Enum(Colour, name="column_colour"),
    sa.Enum("red", "blue", name="column_texts"),
    sa.Enum("red", "blue", name="column_names", native_enum=False),
    sa.JSON(),
    sa.PickleType(),
    UtcDateTime(),
    ExactDecimal(12, 2),
    Json,
    Upper(),
    Cents(),
    sa.Text().with_variant(postgresql.INET(), "postgresql"),
    sa.Text().with_variant(postgresql.CITEXT(), "postgresql"),
)
POSTGRES_TYPES: Sequence[ColumnType] = (
    postgresql.INET(),
    postgresql.CIDR(),
    postgresql.MACADDR(),
    postgresql.MONEY(),
    postgresql.BIT(3),
    postgresql.OID(),
    postgresql.HSTORE(),
    postgresql.TSVECTOR(),
    postgresql.INT4RANGE(),
    postgresql.BYTEA(),
    postgresql.TIMESTAMP(True, 3),
    postgresql.TIME(precision=0),
    postgresql.INTERVAL(fields="DAY"),
    postgresql.INTERVAL(),
    postgresql.JSON(),
    postgresql.JSONB(),
    postgresql.DOMAIN("column_short", sa.String(2)),
    postgresql.DOMAIN("column_code", sa.CHAR(2)),
    sa.ARRAY(sa.Integer()),
    sa.ARRAY(sa.Integer(), dimensions=2),
    sa.ARRAY(sa.Text()),
    sa.ARRAY(sa.String(2)),
    sa.ARRAY(sa.CHAR(2)),
    sa.ARRAY(sa.Uuid()),
    sa.ARRAY(sa.Numeric(5, 2)),
    sa.ARRAY(sa.DateTime(True)),
    sa.ARRAY(sa.REAL()),
)

VALUES: Sequence[object] = (
    *(True, False),
    *(0, 1, -1, 2**15, 2**31, 2**53 + 1, 10**15, 10**16, 2**63 - 1, -(2**63), 2**63, _HUGE),
    *(0.1 + 0.2, 0.5, 5e-324, 1.7976931348623157e308, 1e23, 1e16, float("inf"), float("nan")),
    *map(Decimal, ("0", "1.10", "0.005", "9999999999.99", "1E+3", "1E-16384", "NaN", "1E+400")),
    *map(Decimal, ("0.123456789012345", "12345678901234567890.5", "12345.5", "-0")),
    *("", " ", "a ", "abc", "ab ", "abc ", "ABC", "red", "RED", "1", "1.5", "\x00", "\ud800"),
    *("ß😀", "x" * 300, str(NUMBER), NUMBER.hex, "2026-01-01", "null", "[]", "10.0.0.1"),
    *(b"", b"a", b"\x00\xff"),
    NUMBER,
    *_ENDS,
    *(_FIRST, _NOON, _LAST),
    *_ZONED_ENDS,
    *_ZONED,
    *(date.min, date.max, date(2026, 1, 31), _LAST_DATE),
    *(time.min, time.max, time(9, tzinfo=FAR), time.max.replace(tzinfo=UTC)),
    *(timedelta.min, timedelta.max, TICK, -TICK, timedelta(days=800000), timedelta(0)),
    *(Colour.RED, Level.LOW, Point.ORIGIN),
    *([], [1], [2**40], [1, None], ["a"], ["ab "], ["abc"], [[1], [2]], [[]], [NUMBER]),
    *([_NOON], [_ZONED[1]], [_ZONED_ENDS[1]], [0.5], [1e23], [float("nan")], ["\x00"]),
    *({Decimal("1.10")}, {Decimal("NaN")}, (Colour.RED,), (1, "a")),
    *({}, {"a": 1e23}, {"a": None}, {"a": [1e16]}, {"\x00": 1}, {1: 0.5}, {"a": NUMBER}),
    *(Size(width=1), Size(width=2**70, weight=1e23), Size(width=1, weight=float("inf"))),
    *(IPv4Address("10.0.0.1"), Path("a/b")),
)
"""Boundary values of all kinds."""
