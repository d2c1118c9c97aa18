"""What every merge strategy must do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...exceptions import MergeConflictError
from ...ports.conflict import IMergeStrategy

Changes = Sequence[tuple[Any, Any, Any]]


class MergeStrategyContract:
    """Fixtures: ``strategy``, and ``changes``: values of its kind as base, theirs and mine."""

    def test_change_of_theirs_alone_is_kept(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, theirs, _ in changes:
            assert strategy.merge(base, theirs, base) == theirs

    def test_change_of_mine_alone_is_kept(self, strategy: IMergeStrategy, changes: Changes) -> None:
        for base, _, mine in changes:
            assert strategy.merge(base, base, mine) == mine

    def test_equal_changes_are_one(self, strategy: IMergeStrategy, changes: Changes) -> None:
        for base, theirs, _ in changes:
            assert strategy.merge(base, theirs, theirs) == theirs

    def test_equal_arguments_give_equal_results(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for sides in changes:
            assert _merged(strategy.merge, *sides) == _merged(strategy.merge, *copy.deepcopy(sides))

    def test_arguments_stay_unchanged(self, strategy: IMergeStrategy, changes: Changes) -> None:
        for sides in changes:
            before = copy.deepcopy(sides)

            _merged(strategy.merge, *sides)

            assert sides == before

    def test_result_shares_no_part_with_the_arguments(
        self, strategy: IMergeStrategy, changes: Changes
    ) -> None:
        for base, theirs, mine in changes:
            given = {id(each) for side in (base, theirs, mine) for each in _containers(side)}
            for sides in ((base, theirs, mine), (base, theirs, base), (base, base, mine)):
                answer = _merged(strategy.merge, *sides)

                assert not given & {id(each) for each in _containers(answer)}


def _merged(merge: Callable[[Any, Any, Any], Any], base: Any, theirs: Any, mine: Any) -> Any:
    """The answer; or the fields in conflict, which is an answer, too."""
    try:
        return merge(base, theirs, mine)
    except MergeConflictError as conflict:
        return conflict.fields


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from _containers(each)
    elif isinstance(value, list):
        yield value
        for each in value:
            yield from _containers(each)
