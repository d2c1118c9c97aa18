"""Tests of the merge strategies, by their laws and by examples."""

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


def create_sides(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sides]:
    return st.tuples(values, values, values)


class SumStrategy(MergeStrategy):
    """Strategy of a user, for whole numbers."""

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        return theirs + mine - base


class BothStrategy(IMergeStrategy):
    """Strategy of a user that implements only the port and returns both arguments."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return [theirs, mine]


def text(value: Any) -> str:
    """Return the JSON text, in which True differs from 1 and 1 from 1.0."""
    return json.dumps(value, sort_keys=True)


def merge_or_none(strategy: IMergeStrategy, sides: Sides) -> Any:
    """Merge the sides; return None if they are in conflict."""
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
        tags, either = UnionListMergeStrategy(), BothStrategy()
        return FieldLevelMergeStrategy({"tags": tags, "either": either, "sum": SumStrategy()})

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
        return DeepMergeStrategy(default=BothStrategy())


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


# Laws, which hold for any strategy and any values.


def keep_changes_of_theirs(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, _ = sides
    assert text(strategy.merge(base, theirs, base)) == text(theirs)


def keep_changes_of_mine(strategy: IMergeStrategy, sides: Sides) -> None:
    base, _, mine = sides
    assert text(strategy.merge(base, base, mine)) == text(mine)


def merge_equal_changes_once(strategy: IMergeStrategy, sides: Sides) -> None:
    base, both, _ = sides
    assert text(strategy.merge(base, both, both)) == text(both)


def leave_arguments_unchanged(strategy: IMergeStrategy, sides: Sides) -> None:
    before = text(sides)
    answer = merge_or_none(strategy, sides)
    if isinstance(answer, dict):
        answer["new"] = 1
    for value in answer if isinstance(answer, list) else []:
        if isinstance(value, dict):
            value["new"] = 1
    assert text(sides) == before


def allow_swapped_sides(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    one, other = merge_or_none(strategy, sides), merge_or_none(strategy, (base, mine, theirs))
    if isinstance(one, list) and isinstance(other, list):  # The first argument comes first.
        one, other = sorted(map(text, one)), sorted(map(text, other))
    assert text(one) == text(other)


def lose_no_change(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    answer = merge_or_none(strategy, sides)
    if answer is not None:
        assert contains_changes(base, theirs, answer)
        assert contains_changes(base, mine, answer)


def lose_no_field(strategy: IMergeStrategy, sides: Sides) -> None:
    base, theirs, mine = sides
    answer = merge_or_none(strategy, sides)
    if answer is None:
        return
    for side in (theirs, mine):
        for name in {**base, **side}:
            if text_at(base, name) != text_at(side, name):
                assert text_at(answer, name) == text_at(side, name)


def contains_changes(base: Any, side: Any, answer: Any) -> bool:
    """Return True if the answer has all changes from ``base`` to ``side``, at any depth."""
    if all(isinstance(each, dict) for each in (base, side, answer)):
        return all(
            contains_changes(base.get(name, {}), side[name], answer[name])
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
    keep_changes_of_theirs,
    keep_changes_of_mine,
    merge_equal_changes_once,
    leave_arguments_unchanged,
]
LAWS: list[tuple[IMergeStrategy, st.SearchStrategy[Any], list[Law]]] = [
    (LastWinsStrategy(), VALUES, ALWAYS),
    (TimestampLastWinsStrategy("a"), STATES, [*ALWAYS, allow_swapped_sides]),
    (FieldLevelMergeStrategy(), STATES, [*ALWAYS, allow_swapped_sides, lose_no_field]),
    (FieldLevelMergeStrategy(), ALIKE, [*ALWAYS, lose_no_field]),
    (FieldLevelMergeStrategy(default=LastWinsStrategy()), STATES, ALWAYS),
    (DeepMergeStrategy(), STATES, [*ALWAYS, allow_swapped_sides, lose_no_change]),
    (DeepMergeStrategy(default=UnionListMergeStrategy()), STATES, ALWAYS),
    (UnionListMergeStrategy(), LISTS, [*ALWAYS, allow_swapped_sides]),
    (UnionListMergeStrategy(key="id"), KEYED, [*ALWAYS, allow_swapped_sides]),
]


@pytest.mark.parametrize(
    ("strategy", "values", "law"),
    [(strategy, values, law) for strategy, values, laws in LAWS for law in laws],
)
def test_merge_strategy_obeys_its_laws(
    strategy: IMergeStrategy, values: st.SearchStrategy[Any], law: Law
) -> None:
    @settings(max_examples=60)
    @given(create_sides(values))
    def holds(sides: Sides) -> None:
        law(strategy, sides)

    holds()


@given(create_sides(LISTS))
def test_list_union_contains_all_additions_and_no_removed_item(sides: Sides) -> None:
    was, stored, new = (Counter(map(text, side)) for side in sides)

    union = Counter(map(text, UnionListMergeStrategy().merge(*sides)))

    for item in was | stored | new:
        more = max(stored[item] - was[item], new[item] - was[item], 0)
        less = max(was[item] - stored[item], was[item] - new[item], 0)
        assert union[item] == was[item] + more - less


@given(create_sides(KEYED))
def test_list_union_by_key_equals_a_field_level_merge(sides: Sides) -> None:
    by_key = tuple({str(item["id"]): item for item in side} for side in sides)

    union = merge_or_none(UnionListMergeStrategy(key="id"), sides)

    expected = merge_or_none(FieldLevelMergeStrategy(), by_key)  # type: ignore[arg-type]
    if sides[1] != sides[2] and sides[0] not in sides[1:]:
        assert text(union) == text(None if expected is None else list(expected.values()))


# Wrong strategies, and the law that each of them breaks.


class TwoWayMerge(IMergeStrategy):
    """Strategy that ignores the base."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return {**theirs, **mine}


class AdditionsOnlyMerge(IMergeStrategy):
    """Strategy that ignores removed fields."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        changed = {name: mine[name] for name in mine if text_at(base, name) != text(mine[name])}
        return {**base, **theirs, **changed}


class MineInConflictMerge(FieldLevelMergeStrategy):
    """Strategy that resolves conflicts although no default is configured."""

    def _resolve_field(self, name: str, base: Any, theirs: Any, mine: Any) -> Any:
        return mine


class PythonEqualityMerge(FieldLevelMergeStrategy):
    """Strategy that compares with Python equality, where ``True == 1 == 1.0``."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        if base == theirs:
            return dict(mine)
        return dict(theirs) if mine == base else super().merge(base, theirs, mine)


class InPlaceMerge(IMergeStrategy):
    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        theirs.update(mine)
        return theirs


class AliasingMerge(IMergeStrategy):
    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return theirs if text(mine) == text(base) else mine


class TwoWayUnion(IMergeStrategy):
    """Strategy that restores removed items."""

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return [*theirs, *(item for item in mine if item not in theirs)]


NAIVE: list[tuple[IMergeStrategy, st.SearchStrategy[Any], Law]] = [
    (TwoWayMerge(), STATES, keep_changes_of_theirs),
    (AdditionsOnlyMerge(), STATES, keep_changes_of_mine),
    (MineInConflictMerge(), STATES, lose_no_field),
    (FieldLevelMergeStrategy(default=LastWinsStrategy()), STATES, lose_no_field),
    (PythonEqualityMerge(), ALIKE, keep_changes_of_theirs),
    (InPlaceMerge(), STATES, leave_arguments_unchanged),
    (AliasingMerge(), STATES, leave_arguments_unchanged),
    (TwoWayUnion(), LISTS, keep_changes_of_theirs),
]


@pytest.mark.parametrize(("naive", "values", "law"), NAIVE)
def test_merge_law_catches_each_wrong_merge_strategy(
    naive: IMergeStrategy, values: st.SearchStrategy[Any], law: Law
) -> None:
    @settings(
        max_examples=1000,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(create_sides(values))
    def holds(sides: Sides) -> None:
        law(naive, sides)

    with pytest.raises(AssertionError):
        holds()


# Behaviour that the laws do not cover.


def test_nested_merge_strategies_report_every_conflict_by_its_path() -> None:
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


def test_default_merge_strategy_applies_at_every_depth() -> None:
    strategy = DeepMergeStrategy({"n": SumStrategy()}, default=LastWinsStrategy())

    answer = strategy.merge(
        {"n": 10, "in": {"a": 1, "n": 1}, "gone": 1},
        {"n": 13, "in": {"a": 2, "n": 2, "b": 5}, "gone": 2},
        {"n": 11, "in": {"a": 3, "n": 3}},
    )

    assert answer == {"n": 14, "in": {"a": 3, "n": 3, "b": 5}}


def test_merge_strategy_named_for_a_field_is_used_instead_of_a_deep_merge() -> None:
    strategy = DeepMergeStrategy({"in": LastWinsStrategy()})

    answer = strategy.merge({"in": {}}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert answer == {"in": {"b": 2}}


def test_mappings_added_by_both_sides_merge_deeply_or_conflict_as_a_field() -> None:
    sides: Sides = ({}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert DeepMergeStrategy().merge(*sides) == {"in": {"a": 1, "b": 2}}
    with pytest.raises(MergeConflictError) as caught:
        FieldLevelMergeStrategy().merge(*sides)
    assert caught.value.fields == ("in",)


def test_different_values_added_by_both_sides_are_in_conflict() -> None:
    with pytest.raises(MergeConflictError) as caught:
        DeepMergeStrategy().merge({"in": None}, {"in": {"a": 1}}, {"in": {"b": 2}})

    assert caught.value.fields == ("in",)


def test_conflict_of_values_that_are_not_mappings_has_no_fields() -> None:
    with pytest.raises(MergeConflictError) as caught:
        FieldLevelMergeStrategy().merge(1, 2, 3)

    assert caught.value.fields == ()
    assert set(caught.value.reasons) == {""}


def test_field_strategy_receives_a_removal_and_can_remove_the_field() -> None:
    arguments = []

    class RecordingStrategy(MergeStrategy):
        def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
            arguments.append((base, theirs, mine))
            return ABSENT

    answer = FieldLevelMergeStrategy({"a": RecordingStrategy()}).merge({"a": 1}, {"a": 2}, {})

    assert (arguments, answer) == ([(1, 2, ABSENT)], {})


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
def test_timestamp_strategy_takes_the_later_state_or_mine_if_the_times_are_equal(
    theirs: Any, mine: Any, winner: str
) -> None:
    sides = {"theirs": {"at": theirs, "x": 1}, "mine": {"at": mine, "y": 2}}

    answer = TimestampLastWinsStrategy("at").merge({"at": None}, *sides.values())

    assert answer == sides[winner]


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00", "soon", None, 7, datetime(2026, 1, 1)])
@pytest.mark.parametrize("is_mine", [True, False])
def test_timestamp_strategy_conflicts_without_a_time_with_a_zone(time: Any, is_mine: bool) -> None:
    sides = [{"at": "2026-01-01T00:00:00Z"}, {"at": time}]

    with pytest.raises(MergeConflictError, match="not a time with a zone") as caught:
        TimestampLastWinsStrategy("at").merge({}, *(sides if is_mine else reversed(sides)))

    assert caught.value.fields == ("at",)


def test_list_union_keeps_the_order_of_theirs_and_adds_common_additions_once() -> None:
    union = UnionListMergeStrategy().merge([1, 2, 3, 2], [3, "x", 2, 1, True], ["y", 2, 3, "x", 2])

    assert text(union) == text([3, "x", 2, True, "y"])


def test_items_changed_by_both_sides_are_merged_by_the_item_strategy() -> None:
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
def test_items_without_a_unique_key_are_in_conflict(items: list[Any]) -> None:
    with pytest.raises(MergeConflictError, match="id"):
        UnionListMergeStrategy(key="id").merge([], items, [{"id": 5}])


def test_item_strategy_requires_a_key() -> None:
    with pytest.raises(ConfigError, match="key="):
        UnionListMergeStrategy(items=LastWinsStrategy())


def test_merge_compares_decimals_and_nan_by_value_and_rejects_sets() -> None:
    nan = float("nan")
    base = {"price": Decimal("1.0"), "at": datetime(2026, 1, 1, tzinfo=timezone.utc), "n": nan}

    answer = FieldLevelMergeStrategy().merge(
        base, {**base, "price": Decimal("2.0")}, {**base, "n": float("nan"), "x": (1, 2)}
    )

    assert answer["price"] == Decimal("2.0")
    assert answer["x"] == [1, 2]
    with pytest.raises(InvalidOperationError, match="set"):
        LastWinsStrategy().merge({"a": {1}}, {}, {})
