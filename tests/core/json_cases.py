"""Kinds of fields with values, and what JSON does with them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from re import Pattern
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from cqrs_ddd_core import ValueObject


class Fate(Enum):
    KEPT = "kept"
    CONVERTED = "converted"
    RECORDED = "rejected with the value"
    DEFINED = "rejected with the class"


KEPT, CONVERTED, RECORDED, DEFINED = Fate


@dataclass(frozen=True)
class Case:
    """Kind of field with a value.

    Attributes:
        kind: description for the documentation.
        annotation: annotation of the field.
        value: value of the field.
        fate: result of writing the value as JSON and reading it.
    """

    kind: str
    annotation: Any
    value: Any
    fate: Fate = KEPT


T = TypeVar("T")
AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
BERLIN = ZoneInfo("Europe/Berlin")
NUMBER = UUID("0190a8b4-0000-7000-8000-000000000000")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Priority(IntEnum):
    LOW = 1
    HIGH = 2


class Planet(Enum):
    EARTH = (5.97, 6378)


class Right(Flag):
    READ = 1
    WRITE = 2


class Line(ValueObject):
    sku: str
    price: Decimal = Decimal(0)


class GiftLine(Line):
    note: str = ""


class Aliased(ValueObject):
    unit_price: Decimal = pydantic.Field(default=Decimal(0), alias="unitPrice")


class Chosen(ValueObject):
    unit_price: Decimal = pydantic.Field(
        default=Decimal(0),
        validation_alias=pydantic.AliasChoices(pydantic.AliasPath("price", 0), "up"),
        serialization_alias="written",
    )


class Camel(ValueObject):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, serialize_by_alias=True)
    unit_price: Decimal


class Swapped(ValueObject):
    one: int = pydantic.Field(alias="two")
    two: int = pydantic.Field(alias="one")


class Account(ValueObject):
    user: str
    password: pydantic.SecretStr


class Page(ValueObject, Generic[T]):
    items: tuple[T, ...]


class Node(ValueObject):
    name: str
    children: tuple[Node, ...] = ()


class Total(ValueObject):
    net: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> int:
        return self.net * 2


class Closed(Total):
    model_config = pydantic.ConfigDict(extra="forbid")


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


class Noted(ValueObject):
    name: str
    _note: int = pydantic.PrivateAttr(0)


class Names(pydantic.RootModel[tuple[str, ...]]): ...


class Strict(ValueObject):
    model_config = pydantic.ConfigDict(strict=True)
    day: date
    numbers: tuple[int, ...]
    ids: dict[UUID, str]


class Base64(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class HalfBase64(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64")
    data: bytes


class Inexact(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_timedelta="float")
    duration: timedelta


class Measured(pydantic.BaseModel):
    value: float


class Cat(ValueObject):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(ValueObject):
    kind: Literal["dog"] = "dog"
    lives: int


class Rounded(ValueObject):
    amount: Decimal

    @pydantic.field_validator("amount")
    @classmethod
    def _round(cls, value: Decimal) -> Decimal:
        return value.quantize(Decimal("0.01"))


class Doubled(ValueObject):
    number: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def _double(cls, data: Any) -> Any:
        return {"number": data["number"] * 2}


class Unreadable(ValueObject):
    number: int

    @pydantic.field_serializer("number")
    def _write(self, value: int) -> str:
        return f"no. {value}"


class Exploding(ValueObject):
    number: int

    @pydantic.model_serializer
    def _write(self) -> Any:
        raise RuntimeError("this serialiser always fails")


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass
class Counted:
    name: str
    count: int = field(default=0, init=False)


class Pair(NamedTuple):
    first: int
    second: str


class Address(TypedDict, total=False):
    street: str
    number: int


class OtherDatetime(datetime):
    """Datetime of another library, or of one that freezes the time in tests."""


class DriverUUID(UUID):
    """UUID of a database driver."""


class Label(str):
    __slots__ = ()


def _count(count: int) -> Counted:
    made = Counted("a")
    made.count = count
    return made


def _offset(**values: int) -> datetime:
    return AT.astimezone(timezone(timedelta(**values)))


_Any = "`Any`, `object`, and lists and dicts without types"
_Constrained = "`str`, `int`, `Decimal` and others with limits, such as `Field(max_length=9)`"
_Subclass = "field of a model, with an instance of a subclass"
_Union = "a union whose value JSON tells apart, such as `int \\| str`"
_Confused = "a union whose value JSON does not tell apart, such as a date as text in `date \\| str`"
_Zone = "`datetime` or `time` without a zone, in UTC or at a fixed offset"
_Keys = "`dict` with other keys that pydantic reads from text"

CASES: Sequence[Case] = [
    Case("`bool`, `int`, `float`, `str`", bool, True),
    Case("`bool`, `int`, `float`, `str`", int, -(10**4200)),
    Case("`bool`, `int`, `float`, `str`", float, 0.1 + 0.2),
    Case("`bool`, `int`, `float`, `str`", float, -0.0),
    Case("`bool`, `int`, `float`, `str`", float, 5e-324),
    Case("`bool`, `int`, `float`, `str`", str, "naïve ☃ \U0001f600 \u2028 \\u0000"),
    Case("`int` of more than 4,300 digits", int, 10**4400, RECORDED),
    Case("NaN and infinity", Measured, Measured(value=float("nan")), RECORDED),
    Case("NaN and infinity", Measured, Measured(value=float("-inf")), RECORDED),
    Case("`Decimal`, with its exponent", Decimal, Decimal("1E+3")),
    Case("`Decimal`, with its exponent", Decimal, Decimal("1.10")),
    Case("`Decimal`, with its exponent", Decimal, Decimal("-0")),
    Case("`UUID`, `date`, `timedelta`", UUID, NUMBER),
    Case("`UUID`, `date`, `timedelta`", date, date.max),
    Case("`UUID`, `date`, `timedelta`", timedelta, timedelta.min),
    Case("`UUID`, `date`, `timedelta`", timedelta, timedelta(days=-1, microseconds=3)),
    Case("`timedelta` written as a number of seconds", Inexact, Inexact(duration=timedelta(1))),
    Case(
        "`timedelta` that a number of seconds does not hold",
        Inexact,
        Inexact(duration=timedelta.max),
        RECORDED,
    ),
    Case(_Zone, datetime, datetime(1, 1, 1)),
    Case(_Zone, datetime, AT),
    Case(_Zone, datetime, _offset(hours=-9, minutes=-30)),
    Case(_Zone, datetime, AT.astimezone(ZoneInfo("UTC"))),
    Case(_Zone, pydantic.AwareDatetime | None, AT),
    Case(_Zone, time, time(1, 2, 3, 4)),
    Case(_Zone, time, time(1, tzinfo=timezone.utc)),
    Case(
        "`datetime` or `time` in a zone with summer time", datetime, AT.astimezone(BERLIN), RECORDED
    ),
    Case(
        "`datetime` or `time` in a zone with summer time",
        datetime,
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        RECORDED,
    ),
    Case("`datetime` or `time` in a zone with summer time", time, time(1, tzinfo=BERLIN), RECORDED),
    Case(
        "`datetime` or `time` at an offset with seconds",
        datetime,
        _offset(hours=1, seconds=30),
        RECORDED,
    ),
    Case(
        "subclass of `datetime`, `UUID` or `Decimal`",
        datetime,
        OtherDatetime(2026, 1, 1),
        CONVERTED,
    ),
    Case("subclass of `datetime`, `UUID` or `Decimal`", UUID, DriverUUID(int=1), CONVERTED),
    Case(
        "`bytes` of UTF-8 text, or any with `ser_json_bytes` and `val_json_bytes`",
        bytes,
        b"\xc3\x9f",
    ),
    Case(
        "`bytes` of UTF-8 text, or any with `ser_json_bytes` and `val_json_bytes`",
        Base64,
        Base64(data=b"\xff"),
    ),
    Case("other `bytes`", bytes, b"\xff", RECORDED),
    Case("other `bytes`", HalfBase64, HalfBase64(data=b"\xff"), RECORDED),
    Case("`Enum` with texts or numbers", Colour, Colour.RED),
    Case("`Enum` with texts or numbers", Priority, Priority.HIGH),
    Case("`Enum` with texts or numbers", Right, Right.READ | Right.WRITE),
    Case("`Enum` with other values", Planet, Planet.EARTH, RECORDED),
    Case("`Literal`", Literal["a", 1], 1),
    Case("`Literal`", Literal[1, True], True),
    Case("`Literal` of enum members", Literal[Colour.RED], Colour.RED, RECORDED),
    Case("`X \\| None`", Decimal | None, Decimal("1.0")),
    Case("`X \\| None`", Decimal | None, None),
    Case(_Constrained, Annotated[str, pydantic.StringConstraints(strip_whitespace=True)], " A "),
    Case(_Constrained, Annotated[str, pydantic.StringConstraints(to_upper=True)], "straße"),
    Case(_Constrained, Annotated[Decimal, pydantic.Field(decimal_places=2)], Decimal("1.20")),
    Case("`list`, `set`, `frozenset`, `tuple` of kept values", list[Decimal], [Decimal("1.0")]),
    Case("`list`, `set`, `frozenset`, `tuple` of kept values", set[UUID], {NUMBER}),
    Case(
        "`list`, `set`, `frozenset`, `tuple` of kept values",
        frozenset[frozenset[str]],
        frozenset({frozenset({"a"})}),
    ),
    Case("`list`, `set`, `frozenset`, `tuple` of kept values", tuple[datetime, ...], (AT,)),
    Case("`list`, `set`, `frozenset`, `tuple` of kept values", tuple[int, date], (1, AT.date())),
    Case("`list`, `set`, `frozenset`, `tuple` of kept values", tuple[()], ()),
    Case("`deque`", deque[int], deque([1])),
    Case("`deque` with `maxlen`", deque[int], deque([1], maxlen=3), RECORDED),
    Case("`dict` with texts as keys", dict[str, Decimal], {"a": Decimal(1)}),
    Case("`dict` with texts as keys", dict[str, float], {"a": 1.0}),
    Case(_Keys, dict[int, str], {1: "a"}),
    Case(_Keys, dict[bool, str], {True: "a"}),
    Case(_Keys, dict[UUID, str], {NUMBER: "a"}),
    Case(_Keys, dict[date, str], {date(2026, 1, 1): "a"}),
    Case(_Keys, dict[datetime, str], {AT: "a"}),
    Case(_Keys, dict[Colour, str], {Colour.RED: "a"}),
    Case(_Keys, dict[Priority, str], {Priority.LOW: "a"}),
    Case(_Keys, dict[Decimal, str], {Decimal("1.0"): "a"}),
    Case("`dict` with tuples or None as keys", dict[tuple[int, int], str], {(1, 2): "a"}, RECORDED),
    Case("`dict` with tuples or None as keys", dict[str | None, str], {None: "a"}, RECORDED),
    Case(f"{_Any}, with JSON values", Any, {"a": [1, None, 2.5, True, "b"]}),
    Case(f"{_Any}, with JSON values", list, [1, {"a": []}]),
    Case(f"{_Any}, with JSON values", pydantic.JsonValue, {"a": [1, None, 2.5]}),
    Case(f"{_Any}, with other values", Any, AT, RECORDED),
    Case(f"{_Any}, with other values", Any, (1, 2), RECORDED),
    Case(f"{_Any}, with other values", Any, Line(sku="a"), RECORDED),
    Case(f"{_Any}, with other values", Any, pydantic.SecretStr("x"), RECORDED),
    Case(f"{_Any}, with other values", Any, Priority.LOW, RECORDED),
    Case(f"{_Any}, with other values", Any, Label("a"), RECORDED),
    Case(f"{_Any}, with other values", Any, b"a", RECORDED),
    Case(f"{_Any}, with other values", Any, "\ud800", RECORDED),
    Case(f"{_Any}, with other values", Any, float("nan"), RECORDED),
    Case(f"{_Any}, with other values", object, object(), RECORDED),
    Case(f"{_Any}, with other values", dict, {1: "a"}, RECORDED),
    Case(f"{_Any}, with other values", dict[Any, Any], {"a": Decimal(1)}, RECORDED),
    Case(f"{_Any}, with other values", Callable[[], int], print, RECORDED),
    Case(_Union, int | str, "1"),
    Case(_Union, int | float, 1.0),
    Case(_Union, int | bool, True),
    Case(_Union, str | list[str], ["a"]),
    Case(_Union, int | Decimal, Decimal("1.5")),
    Case(_Union, UUID | str, NUMBER),
    Case(_Union, UUID | str, "text"),
    Case(_Union, datetime | date, date(2026, 1, 1)),
    Case(_Union, Cat | Dog, Dog(lives=1)),
    Case(_Union, Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], Dog(lives=1)),
    Case(_Union, Line | GiftLine, GiftLine(sku="a", note="b")),
    Case(_Confused, UUID | str, str(NUMBER), RECORDED),
    Case(_Confused, date | str, "2026-01-01", RECORDED),
    Case(_Confused, list[int] | set[int], {1}, RECORDED),
    Case(_Confused, Colour | str, Colour.RED, RECORDED),
    Case("model, generic model, `RootModel`", Line, Line(sku="a", price=Decimal("1.50"))),
    Case("model, generic model, `RootModel`", list[Line], [Line(sku="a")]),
    Case(
        "model, generic model, `RootModel`", Page[Decimal], Page[Decimal](items=(Decimal("1.0"),))
    ),
    Case("model, generic model, `RootModel`", Node, Node(name="a", children=(Node(name="b"),))),
    Case("model, generic model, `RootModel`", Names, Names(("a",))),
    Case(
        "model with `strict=True`", Strict, Strict(day=AT.date(), numbers=(1,), ids={NUMBER: "a"})
    ),
    Case("model with computed fields, which are left out", Total, Total(net=1)),
    Case("model with computed fields, which are left out", Closed, Closed(net=1)),
    Case("field with an alias", Aliased, Aliased(unitPrice=Decimal("1.5"))),
    Case("field with an alias", Chosen, Chosen(up=Decimal("1.5"))),  # type: ignore[call-arg]
    Case("field with an alias", Camel, Camel(unitPrice=Decimal("1.5"))),  # type: ignore[call-arg]
    Case("alias that is the name of another field", Swapped, None, DEFINED),
    Case(_Subclass, Line, GiftLine(sku="a", note="b"), RECORDED),
    Case(_Subclass, list[Line], [GiftLine(sku="a", note="b")], RECORDED),
    Case(_Subclass, dict[str, Line | None], {"a": GiftLine(sku="a", note="b")}, RECORDED),
    Case(_Subclass, pydantic.SerializeAsAny[Line], GiftLine(sku="a", note="b"), RECORDED),
    Case('model with `extra="allow"`, and JSON values as extras', Open, Open(name="a", more=[1])),  # type: ignore[call-arg]
    Case('model with `extra="allow"`, and other extras', Open, Open(name="a", at=AT), RECORDED),  # type: ignore[call-arg]
    Case("model with private attributes, which get their defaults", Noted, Noted(name="a")),
    Case("validator that leaves its results unchanged", Rounded, Rounded(amount=Decimal("1.234"))),
    Case("validator that changes its results", Doubled, Doubled(number=1), RECORDED),
    Case(
        "validator that changes its results",
        Annotated[int, pydantic.AfterValidator(lambda value: value + 1)],
        1,
        RECORDED,
    ),
    Case(
        "serialiser whose output the field does not accept",
        Unreadable,
        Unreadable(number=1),
        RECORDED,
    ),
    Case(
        "serialiser whose output the field does not accept",
        Exploding,
        Exploding(number=1),
        RECORDED,
    ),
    Case("dataclass, `NamedTuple`, `TypedDict`", Point, Point(1.5)),
    Case("dataclass, `NamedTuple`, `TypedDict`", Pair, Pair(1, "a")),
    Case("dataclass, `NamedTuple`, `TypedDict`", Address, {"street": "a"}),
    Case("dataclass field with `init=False` and its default", Counted, _count(0)),
    Case("dataclass field with `init=False` and another value", Counted, _count(1), RECORDED),
    Case("`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`", Path, Path("/a/b")),
    Case(
        "`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`", PurePosixPath, PurePosixPath("a")
    ),
    Case(
        "`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`",
        IPv4Address,
        IPv4Address("127.0.0.1"),
    ),
    Case(
        "`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`",
        pydantic.HttpUrl,
        pydantic.HttpUrl("https://a.example/b"),
    ),
    Case("`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`", Fraction, Fraction(1, 3)),
    Case("`Path`, `IPv4Address`, `HttpUrl`, `Fraction`, `complex`", complex, 1 + 2j),
    Case("`Json[X]`", pydantic.Json[list[int]], "[1, 2]"),
    Case("`Pattern` without flags", Pattern[str], re.compile("a")),
    Case("`Pattern` with flags", Pattern[str], re.compile("a", re.IGNORECASE), RECORDED),
    Case("`SecretStr`, `SecretBytes`, `Secret[X]`", pydantic.SecretStr, None, DEFINED),
    Case("`SecretStr`, `SecretBytes`, `Secret[X]`", list[pydantic.SecretBytes], None, DEFINED),
    Case("`SecretStr`, `SecretBytes`, `Secret[X]`", dict[str, pydantic.Secret[int]], None, DEFINED),
    Case("`SecretStr`, `SecretBytes`, `Secret[X]`", Account | None, None, DEFINED),
    Case("`Field(exclude=True)`", Annotated[int, pydantic.Field(exclude=True)], None, DEFINED),
]
"""Cases in the order of the documentation; cases of one kind follow each other."""
