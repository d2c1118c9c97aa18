from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from cqrs_ddd_core import AggregateRoot
from cqrs_ddd_core.domain.specification import IQueryOptions
from cqrs_ddd_specifications import (
    AndSpecification,
    AttributeSpecification,
    OrSpecification,
    QueryOptions,
    Specification,
    select,
)
from cqrs_ddd_specifications.exceptions import (
    NonUniqueOrderError,
    SpecificationError,
    SpecificationLimitError,
    SpecificationValueError,
    UnknownFieldError,
    UnsupportedOperatorError,
)
from cqrs_ddd_specifications.operators import EQ, GT, LT
from cqrs_ddd_specifications.query_options import MAX_LIMIT


@dataclass
class Item:
    id: int
    name: str | None = None
    grams: int | None = None
    price: Decimal | None = None
    made_at: datetime | None = None
    is_new: bool | None = None


class IsHeavy:
    def is_satisfied_by(self, candidate: Any) -> bool:
        return bool(candidate.grams > 5)


NAMES = (None, "", "a", "B", "b", "ä")
GRAMS = (None, -1, 0, 2)
ITEMS = [
    Item(
        number,
        name,
        grams,
        price=None if number % 3 else Decimal(number) / 7,
        made_at=None if number % 4 else datetime(2026, 1, 1 + number, tzinfo=timezone.utc),
        is_new=(None, True, False)[number % 3],
    )
    for number, (name, grams) in enumerate(itertools.product(NAMES, GRAMS), start=1)
]
ATTRIBUTES = ("name", "grams", "price", "made_at", "is_new")
HEAVY = AttributeSpecification("grams", ">", 5)
NAMED = AttributeSpecification("name", "=", "a")


def pages(options: QueryOptions) -> Iterator[list[Item]]:
    while page := select(ITEMS, options):
        yield page
        options = options.next_page(page[-1])


def assert_every_item_once(options: QueryOptions) -> None:
    read = [item.id for page in pages(options) for item in page]

    assert read == [item.id for item in select(ITEMS, QueryOptions(ordering=options.ordering))]
    assert sorted(read) == [item.id for item in ITEMS]


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize(
    "ordering",
    [
        tuple(f"{sign}{name}" for sign, name in zip(signs, (first, second, "id"), strict=True))
        for signs in itertools.product(("", "-"), repeat=3)
        for first, second in itertools.permutations(ATTRIBUTES, 2)
    ],
    ids=",".join,
)
def test_keyset_pages_return_every_item_once(ordering: tuple[str, ...], size: int) -> None:
    assert_every_item_once(QueryOptions(ordering=ordering, limit=size))


@pytest.mark.parametrize(
    "ordering", [("name", "-grams", "id"), ("-price", "id"), ("made_at", "id")]
)
def test_next_page_read_from_json_selects_the_same_items(ordering: tuple[str, ...]) -> None:
    for item in ITEMS:
        after = QueryOptions(ordering=ordering, limit=3).next_page(item)

        restored = QueryOptions.from_json(after.to_json())

        assert select(ITEMS, restored) == select(ITEMS, after)


def test_next_pages_keep_the_condition() -> None:
    options = QueryOptions(NAMED, ("grams", "id"), limit=1)

    read = [item.grams for page in pages(options) for item in page]

    assert read == [-1, 0, 2, None]


def test_next_pages_keep_an_opaque_condition() -> None:
    items = [Item(1, grams=6), Item(2, grams=1), Item(3, grams=7)]
    options = QueryOptions(IsHeavy(), ("id",), limit=1)

    second = select(items, options.next_page(items[0]))

    assert second == [items[2]]


class WithoutNone(QueryOptions):
    """Wrong variant: compares rows as SQL does, so None is neither before nor after a value."""

    @property
    def condition(self) -> Specification | None:
        if self.after is None:
            return None
        ways: list[Specification] = []
        alike: list[Specification] = []
        for name, value in zip(self.ordering, self.after, strict=True):
            attribute = name.removeprefix("-")
            later = LT if name.startswith("-") else GT
            is_known = value is not None
            beyond = AttributeSpecification(attribute, later, value) if is_known else None
            ways += [] if beyond is None else [AndSpecification([*alike, beyond])]
            alike.append(AttributeSpecification(attribute, EQ, value))
        return OrSpecification(ways)


class FirstAttributeOnly(QueryOptions):
    """Wrong variant: expects values of the first attribute to be unique."""

    @property
    def condition(self) -> Specification | None:
        one = QueryOptions(ordering=self.ordering[:1], after=self.after and self.after[:1])
        return one.condition  # type: ignore[return-value]


@pytest.mark.parametrize("naive", [WithoutNone, FirstAttributeOnly])
def test_pagination_check_catches_a_keyset_cursor_that_loses_items(
    naive: Callable[..., QueryOptions],
) -> None:
    with pytest.raises(AssertionError):
        assert_every_item_once(naive(ordering=("name", "grams", "id"), limit=5))


class Account(AggregateRoot[str]):
    owner: str = "anna"
    grams: int | None = None


def test_next_page_after_an_aggregate_is_ordered_by_id_as_well() -> None:
    accounts = [Account(id=letter) for letter in "cabed"]
    options = QueryOptions(ordering=("-owner",), limit=2)

    seen: list[str] = []
    while page := select(accounts, options):
        seen += [each.id for each in page]
        options = options.next_page(page[-1])

    assert seen == list("abcde")
    assert options.ordering == ("-owner", "id")


@pytest.mark.parametrize("ordering", [(), ("name",), ("-grams", "name")])
def test_next_page_rejects_an_order_with_ties(ordering: tuple[str, ...]) -> None:
    with pytest.raises(NonUniqueOrderError, match=r"with_ordering\(.*'id'\)") as caught:
        QueryOptions(ordering=ordering).next_page(ITEMS[0])

    assert caught.value.ordering == ordering


def test_next_page_accepts_another_unique_attribute_as_key() -> None:
    options = QueryOptions(ordering=("-grams", "name"))

    page = options.next_page(Item(1, name="a", grams=5), key="name")

    assert (page.ordering, page.after) == (("-grams", "name"), (5, "a"))
    with pytest.raises(NonUniqueOrderError, match="name is None"):
        options.next_page(Item(1, name=None, grams=5), key="name")
    with pytest.raises(NonUniqueOrderError, match="id is None or missing"):
        QueryOptions(ordering=("id",)).next_page({"number": 1})


def test_next_page_of_selected_fields_needs_the_order_among_them() -> None:
    options = QueryOptions(ordering=("name", "id"), limit=3)
    row = {"name": "a", "id": 4}

    page = options.with_select_fields("name", "id").next_page(row)

    assert page.after == ("a", 4)
    with pytest.raises(NonUniqueOrderError, match="without id; select these fields"):
        options.with_select_fields("name").next_page({"name": "a"})
    with pytest.raises(NonUniqueOrderError):
        QueryOptions(ordering=("name",), select_fields=("name",)).next_page({"name": "a"})


def test_pages_of_distinct_rows_return_every_combination_once() -> None:
    options = QueryOptions(ordering=("name", "-grams"), select_fields=("grams", "name"), limit=2)
    options = options.with_distinct()

    rows: list[Any] = [row for page in pages(options) for row in page]
    read = [tuple(row.values()) for row in rows]

    assert len(read) == len(set(read)) == len({(item.grams, item.name) for item in ITEMS})
    with pytest.raises(NonUniqueOrderError):
        options.with_ordering("name").next_page({"name": "a", "grams": 1})


def test_condition_after_a_row_begins_with_its_first_attribute_and_omits_needless_null() -> None:
    options = QueryOptions(ordering=("-grams", "id"), after=(5, 7))

    lighter, equal = AttributeSpecification("grams", "<", 5), AttributeSpecification("id", ">", 7)
    later = equal | AttributeSpecification("id", "is null")
    at_most = AttributeSpecification("grams", "<=", 5)
    assert options.condition == at_most & (lighter | later)
    assert options.build_condition(never_none=["id"]) == at_most & (lighter | equal)


def test_query_options_implement_the_port() -> None:
    assert isinstance(QueryOptions(), IQueryOptions)


def test_query_options_can_be_built_step_by_step() -> None:
    options = (
        QueryOptions()
        .with_specification(HEAVY)
        .with_ordering("-name", "id")
        .with_pagination(limit=10, offset=20)
        .with_select_fields("id", "name")
        .with_distinct()
    )

    assert options == QueryOptions(HEAVY, ("-name", "id"), 10, 20, None, ("id", "name"), True)


def test_query_options_convert_lists_to_tuples() -> None:
    options = QueryOptions(ordering=["id"], after=[1], select_fields=["id"])  # type: ignore[arg-type]

    assert (options.ordering, options.after, options.select_fields) == (("id",), (1,), ("id",))


@pytest.mark.parametrize("ordering", ["name", [""], [None], [1], [["name"]]])
def test_ordering_must_be_a_list_of_attribute_names(ordering: Any) -> None:
    with pytest.raises(SpecificationValueError, match="takes a list of attribute names"):
        QueryOptions(ordering=ordering)
    with pytest.raises(SpecificationValueError, match="takes a list of attribute names"):
        QueryOptions(select_fields=ordering)


def test_number_of_ordering_attributes_is_bounded() -> None:
    with pytest.raises(SpecificationLimitError, match="attributes to order by"):
        QueryOptions(ordering=("a",) * 9)


@pytest.mark.parametrize("count", [-1, 1.5, "10", True, 2**63, [1]])
def test_limit_and_offset_must_be_non_negative_integers(count: Any) -> None:
    with pytest.raises(SpecificationValueError, match="limit takes a whole number from 0"):
        QueryOptions(limit=count)
    with pytest.raises(SpecificationValueError, match="offset takes a whole number from 0"):
        QueryOptions(offset=count)


@pytest.mark.parametrize(
    ("ordering", "after"), [((), (1,)), (("id",), ()), (("id",), (1, 2)), ((), ())]
)
def test_after_values_must_match_the_ordering(
    ordering: tuple[str, ...], after: tuple[Any, ...]
) -> None:
    with pytest.raises(SpecificationValueError, match="after takes a value for each attribute"):
        _ = QueryOptions(ordering=ordering, after=after).condition


def test_merged_query_options_join_conditions_and_prefer_the_other_settings() -> None:
    ours = QueryOptions(HEAVY, ("name",), 10, 5, ("a",), ("id",))

    assert ours.merge(QueryOptions()) == ours
    assert QueryOptions().merge(ours) == ours
    assert ours.merge(QueryOptions(NAMED, ("id",), 0, 7, (1,), ("id",), True)) == QueryOptions(
        AndSpecification([HEAVY, NAMED]), ("id",), 0, 7, (1,), ("id",), True
    )


def test_query_options_are_written_to_a_dict_without_default_values() -> None:
    made = datetime(2026, 1, 1, tzinfo=timezone.utc)

    assert QueryOptions().to_dict() == {}
    assert QueryOptions(NAMED, ("-made_at",), 5, 1, (made,), ("made_at",), True).to_dict() == {
        "where": {"attribute": "name", "operator": "=", "value": "a"},
        "order_by": ["-made_at"],
        "limit": 5,
        "offset": 1,
        "after": ["2026-01-01T00:00:00+00:00"],
        "select": ["made_at"],
        "distinct": True,
    }


@pytest.mark.parametrize(
    "options",
    [
        QueryOptions(limit=MAX_LIMIT),
        QueryOptions(NAMED & ~HEAVY, ("-name", "id"), 0, 3, (None, 1), ("id", "name"), True),
    ],
)
def test_query_options_survive_a_json_round_trip(options: QueryOptions) -> None:
    assert QueryOptions.from_json(options.to_json()) == options


def test_query_options_with_an_opaque_condition_cannot_be_written_as_json() -> None:
    with pytest.raises(SpecificationError, match="cannot be written as JSON"):
        QueryOptions(IsHeavy()).to_dict()


def test_query_options_from_input_without_a_limit_get_the_largest_limit() -> None:
    assert QueryOptions.from_dict({}).limit == MAX_LIMIT
    assert QueryOptions.from_dict({}, max_limit=50).limit == 50
    assert QueryOptions.from_dict({"limit": 50}, max_limit=50).limit == 50


@pytest.mark.parametrize("limit", [51, None, 2**62])
def test_limit_of_query_options_from_input_is_bounded(limit: int | None) -> None:
    with pytest.raises(SpecificationLimitError) as caught:
        QueryOptions.from_dict({"limit": limit}, max_limit=50)

    assert (caught.value.limit, caught.value.allowed) == ("items in a page", 50)


@pytest.mark.parametrize(
    "data",
    [
        {"order_by": ["secret"]},
        {"order_by": ["-secret"]},
        {"order_by": ["--name"]},
        {"select": ["secret"]},
        {"select": ["name", "name.secret"]},
        {"order_by": [1]},
        {"order_by": [["name"]]},
        {"where": {"attribute": "secret", "operator": "=", "value": 1}},
    ],
)
def test_query_options_from_input_reject_fields_that_are_not_allowed(data: dict[str, Any]) -> None:
    with pytest.raises(UnknownFieldError) as caught:
        QueryOptions.from_dict(data, allowed_fields=["name", "grams"])

    assert set(caught.value.near) <= {"name", "grams"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "name",
        {"limit": "1"},
        {"limit": 1.0},
        {"offset": None},
        {"offset": -1},
        {"order_by": "name"},
        {"order_by": {"name": 1}},
        {"distinct": "yes"},
        {"distinct": None},
        {"select": "name"},
        {"after": "a"},
        {"after": 1},
        {"where": []},
        {"where": "name"},
        {"where": {}},
        {"lim": 1},
        {"__class__": 1},
        {"specification": {}},
        {1: 2},
    ],
)
def test_malformed_query_options_input_is_rejected(data: Any) -> None:
    with pytest.raises(SpecificationError):
        QueryOptions.from_dict(data)


def test_invalid_cursor_from_input_raises_when_it_is_used() -> None:
    cursors: list[Any] = [["x"], [[1]], [{}], [True], [1, 2], []]
    for after in cursors:
        options = QueryOptions.from_dict({"order_by": ["id"], "after": after})

        with pytest.raises(SpecificationError):
            select(ITEMS, options)


def test_ordering_by_arrays_or_json_is_rejected() -> None:
    @dataclass
    class Listed:
        tags: list[str]
        data: dict[str, int]

    for name in ("tags", "data", "-data", "data.a"):
        with pytest.raises(UnsupportedOperatorError, match="cannot order by"):
            select([Listed([], {})], QueryOptions(ordering=(name,)))
