from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_specifications import QueryOptions, SpecificationError, select
from cqrs_ddd_specifications.cursor import decode_cursor, encode_cursor
from cqrs_ddd_specifications.exceptions import (
    InvalidCursorError,
    NonUniqueOrderError,
    SpecificationLimitError,
    SpecificationValueError,
)

ORDER = ("-total", "id")
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.times(),
    st.uuids(),
    st.binary(),
)


@dataclass
class Row:
    id: int
    total: Decimal | None = None


class Account(AggregateRoot[str]):
    total: Decimal | None = None


def encode(state: object) -> str:
    return urlsafe_b64encode(json.dumps(state).encode()).rstrip(b"=").decode()


@settings(deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_cursor_restores_values_of_every_orderable_type(values: list[Any]) -> None:
    ordering = tuple(f"a{number}" for number in range(len(values)))

    cursor = encode_cursor(ordering, tuple(values))
    restored = decode_cursor(cursor, ordering)

    assert restored == tuple(values)
    assert list(map(type, restored)) == list(map(type, values))
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_cursor_holds_a_datetime_with_its_offset() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    [restored] = decode_cursor(encode_cursor(("a",), (moment,)), ("a",))

    assert isinstance(restored, datetime)
    assert restored.utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": 1}, [1], object()])
def test_cursor_rejects_values_without_an_order(value: object) -> None:
    with pytest.raises(SpecificationValueError):
        encode_cursor(("a",), (value,))


def test_cursor_of_a_long_text_is_rejected_instead_of_issued() -> None:
    with pytest.raises(SpecificationLimitError, match="4,000 characters in a cursor"):
        encode_cursor(("a",), ("x" * 4_000,))


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "e30",
        "ä",
        "a" * 4_001,
        "AAAA",
        1,
        b"e30",
        encode([]),
        encode({}),
        encode({"version": 1}),
        encode([2, [*ORDER], [1, 2]]),
        encode([True, [*ORDER], [1, 2]]),
        encode([1, "-total", [1, 2]]),
        encode([1, [*ORDER], "12"]),
        encode([1, [*ORDER], [1]]),
        encode([1, [*ORDER], [1, 2, 3]]),
        encode([1, [*ORDER], [1, {"a": 1}]]),
        encode([1, [*ORDER], [1, ["decimal", "NaN"]]]),
        encode([1, [*ORDER], [1, ["decimal", "sNaN"]]]),
        encode([1, [*ORDER], [1, ["decimal", "x"]]]),
        encode([1, [*ORDER], [1, ["decimal", 1]]]),
        encode([1, [*ORDER], [1, ["datetime", "yesterday"]]]),
        encode([1, [*ORDER], [1, ["uuid", "1"]]]),
        encode([1, [*ORDER], [1, ["bytes", "?"]]]),
        encode([1, [*ORDER], [1, ["eval", "1"]]]),
        encode([1, [*ORDER], [1, [["decimal"], "1"]]]),
        encode([1, [*ORDER], [1, ["decimal", "1", "2"]]]),
        urlsafe_b64encode(b'[1,["-total","id"],[1,NaN]]').decode().rstrip("="),
        urlsafe_b64encode(b"[" * 2_900).decode().rstrip("="),
        urlsafe_b64encode(b"[1,\xff]").decode().rstrip("="),
    ],
)
def test_malformed_cursor_is_rejected_by_name(cursor: Any) -> None:
    with pytest.raises(InvalidCursorError, match="malformed; request the first page"):
        QueryOptions(ordering=ORDER).with_cursor(cursor)


def test_cursor_of_another_order_is_rejected_by_name() -> None:
    cursor = QueryOptions(ordering=("total", "id")).cursor_after(Row(1))

    for ordering in (ORDER, ("id",), ("total", "-id")):
        with pytest.raises(InvalidCursorError, match="is for the order"):
            QueryOptions(ordering=ordering).with_cursor(cursor)


@settings(deadline=None)
@given(state=st.recursive(VALUES.map(str) | st.integers(), lambda s: st.lists(s, max_size=3)))
def test_random_cursor_raises_specification_errors_only(state: Any) -> None:
    for cursor in (encode(state), encode([1, [*ORDER], state]), encode([1, [*ORDER], [state, 1]])):
        try:
            select([Row(1, Decimal(1))], QueryOptions(ordering=ORDER).with_cursor(cursor))
        except SpecificationError as error:
            if len(str(error)) >= 1_000:
                raise AssertionError("the text is too long") from error


def test_value_of_a_cursor_that_does_not_fit_its_field_is_rejected_by_the_search() -> None:
    options = QueryOptions(ordering=ORDER).with_cursor(encode([1, [*ORDER], ["much", 1]]))

    with pytest.raises(SpecificationValueError, match="cannot be compared with"):
        select([Row(1)], options)


def test_cursor_requests_the_same_page_as_next_page() -> None:
    page = QueryOptions(ordering=ORDER, limit=2, offset=4)
    last = Row(7, Decimal("1.50"))

    restored = page.with_cursor(page.cursor_after(last))

    assert restored == page.next_page(last)
    assert restored == QueryOptions(ordering=ORDER, limit=2, after=(Decimal("1.50"), 7))
    assert page.with_cursor(None) == page


def test_cursor_after_an_aggregate_includes_its_id() -> None:
    page = QueryOptions(ordering=("-total",), limit=2)

    restored = page.with_cursor(page.cursor_after(Account(id="a-1")))

    assert restored == QueryOptions(ordering=("-total", "id"), limit=2, after=(None, "a-1"))


def test_cursor_for_an_order_without_the_named_key_is_rejected() -> None:
    page = QueryOptions(ordering=("email",))
    cursor = page.cursor_after({"email": "a@b"}, key="email")

    assert page.with_cursor(cursor, key="email").after == ("a@b",)
    with pytest.raises(NonUniqueOrderError):
        page.with_cursor(cursor, key="number")
    with pytest.raises(InvalidCursorError):
        page.with_cursor(cursor)


def test_cursor_types_are_the_orderable_types() -> None:
    values = (date(2026, 3, 1), time(12, 30), UUID(int=7), b"\xff\x00", Decimal("1E+5"))
    ordering = tuple("abcde")

    assert decode_cursor(encode_cursor(ordering, values), ordering) == values
