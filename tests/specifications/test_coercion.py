from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest

from cqrs_ddd_specifications import OPERATORS
from cqrs_ddd_specifications.coercion import (
    MAX_LIST,
    MAX_PATTERN,
    MAX_WILDCARDS,
    coerce,
    validate_shape,
)
from cqrs_ddd_specifications.exceptions import (
    SpecificationLimitError,
    SpecificationValueError,
    UnsupportedOperatorError,
)
from cqrs_ddd_specifications.field_types import FieldType, Kind
from cqrs_ddd_specifications.json_values import to_field_json, to_stored_json
from cqrs_ddd_specifications.operators import (
    BETWEEN,
    CONTAINS,
    CONTAINS_ANY,
    EQ,
    HAS_ALL,
    HAS_KEY,
    IN,
    IS_EMPTY,
    IS_NULL,
    JSON_CONTAINS,
    LIKE,
    LT,
    PATH_EXISTS,
    Operator,
    Takes,
)


class Color(Enum):
    RED = "red"


class Shade(str, Enum):
    DARK = "dark"


class Level(IntEnum):
    LOW = 1


class Money(Decimal):
    pass


INFINITIES = (float("nan"), float("inf"), -float("inf"), Decimal("nan"), Decimal("snan"))
ID = UUID(int=7)
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def as_kind(value: Any, kind: Kind, operator: Operator = EQ) -> Any:
    field_type = FieldType(kind, enum=Color, item=FieldType(Kind.INTEGER))
    return coerce(operator, validate_shape(operator, value), field_type, "the_field")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.TEXT, "a", "a"),
        (Kind.TEXT, "", ""),
        (Kind.TEXT, Shade.DARK, "dark"),
        (Kind.TEXT, Color.RED, "red"),
        (Kind.INTEGER, 5, 5),
        (Kind.INTEGER, 1.5, Decimal("1.5")),
        (Kind.INTEGER, 0.1, Decimal("0.1")),
        (Kind.INTEGER, Decimal("2.0"), Decimal(2)),
        (Kind.INTEGER, Level.LOW, 1),
        (Kind.INTEGER, 2**70, 2**70),
        (Kind.FLOAT, 1, 1.0),
        (Kind.FLOAT, Decimal("0.1"), 0.1),
        (Kind.DECIMAL, 0.1, Decimal("0.1")),
        (Kind.DECIMAL, "1.50", Decimal("1.5")),
        (Kind.DECIMAL, "1e2", Decimal(100)),
        (Kind.DECIMAL, Money("1"), Decimal(1)),
        (Kind.BOOLEAN, True, True),
        (Kind.DATETIME, NOON, NOON),
        (Kind.DATETIME, "2026-03-01T12:00:00Z", NOON),
        (Kind.DATETIME, "2026-03-01T12:00:00z", NOON),
        (Kind.DATETIME, "2026-03-01T12:00:00.000Z", NOON),
        (Kind.DATETIME, "2026-03-01T12:00:00.000000+00:00", NOON),
        (Kind.DATETIME, "2026-03-01 13:00:00+01:00", NOON),
        (Kind.DATE, date(2026, 3, 1), date(2026, 3, 1)),
        (Kind.DATE, "2026-03-01", date(2026, 3, 1)),
        (Kind.TIME, time(12, 30), time(12, 30)),
        (Kind.TIME, "12:30:00", time(12, 30)),
        (Kind.DURATION, timedelta(days=9), timedelta(days=9)),
        (Kind.DURATION, "P9D", timedelta(days=9)),
        (Kind.DURATION, "-PT1.5S", timedelta(seconds=-1.5)),
        (Kind.UUID, ID, ID),
        (Kind.UUID, str(ID), ID),
        (Kind.UUID, str(ID).upper(), ID),
        (Kind.ENUM, Color.RED, Color.RED),
        (Kind.ENUM, "red", Color.RED),
        (Kind.BYTES, b"\x00\xff", b"\x00\xff"),
        (Kind.BYTES, "AP8=", b"\x00\xff"),
        (Kind.ARRAY, [1, None], [1, None]),
        (Kind.ARRAY, (1, 2), [1, 2]),
        (Kind.JSON, {"a": [1, None, True, 1.5, "x"]}, {"a": [1, None, True, 1.5, "x"]}),
        (Kind.JSON, {"a": (1, ID, Shade.DARK)}, {"a": [1, str(ID), "dark"]}),
        (Kind.JSON, Decimal("1.5"), 1.5),
        (Kind.ANY, "a", "a"),
        (Kind.ANY, Color.RED, Color.RED),
        (Kind.ANY, Decimal("1.5"), Decimal("1.5")),
    ],
)
def test_operand_is_converted_to_the_type_of_its_field(
    kind: Kind, value: Any, expected: Any
) -> None:
    given = as_kind(value, kind)

    assert given == expected
    assert type(given) is type(expected)


@pytest.mark.parametrize("kind", [each for each in Kind if each not in (Kind.ARRAY, Kind.OTHER)])
def test_equality_is_the_only_comparison_that_accepts_none(kind: Kind) -> None:
    assert as_kind(None, kind) is None
    if kind not in LT.kinds:
        return

    with pytest.raises(SpecificationValueError, match="cannot compare the_field < None; use is_nu"):
        as_kind(None, kind, LT)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.TEXT, 1),
        (Kind.TEXT, True),
        (Kind.TEXT, ["a"]),
        (Kind.TEXT, b"a"),
        (Kind.TEXT, Level.LOW),
        (Kind.INTEGER, "1"),
        (Kind.INTEGER, True),
        (Kind.INTEGER, [1]),
        (Kind.FLOAT, "1"),
        (Kind.FLOAT, True),
        (Kind.FLOAT, 10**400),
        (Kind.FLOAT, Decimal("1e400")),
        (Kind.DECIMAL, "one"),
        (Kind.DECIMAL, "NaN"),
        (Kind.DECIMAL, "Infinity"),
        (Kind.DECIMAL, True),
        (Kind.DECIMAL, ""),
        (Kind.BOOLEAN, 1),
        (Kind.BOOLEAN, 0),
        (Kind.BOOLEAN, "true"),
        (Kind.DATETIME, datetime(2026, 3, 1)),
        (Kind.DATETIME, "2026-03-01T12:00:00"),
        (Kind.DATETIME, "2026-03-01"),
        (Kind.DATETIME, "Z"),
        (Kind.DATETIME, ""),
        (Kind.DATETIME, "yesterday"),
        (Kind.DATETIME, date(2026, 3, 1)),
        (Kind.DATETIME, 1772366400),
        (Kind.DATETIME, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
        (Kind.DATE, NOON),
        (Kind.DATE, "2026-02-30"),
        (Kind.DATE, "2026-03-01T12:00:00Z"),
        (Kind.TIME, time(12, tzinfo=timezone.utc)),
        (Kind.TIME, "12:30+01:00"),
        (Kind.TIME, "noon"),
        (Kind.DURATION, 9),
        (Kind.DURATION, "9 days and a bit"),
        (Kind.DURATION, timedelta(days=800_000)),
        (Kind.UUID, "7"),
        (Kind.UUID, 7),
        (Kind.UUID, ID.bytes),
        (Kind.ENUM, "blue"),
        (Kind.ENUM, "RED"),
        (Kind.ENUM, Shade.DARK),
        (Kind.ENUM, ["red"]),
        (Kind.BYTES, "no base64!"),
        (Kind.BYTES, 1),
        (Kind.ARRAY, "ab"),
        (Kind.ARRAY, ["1"]),
        (Kind.ARRAY, {1: 2}),
        (Kind.JSON, {1: 2}),
        (Kind.JSON, object()),
        (Kind.JSON, NOON),
        (Kind.JSON, b"a"),
        (Kind.JSON, 2**63),
        (Kind.JSON, Decimal("0.1234567890123456789")),
        (Kind.ANY, datetime(2026, 3, 1)),
    ],
)
def test_operand_of_another_type_than_its_field_is_rejected(kind: Kind, value: Any) -> None:
    with pytest.raises(SpecificationValueError) as caught:
        as_kind(value, kind)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("number", INFINITIES)
@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.JSON, Kind.ANY])
def test_operand_that_is_not_a_finite_number_is_rejected(
    kind: Kind, number: float | Decimal
) -> None:
    with pytest.raises(SpecificationValueError):
        as_kind(number, kind)


@pytest.mark.parametrize("text", ["a\x00", "\ud800", "\udfff!"])
@pytest.mark.parametrize(
    "wrapped", [lambda t: t, lambda t: [t], lambda t: {t: 1}, lambda t: {"a": t}]
)
def test_operand_with_unstorable_text_is_rejected(text: str, wrapped: Any) -> None:
    with pytest.raises(SpecificationValueError, match="cannot be stored in a database"):
        as_kind(wrapped(text), Kind.JSON)


@pytest.mark.parametrize("text", ["a\x00", "\ud800"])
@pytest.mark.parametrize("operator", [CONTAINS, LIKE, HAS_KEY, PATH_EXISTS])
def test_pattern_or_key_with_unstorable_text_is_rejected(text: str, operator: Operator) -> None:
    with pytest.raises(SpecificationValueError, match="cannot be stored in a database"):
        validate_shape(operator, text)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (
            Kind.INTEGER,
            "5",
            "the_field is integer and cannot be compared with the str that was passed",
        ),
        (
            Kind.INTEGER,
            True,
            "the_field is integer and cannot be compared with the bool that was passed",
        ),
        (
            Kind.DATETIME,
            "2026-03-01",
            "the_field is date and time and cannot be compared with the str that was passed "
            "(it has no time zone; pass an aware datetime)",
        ),
        (
            Kind.ENUM,
            "blue",
            "the_field is enum and cannot be compared with the str"
            " that was passed (not one of its values)",
        ),
        (
            Kind.FLOAT,
            float("inf"),
            "the_field is float and cannot be compared with the float"
            " that was passed (a number must be finite)",
        ),
    ],
)
def test_error_of_a_rejected_operand_names_the_expected_and_the_given_type(
    kind: Kind, value: Any, text: str
) -> None:
    with pytest.raises(SpecificationValueError, match=f"^{re.escape(text)}$"):
        as_kind(value, kind)


def test_instant_operand_is_converted_to_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))

    assert as_kind(NOON.astimezone(zone), Kind.DATETIME).tzinfo is timezone.utc


def test_error_of_an_unsupported_operator_lists_the_supported_field_types() -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        as_kind("a", Kind.INTEGER, CONTAINS)

    assert str(caught.value) == (
        "contains does not apply to the_field, which is integer; "
        "it applies to JSON, text, undeclared"
    )


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        (IN, "abc"),
        (IN, {"a": 1}),
        (IN, 1),
        (IN, None),
        (BETWEEN, [1]),
        (BETWEEN, [1, 2, 3]),
        (BETWEEN, None),
        (CONTAINS, 1),
        (CONTAINS, None),
        (CONTAINS, b"a"),
        (LIKE, ["%"]),
        (HAS_KEY, 1),
        (HAS_ALL, "key"),
        (HAS_ALL, [1]),
        (PATH_EXISTS, []),
        (PATH_EXISTS, [1]),
        (PATH_EXISTS, ["a"] * 17),
        (IS_NULL, False),
        (IS_EMPTY, "yes"),
        (IS_NULL, []),
    ],
)
def test_operand_of_another_shape_than_the_operator_takes_is_rejected(
    operator: Operator, value: Any
) -> None:
    with pytest.raises(SpecificationValueError, match=re.escape(f"{operator.name} takes ")):
        validate_shape(operator, value)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        (IN, [1, 2], (1, 2)),
        (IN, (1,), (1,)),
        (IN, {1}, (1,)),
        (IN, [], ()),
        (BETWEEN, (1, 2), (1, 2)),
        (IS_NULL, None, None),
        (IS_NULL, True, None),
        (HAS_ALL, ["a"], ("a",)),
        (PATH_EXISTS, "a.b", ("a", "b")),
        (PATH_EXISTS, ["a.b", ""], ("a.b", "")),
        (JSON_CONTAINS, {"a": (1,)}, {"a": [1]}),
    ],
)
def test_operand_is_converted_to_the_shape_of_its_operator(
    operator: Operator, value: Any, expected: Any
) -> None:
    assert validate_shape(operator, value) == expected


def test_operand_lists_and_patterns_are_bounded() -> None:
    assert validate_shape(IN, [0] * MAX_LIST) == (0,) * MAX_LIST
    assert validate_shape(LIKE, "%" * MAX_WILDCARDS)
    assert validate_shape(CONTAINS, "a" * MAX_PATTERN)

    for operator, value in (
        (IN, [0] * (MAX_LIST + 1)),
        (LIKE, "%" * (MAX_WILDCARDS + 1)),
        (CONTAINS, "a" * (MAX_PATTERN + 1)),
    ):
        with pytest.raises(SpecificationLimitError):
            validate_shape(operator, value)


def test_json_operand_is_bounded_in_depth() -> None:
    value: Any = 1
    for _ in range(10_000):
        value = [value]

    with pytest.raises(SpecificationLimitError, match="at most 32 levels of JSON"):
        validate_shape(JSON_CONTAINS, value)
    with pytest.raises(SpecificationLimitError, match="at most 32 levels of JSON"):
        as_kind(value, Kind.JSON)


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_list_field_can_only_be_searched_for_plain_values(value: Any) -> None:
    with pytest.raises(SpecificationValueError, match="list the_field can be searched for plain"):
        as_kind([value], Kind.ARRAY, CONTAINS_ANY)


def test_each_item_of_an_operand_list_is_converted() -> None:
    assert as_kind(["red", Color.RED, None], Kind.ENUM, IN) == (Color.RED, Color.RED, None)
    assert as_kind(["1", 2], Kind.DECIMAL, BETWEEN) == (Decimal(1), Decimal(2))
    with pytest.raises(SpecificationValueError):
        as_kind([1, "2"], Kind.INTEGER, IN)
    with pytest.raises(SpecificationValueError, match="cannot compare"):
        as_kind([None, 2], Kind.INTEGER, BETWEEN)


def test_operator_without_kinds_keeps_its_operand_unchanged() -> None:
    given = object()

    assert as_kind(given, Kind.INTEGER, Operator("mine", Takes.VALUE, "")) is given


def test_field_values_are_converted_to_json() -> None:
    assert to_field_json(Color.RED) == "red"
    assert to_field_json({"at": NOON, "id": ID}) == {"at": "2026-03-01T12:00:00Z", "id": str(ID)}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.TEXT, "ä"),
        (Kind.INTEGER, Decimal("1.5")),
        (Kind.INTEGER, 10**30),
        (Kind.FLOAT, Decimal("0.1")),
        (Kind.FLOAT, 5e-324),
        (Kind.DECIMAL, Decimal("1.50")),
        (Kind.DECIMAL, Decimal("0.12345678901234567890123456789")),
        (Kind.DECIMAL, Decimal("1e400")),
        (Kind.DATETIME, NOON),
        (Kind.DATETIME, datetime(1880, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28)))),
        (Kind.DATETIME, datetime.max.replace(tzinfo=timezone.utc)),
        (Kind.DATE, date(1, 1, 1)),
        (Kind.TIME, time(23, 59, 59, 999_999)),
        (Kind.UUID, ID),
        (Kind.ENUM, Color.RED),
        (Kind.BYTES, b"\xff\xfe\xfb"),
        (Kind.BYTES, b""),
        (Kind.JSON, {"a": [Decimal("1.5"), ID]}),
        (Kind.ARRAY, (1, 2)),
    ],
)
def test_field_value_survives_a_json_round_trip(kind: Kind, value: Any) -> None:
    assert as_kind(to_stored_json(value), kind) == as_kind(value, kind)


@pytest.mark.parametrize("value", [object(), float("nan"), Decimal("inf"), {1: 2}, [object()]])
def test_value_without_a_json_form_cannot_be_stored(value: Any) -> None:
    with pytest.raises(SpecificationValueError):
        to_stored_json(value)


def test_every_operator_with_one_operand_coerces_it() -> None:
    for each in OPERATORS:
        if each.takes is Takes.VALUE:
            with pytest.raises(SpecificationValueError):
                as_kind("x", Kind.INTEGER, each)
