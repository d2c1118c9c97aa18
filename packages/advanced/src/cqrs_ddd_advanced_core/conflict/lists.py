"""Lists whose order tells nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from itertools import chain
from typing import Any

from cqrs_ddd_core.primitives.exceptions import ConfigError

from ..exceptions import MergeConflictError
from ..ports.conflict import ABSENT, IMergeStrategy
from .fields import FieldLevelMergeStrategy
from .merging import MergeStrategy, both_changed, identity


class UnionListMergeStrategy(MergeStrategy):
    """What either side added, without what either side removed: theirs in their order, then mine.

    What both added is there once. Another order of the same items is no change that is kept.

    Args:
        key: the field that tells objects apart, a text or a whole number; an object that both
            sides changed is in conflict.
        items: the strategy for such an object.
    """

    def __init__(self, *, key: str | None = None, items: IMergeStrategy | None = None) -> None:
        if items is not None and key is None:
            raise ConfigError("a strategy for the items needs to know them again; pass key=, too")
        self._key = key
        self._items = FieldLevelMergeStrategy(default=items)

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        before = [] if base is ABSENT else base
        if not all(isinstance(side, (list, tuple)) for side in (before, theirs, mine)):
            raise both_changed(theirs, mine)
        if self._key is None:
            return _union(before, theirs, mine)
        by_key = (_by_key(side, self._key) for side in (before, theirs, mine))
        return list(self._items.merge(*by_key).values())


def _union(base: Any, theirs: Any, mine: Any) -> list[Any]:
    was, stored, new = (Counter(map(identity, side)) for side in (base, theirs, mine))
    left: dict[Hashable, int] = {
        item: was[item]
        + max(stored[item] - was[item], new[item] - was[item], 0)
        - max(was[item] - stored[item], was[item] - new[item], 0)
        for item in stored | new
    }
    union: list[Any] = []
    for value in chain(theirs, mine):
        item = identity(value)
        if left[item] > 0:
            left[item] -= 1
            union.append(value)
    return union


def _by_key(items: Any, key: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for item in items:
        value = item.get(key) if isinstance(item, Mapping) else None
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            problem = f"an item has no {key} that is a text or a whole number"
        elif value in found:
            problem = f"two items have the {key} {value!r}"
        else:
            found[value] = item
            continue
        raise MergeConflictError(
            f"cannot merge lists by {key}: {problem}; choose one side", reasons={"": problem}
        )
    return found
