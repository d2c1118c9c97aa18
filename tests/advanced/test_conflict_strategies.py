"""Merging two changes of one value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cqrs_ddd_advanced_core.conflict import (
    DeepMergeStrategy,
    FieldLevelMergeStrategy,
    LastWinsStrategy,
    MergeStrategy,
    TimestampLastWinsStrategy,
    UnionListMergeStrategy,
)
from cqrs_ddd_advanced_core.exceptions import MergeConflictError
from cqrs_ddd_advanced_core.ports.conflict import ABSENT, IMergeStrategy
from cqrs_ddd_advanced_core.testing.contracts.conflict import Changes, MergeStrategyContract
from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError

Sides = tuple[Any, Any, Any]

LEAVES = st.sampled_from([None, True, False, 0, 1, 1.0, "", "a"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=4,
)
STATES = st.dictionaries(st.sampled_from("abcd"), VALUES)
ALIKE = st.fixed_dictionaries({"a": st.sampled_from([True, 1, 1.0, False, 0, 0.0])})
LISTS = st.lists(LEAVES | st.fixed_dictionaries({"a": LEAVES}), max_size=6)
KEYED = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 4), "n": LEAVES}), unique_by=lambda item: item["id"]
)


def three(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sides]:
    return st.tuples(values, values, values)


class Sum(MergeStrategy):
    """One of a user's own, for whole numbers."""

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        return theirs + mine - base


class Either(IMergeStrategy):
    """One of a user's own that knows the port only, and hands on what it was given."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return [theirs, mine]


def text(value: Any) -> str:
    """As JSON has it, in which True is not 1 and 1 is not 1.0."""
    return json.dumps(value, sort_keys=True)


def merged(strategy: IMergeStrategy, sides: Sides) -> Any:
    """None where nobody may choose."""
    try:
        return strategy.merge(*sides)
    except MergeConflictError:
        return None


class TestLastWins(MergeStrategyContract):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        return LastWinsStrategy()

    @pytest.fixture
    def changes(self) -> Changes:
        return [({"a": [1]}, {"a": [2]}, {"a": [1], "b": {}}), (1, True, 1.0), ([], [1], [2])]


class TestTimestampLastWins(TestLastWins):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        return TimestampLastWinsStrategy("at")

    @pytest.fixture
    def changes(self) -> Changes:
        return [
            ({"at": f"2026-01-01T00:00:0{n}Z"}, {"at": "2026-01-01T00:00:01Z"}, {"at": at, "x": []})
            for n, at in enumerate(["2026-01-01T00:00:01Z", "2026-01-01T00:00:09+00:00", None])
        ]


class TestFieldLevel(TestLastWins):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        tags, either = UnionListMergeStrategy(), Either()
        return FieldLevelMergeStrategy({"tags": tags, "either": either, "sum": Sum()})

    @pytest.fixture
    def changes(self) -> Changes:
        return [
            ({"a": 1}, {"a": 2}, {"a": 3}),
            ({"a": 1, "b": [1]}, {"a": 2, "b": [1]}, {"a": 1, "b": []}),
            ({"tags": [{}]}, {"tags": [{"x": 1}, {}]}, {"tags": [{}, {"x": []}]}),
            ({"either": {}}, {"either": {"x": 1}}, {"either": {"x": 2}}),
        ]


class TestDeepMerge(TestFieldLevel):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        return DeepMergeStrategy(default=Either())


class TestUnionList(TestLastWins):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        return UnionListMergeStrategy()

    @pytest.fixture
    def changes(self) -> Changes:
        return [([1], [1, {"a": 1}], []), ([[1]], [[2]], [[1], [3]]), ([], 1, 2)]


class TestUnionListByKey(TestLastWins):
    @pytest.fixture
    def strategy(self) -> IMergeStrategy:
        return UnionListMergeStrategy(key="id", items=DeepMergeStrategy())

    @pytest.fixture
    def changes(self) -> Changes:
        return [
            ([{"id": 1, "n": 1}], [{"id": 2}, {"id": 1, "n": 1, "m": {}}], [{"id": 1, "n": 2}]),
            ([], [{"id": 1}], [{"id": 1, "n": []}]),
        ]


# Laws, for whatever strategy and values.


def what_only_they_changed_is_theirs(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, _ = sides
    assert text(strategy.merge(base, theirs, base)) == text(theirs)


def what_only_i_changed_is_mine(strategy: IMergeStrategy, sides: Sides) -> None:
    base, _, mine = sides
    assert text(strategy.merge(base, base, mine)) == text(mine)


def equal_changes_are_one(strategy: IMergeStrategy, sides: Sides) -> None:
    base, both, _ = sides
    assert text(strategy.merge(base, both, both)) == text(both)


def what_is_given_stays_as_it_is(strategy: IMergeStrategy, sides: Sides) -> None:
    before = text(sides)
    answer = merged(strategy, sides)
    if isinstance(answer, dict):
        answer["new"] = 1
    for value in answer if isinstance(answer, list) else []:
        if isinstance(value, dict):
            value["new"] = 1
    assert text(sides) == before


def the_sides_may_be_swapped(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    one, other = merged(strategy, sides), merged(strategy, (base, mine, theirs))
    if isinstance(one, list) and isinstance(other, list):  # Theirs are first.
        one, other = sorted(map(text, one)), sorted(map(text, other))
    assert text(one) == text(other)


def no_change_is_lost(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    answer = merged(strategy, sides)
    if answer is not None:
        assert holds_the_changes(base, theirs, answer)
        assert holds_the_changes(base, mine, answer)


def no_field_is_lost(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    answer = merged(strategy, sides)
    if answer is None:
        return
    for side in (theirs, mine):
        for name in {**base, **side}:
            if text_at(base, name) != text_at(side, name):
                assert text_at(answer, name) == text_at(side, name)


def holds_the_changes(base: Any, side: Any, answer: Any) -> bool:
    """Of what differs between ``base`` and ``side``, down to what is no mapping."""
    if all(isinstance(each, dict) for each in (base, side, answer)):
        return all(
            holds_the_changes(base.get(name, {}), side[name], answer[name])
            if isinstance(base.get(name, {}), dict) and name in side and name in answer
            else text_at(side, name) == text_at(answer, name)
            for name in {**base, **side}
            if text_at(base, name) != text_at(side, name)
        )
    return text(side) == text(answer)


def text_at(state: dict[str, Any], name: str) -> str | None:
    return text(state[name]) if name in state else None


Law = Callable[[IMergeStrategy, Sides], None]

ALWAYS: list[Law] = [
    what_only_they_changed_is_theirs,
    what_only_i_changed_is_mine,
    equal_changes_are_one,
    what_is_given_stays_as_it_is,
]
LAWS: list[tuple[IMergeStrategy, st.SearchStrategy[Any], list[Law]]] = [
    (LastWinsStrategy(), VALUES, ALWAYS),
    (TimestampLastWinsStrategy("a"), STATES, [*ALWAYS, the_sides_may_be_swapped]),
    (FieldLevelMergeStrategy(), STATES, [*ALWAYS, the_sides_may_be_swapped, no_field_is_lost]),
    (FieldLevelMergeStrategy(), ALIKE, [*ALWAYS, no_field_is_lost]),
    (FieldLevelMergeStrategy(default=LastWinsStrategy()), STATES, ALWAYS),
    (DeepMergeStrategy(), STATES, [*ALWAYS, the_sides_may_be_swapped, no_change_is_lost]),
    (DeepMergeStrategy(default=UnionListMergeStrategy()), STATES, ALWAYS),
    (UnionListMergeStrategy(), LISTS, [*ALWAYS, the_sides_may_be_swapped]),
    (UnionListMergeStrategy(key="id"), KEYED, [*ALWAYS, the_sides_may_be_swapped]),
]


@pytest.mark.parametrize(
    ("strategy", "values", "law"),
    [(strategy, values, law) for strategy, values, laws in LAWS for law in laws],
)
def test_a_strategy_keeps_the_laws(
    strategy: IMergeStrategy, values: st.SearchStrategy[Any], law: Law
) -> None:
    @settings(max_examples=60)
    @given(three(values))
    def holds(sides: Sides) -> None:
        law(strategy, sides)

    holds()


@given(three(LISTS))
def test_a_union_has_every_addition_and_no_item_that_either_side_removed(sides: Sides) -> None:
    was, stored, new = (Counter(map(text, side)) for side in sides)

    union = Counter(map(text, UnionListMergeStrategy().merge(*sides)))

    for item in was | stored | new:
        more = max(stored[item] - was[item], new[item] - was[item], 0)
        less = max(was[item] - stored[item], was[item] - new[item], 0)
        assert union[item] == was[item] + more - less


@given(three(KEYED))
def test_a_union_by_key_is_a_merge_of_fields(sides: Sides) -> None:
    by_key = tuple({str(item["id"]): item for item in side} for side in sides)

    union = merged(UnionListMergeStrategy(key="id"), sides)

    expected = merged(FieldLevelMergeStrategy(), by_key)  # type: ignore[arg-type]
    if sides[1] != sides[2] and sides[0] not in sides[1:]:
        assert text(union) == text(None if expected is None else list(expected.values()))


# Naive ways, and the law that each of them breaks.


class TwoWay(IMergeStrategy):
    """Knows no base."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return {**theirs, **mine}


class KnowsNoRemovals(IMergeStrategy):
    """Looks only at what is there."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        changed = {name: mine[name] for name in mine if text_at(base, name) != text(mine[name])}
        return {**base, **theirs, **changed}


class TakesMineInConflict(FieldLevelMergeStrategy):
    """Chooses without being asked to."""

    def _resolve_field(self, name: str, base: Any, theirs: Any, mine: Any) -> Any:
        return mine


class PythonEquality(FieldLevelMergeStrategy):
    """True == 1 == 1.0."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        if base == theirs:
            return dict(mine)
        return dict(theirs) if mine == base else super().merge(base, theirs, mine)


class WritesIntoTheirs(IMergeStrategy):
    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        theirs.update(mine)
        return theirs


class HandsOutItsArguments(IMergeStrategy):
    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return theirs if text(mine) == text(base) else mine


class TwoWayUnion(IMergeStrategy):
    """Brings back what was removed."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return [*theirs, *(item for item in mine if item not in theirs)]


NAIVE: list[tuple[IMergeStrategy, st.SearchStrategy[Any], Law]] = [
    (TwoWay(), STATES, what_only_they_changed_is_theirs),
    (KnowsNoRemovals(), STATES, what_only_i_changed_is_mine),
    (TakesMineInConflict(), STATES, no_field_is_lost),
    (FieldLevelMergeStrategy(default=LastWinsStrategy()), STATES, no_field_is_lost),
    (PythonEquality(), ALIKE, what_only_they_changed_is_theirs),
    (WritesIntoTheirs(), STATES, what_is_given_stays_as_it_is),
    (HandsOutItsArguments(), STATES, what_is_given_stays_as_it_is),
    (TwoWayUnion(), LISTS, what_only_they_changed_is_theirs),
]


@pytest.mark.parametrize(("naive", "values", "law"), NAIVE)
def test_a_naive_strategy_breaks_a_law(
    naive: IMergeStrategy, values: st.SearchStrategy[Any], law: Law
) -> None:
    @settings(
        max_examples=1000,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(three(values))
    def holds(sides: Sides) -> None:
        law(naive, sides)

    with pytest.raises(AssertionError):
        holds()


# What the laws do not say.


def test_strategies_nest_and_all_conflicts_are_told_by_their_paths() -> None:
    strategy = DeepMergeStrategy({"tags": UnionListMergeStrategy(), "note": LastWinsStrategy()})
    base = {"tags": ["a"], "note": "", "size": {"w": 1, "h": 1, "unit": {"name": "cm"}}, "x": 1}
    theirs = {"tags": ["b"], "note": "t", "size": {"w": 2, "h": 2, "unit": {"name": "m"}}}
    mine = {
        "tags": ["a", "c"],
        "note": "m",
        "size": {"w": 3, "h": 1, "unit": {"name": "in"}},
        "x": 2,
    }

    with pytest.raises(MergeConflictError) as caught:
        strategy.merge(base, theirs, mine)

    assert caught.value.fields == ("size.w", "size.unit.name", "x")
    assert "removed" in caught.value.reasons["x"]
    assert all(path in str(caught.value) for path in caught.value.fields)

    mine = {**mine, "size": base["size"], "x": 1}
    assert strategy.merge(base, theirs, mine) == {
        "tags": ["b", "c"],
        "note": "m",
        "size": theirs["size"],
    }


def test_a_default_chooses_wherever_nothing_is_said_also_deep_inside() -> None:
    strategy = DeepMergeStrategy({"n": Sum()}, default=LastWinsStrategy())

    answer = strategy.merge(
        {"n": 10, "in": {"a": 1, "n": 1}, "gone": 1},
        {"n": 13, "in": {"a": 2, "n": 2, "b": 5}, "gone": 2},
        {"n": 11, "in": {"a": 3, "n": 3}},
    )

    assert answer == {"n": 14, "in": {"a": 3, "n": 3, "b": 5}}


def test_a_strategy_that_is_named_comes_before_the_way_through_a_mapping() -> None:
    strategy = DeepMergeStrategy({"in": LastWinsStrategy()})

    answer = strategy.merge({"in": {}}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert answer == {"in": {"b": 2}}


def test_mappings_that_both_added_are_merged_deeply_and_conflict_by_field() -> None:
    sides: Sides = ({}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert DeepMergeStrategy().merge(*sides) == {"in": {"a": 1, "b": 2}}
    with pytest.raises(MergeConflictError) as caught:
        FieldLevelMergeStrategy().merge(*sides)
    assert caught.value.fields == ("in",)


def test_values_that_both_sides_added_are_in_conflict() -> None:
    with pytest.raises(MergeConflictError) as caught:
        DeepMergeStrategy().merge({"in": None}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert caught.value.fields == ("in",)


def test_value_that_is_no_mapping_is_a_conflict_without_fields() -> None:
    with pytest.raises(MergeConflictError) as caught:
        FieldLevelMergeStrategy().merge(1, 2, 3)

    assert caught.value.fields == ()
    assert set(caught.value.reasons) == {""}


def test_a_strategy_is_told_of_a_removal_and_may_remove() -> None:
    asked = []

    class Remembers(MergeStrategy):
        def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
            asked.append((base, theirs, mine))
            return ABSENT

    answer = FieldLevelMergeStrategy({"a": Remembers()}).merge({"a": 1}, {"a": 2}, {})

    assert (asked, answer) == ([(1, 2, ABSENT)], {})


@pytest.mark.parametrize(
    ("theirs", "mine", "winner"),
    [
        ("2026-01-01T00:00:02Z", "2026-01-01T00:00:01Z", "theirs"),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "mine"),
        ("2026-01-01T00:00:01Z", "2026-01-01T01:00:01+01:00", "mine"),
        ("2026-01-01T00:00:02Z", "2026-01-01T01:00:01+01:00", "theirs"),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-01T00:00:00Z", "theirs"),
    ],
)
def test_the_later_time_wins_as_a_whole_and_of_one_time_mine(
    theirs: Any, mine: Any, winner: str
) -> None:
    sides = {"theirs": {"at": theirs, "x": 1}, "mine": {"at": mine, "y": 2}}

    answer = TimestampLastWinsStrategy("at").merge({"at": None}, *sides.values())

    assert answer == sides[winner]


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00", "soon", None, 7, datetime(2026, 1, 1)])
@pytest.mark.parametrize("is_mine", [True, False])
def test_without_an_aware_time_neither_side_is_later(time: Any, is_mine: bool) -> None:
    sides = [{"at": "2026-01-01T00:00:00Z"}, {"at": time}]

    with pytest.raises(MergeConflictError, match="not a time with a zone") as caught:
        TimestampLastWinsStrategy("at").merge({}, *(sides if is_mine else reversed(sides)))

    assert caught.value.fields == ("at",)


def test_a_union_is_in_their_order_and_what_both_added_is_there_once() -> None:
    union = UnionListMergeStrategy().merge([1, 2, 3, 2], [3, "x", 2, 1, True], ["y", 2, 3, "x", 2])

    assert text(union) == text([3, "x", 2, True, "y"])


def test_objects_that_both_changed_go_to_the_strategy_of_items() -> None:
    sides: Sides = (
        [{"sku": "a", "n": 1, "w": 1}, {"sku": "b", "n": 1}],
        [{"sku": "b", "n": 1}, {"sku": "c", "n": 9}, {"sku": "a", "n": 2, "w": 1}],
        [{"sku": "a", "n": 1, "w": 5}],
    )

    with pytest.raises(MergeConflictError) as caught:
        FieldLevelMergeStrategy({"lines": UnionListMergeStrategy(key="sku")}).merge(
            *({"lines": side} for side in sides)
        )
    assert caught.value.fields == ("lines.a",)

    items = UnionListMergeStrategy(key="sku", items=FieldLevelMergeStrategy())
    assert items.merge(*sides) == [{"sku": "c", "n": 9}, {"sku": "a", "n": 2, "w": 5}]


@pytest.mark.parametrize(
    "items", [[{}], [{"id": None}], [{"id": True}], [1], [{"id": 1}, {"id": 1}]]
)
def test_items_that_cannot_be_told_apart_are_in_conflict(items: list[Any]) -> None:
    with pytest.raises(MergeConflictError, match="id"):
        UnionListMergeStrategy(key="id").merge([], items, [{"id": 5}])


def test_a_strategy_for_items_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="key="):
        UnionListMergeStrategy(items=LastWinsStrategy())


def test_other_values_than_json_are_compared_with_their_own_kind() -> None:
    nan = float("nan")
    base = {"price": Decimal("1.0"), "at": datetime(2026, 1, 1, tzinfo=timezone.utc), "n": nan}

    answer = FieldLevelMergeStrategy().merge(
        base, {**base, "price": Decimal("2.0")}, {**base, "n": float("nan"), "x": (1, 2)}
    )

    assert answer["price"] == Decimal("2.0")
    assert answer["x"] == [1, 2]
    with pytest.raises(InvalidOperationError, match="set"):
        LastWinsStrategy().merge({"a": {1}}, {}, {})
