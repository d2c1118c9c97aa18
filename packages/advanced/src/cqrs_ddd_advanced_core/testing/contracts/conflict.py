"""Contract of merge strategies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...exceptions import MergeConflictError
from ...ports.conflict import IMergeStrategy

Changes = Sequence[tuple[Any, Any, Any]]


class MergeStrategyContract:
    """Contract of ``IMergeStrategy``.

    Your test class provides two fixtures: ``strategy``, the strategy under test, and ``changes``,
    a sequence of (base, theirs, mine) with values that the strategy merges.
    """

    def test_merge_strategy_keeps_a_change_made_only_by_theirs(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, theirs, _ in changes:
            assert strategy.merge(base, theirs, base) == theirs

    def test_merge_strategy_keeps_a_change_made_only_by_mine(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, _, mine in changes:
            assert strategy.merge(base, base, mine) == mine

    def test_merge_strategy_merges_equal_changes_into_one(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, theirs, _ in changes:
            assert strategy.merge(base, theirs, theirs) == theirs

    def test_merge_strategy_returns_equal_results_for_equal_arguments(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for sides in changes:
            assert _merge_or_conflict(strategy.merge, *sides) == _merge_or_conflict(
                strategy.merge, *copy.deepcopy(sides)
            )

    def test_merge_strategy_does_not_change_its_arguments(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for sides in changes:
            before = copy.deepcopy(sides)

            _merge_or_conflict(strategy.merge, *sides)

            assert sides == before

    def test_merged_value_shares_no_mutable_part_with_the_arguments(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, theirs, mine in changes:
            of_arguments = {
                id(each) for side in (base, theirs, mine) for each in _find_containers(side)
            }
            for sides in ((base, theirs, mine), (base, theirs, base), (base, base, mine)):
                merged = _merge_or_conflict(strategy.merge, *sides)

                assert not of_arguments & {id(each) for each in _find_containers(merged)}


def _merge_or_conflict(
    merge: Callable[[Any, Any, Any], Any], base: Any, theirs: Any, mine: Any
) -> Any:
    """Return the merged value, or the fields in conflict if the strategy raises."""
    try:
        return merge(base, theirs, mine)
    except MergeConflictError as conflict:
        return conflict.fields


def _find_containers(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from _find_containers(each)
    elif isinstance(value, list):
        yield value
        for each in value:
            yield from _find_containers(each)
