from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions, select
from cqrs_ddd_specifications.exceptions import UnknownFieldError, UnsupportedOperatorError


@dataclass
class Home:
    city: str | None = None


@dataclass
class Person:
    name: str
    age: int | None = None
    home: Home | None = None
    friends: Sequence[Home] = ()
    seen_at: datetime | None = None


class Winter(tzinfo):
    """Zone one hour ahead, or two for the first occurrence of a repeated time."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        return timedelta(hours=1 if moment.fold else 2)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "winter"


class FirstTwo(IQueryOptions[Person]):
    """Options of an application's own class."""

    specification: ISpecification[Person] | None = None
    condition: ISpecification[Person] | None = AttributeSpecification("age", "is_not_null")
    ordering: Sequence[str] = ("age",)
    limit: int | None = 2
    offset: int = 0

    def with_specification(self, specification: ISpecification[Any] | None) -> FirstTwo:
        return self


ADA = Person("Ada", 36, Home("London"))
BOB = Person("bob", None, Home())
CYD = Person("Cyd", 36)
DOT = Person("Dot", 7, Home("Berlin"))
PEOPLE = [ADA, BOB, CYD, DOT]


def names(*ordering: str, **options: Any) -> list[str]:
    return [each.name for each in select(PEOPLE, QueryOptions(ordering=ordering, **options))]


def test_query_options_without_settings_select_all_items() -> None:
    assert select(PEOPLE, QueryOptions()) == PEOPLE


def test_select_returns_no_items_for_an_empty_list() -> None:
    assert select([], QueryOptions(ordering=("whatever",))) == []


def test_select_orders_none_after_every_value() -> None:
    assert names("age") == ["Dot", "Ada", "Cyd", "bob"]
    assert names("-age") == ["bob", "Ada", "Cyd", "Dot"]


def test_select_orders_text_by_code_point() -> None:
    assert names("name") == ["Ada", "Cyd", "Dot", "bob"]


def test_later_ordering_attributes_order_equal_items() -> None:
    assert names("age", "-name") == ["Dot", "Cyd", "Ada", "bob"]


def test_ordering_path_through_none_counts_as_none() -> None:
    assert names("home.city", "name") == ["Dot", "Ada", "Cyd", "bob"]


@pytest.mark.parametrize(
    ("limit", "offset", "found"),
    [
        (2, 0, ["Ada", "Cyd"]),
        (2, 3, ["bob"]),
        (None, 2, ["Dot", "bob"]),
        (0, 0, []),
        (5, 9, []),
    ],
)
def test_select_applies_offset_and_limit(limit: int | None, offset: int, found: list[str]) -> None:
    assert names("name", limit=limit, offset=offset) == found


def test_select_returns_only_the_selected_fields() -> None:
    rows = select(PEOPLE, QueryOptions(select_fields=("home.city", "age")))

    assert rows[0] == {"home.city": "London", "age": 36}
    assert rows[2] == {"home.city": None, "age": 36}


def test_distinct_query_options_remove_equal_rows() -> None:
    options = QueryOptions(ordering=("age",), select_fields=("age",), distinct=True)

    assert select(PEOPLE, options) == [{"age": 7}, {"age": 36}, {"age": None}]
    assert select(PEOPLE, options.with_pagination(1, 1)) == [{"age": 36}]


def test_select_orders_times_in_a_repeated_hour_by_instant() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=Winter())
    second = first.replace(minute=10, fold=1)
    third = datetime(2026, 10, 25, 1, 20, tzinfo=timezone.utc)
    people = [Person("c", seen_at=third), Person("b", seen_at=second), Person("a", seen_at=first)]

    ordered = select(people, QueryOptions(ordering=("seen_at",)))

    assert [each.name for each in ordered] == ["a", "b", "c"]


def test_select_accepts_query_options_of_another_class() -> None:
    assert select(PEOPLE, FirstTwo()) == [DOT, ADA]


def test_select_orders_dicts_by_the_value_of_a_key() -> None:
    rows = [{"a": 2}, {"a": 1.5}, {}, {"a": None}]

    assert select(rows, QueryOptions(ordering=("-a",))) == [{}, {"a": None}, {"a": 2}, {"a": 1.5}]


@pytest.mark.parametrize("values", [("a", 1), (date(2026, 1, 1), "a"), ([], {})])
def test_ordering_by_values_of_different_types_raises(values: tuple[Any, Any]) -> None:
    rows = [{"a": value} for value in values]

    with pytest.raises(UnsupportedOperatorError, match="cannot order by a, which has v"):
        select(rows, QueryOptions(ordering=("a",)))


@pytest.mark.parametrize("name", ["friends", "friends.city", "home"])
def test_ordering_by_a_collection_or_an_object_raises(name: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"cannot order by {name}, which is"):
        names(name)


def test_ordering_by_an_unknown_attribute_raises() -> None:
    with pytest.raises(UnknownFieldError):
        names("-nam")


def test_select_does_not_reorder_the_given_list() -> None:
    people = list(PEOPLE)

    select(people, QueryOptions(ordering=("-name",)))

    assert people == PEOPLE
