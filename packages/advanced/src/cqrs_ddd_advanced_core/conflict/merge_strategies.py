"""Strategies that merge two changes of one value."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

import pydantic

from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError

from ..exceptions import MergeConflictError
from ..ports.conflict import ABSENT, IMergeStrategy


class MergeStrategy(IMergeStrategy):
    """Base of strategies; a subclass decides about a value that both sides changed differently.

    True is not 1, and 1 is not 1.0; the order of the keys of a mapping does not count.
    """

    def merge(self, base: object, theirs: object, mine: object) -> Any:
        return merge_three_way(base, theirs, mine, self.resolve)

    @abstractmethod
    def resolve(self, base: object, theirs: object, mine: object) -> object:
        """Return the merged value of three that all differ.

        Raises:
            MergeConflictError: if a person has to choose.
        """
        ...


class LastWinsStrategy(MergeStrategy):
    """Strategy that keeps ``mine``, which is written last; the change in ``theirs`` is lost."""

    def resolve(self, base: object, theirs: object, mine: object) -> object:
        return mine


class TimestampLastWinsStrategy(MergeStrategy):
    """Strategy that keeps the whole side with the later time in ``field``; ``mine`` if equal.

    A time is an aware datetime, or its text in JSON. Raises ``MergeConflictError`` if a side has
    none.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def resolve(self, base: object, theirs: object, mine: object) -> object:
        is_later = self._read_time(theirs, "theirs") > self._read_time(mine, "mine")
        return theirs if is_later else mine

    def _read_time(self, side: object, name: str) -> datetime:
        value = side.get(self._field) if isinstance(side, Mapping) else None
        if isinstance(value, (str, datetime)):
            try:
                return _TIME.validate_python(value)
            except pydantic.ValidationError:
                pass
        reason = f"{value!r} of {name} is no time with a zone, so neither side is the later one"
        raise MergeConflictError(
            f"cannot merge by {self._field}: {reason}", reasons={self._field: reason}
        )


class FieldLevelMergeStrategy(MergeStrategy):
    """Strategy for mappings: a field that both sides changed differently goes to its strategy.

    Removing a field is a change. Raises ``MergeConflictError`` with all fields in conflict: fields
    without a strategy, and fields whose strategy raises one.

    Args:
        fields: strategies by the name of the field.
        default: for the fields that are not named there.
    """

    def __init__(
        self,
        fields: Mapping[str, IMergeStrategy] | None = None,
        *,
        default: IMergeStrategy | None = None,
    ) -> None:
        self._fields = dict(fields or {})
        self._default = default

    def resolve(self, base: object, theirs: object, mine: object) -> dict[object, object]:
        before = {} if base is ABSENT else base
        if not (
            isinstance(before, Mapping)
            and isinstance(theirs, Mapping)
            and isinstance(mine, Mapping)
        ):
            raise _unresolved(theirs, mine)
        merged: dict[object, object] = {}
        reasons: dict[str, str] = {}
        for name in {**theirs, **mine}:
            was, stored, new = (side.get(name, ABSENT) for side in (before, theirs, mine))
            try:
                value = merge_three_way(was, stored, new, partial(self._resolve_field, name))
            except MergeConflictError as conflict:
                inner = conflict.reasons or {"": str(conflict)}
                reasons |= {
                    f"{name}.{path}" if path else str(name): reason
                    for path, reason in inner.items()
                }
                continue
            if value is not ABSENT:
                merged[name] = value
        if reasons:
            raise MergeConflictError.in_fields(reasons)
        return merged

    def _resolve_field(self, name: str, base: object, theirs: object, mine: object) -> object:
        strategy = self._fields.get(name, self._default)
        if strategy is None:
            raise _unresolved(theirs, mine)
        return strategy.merge(base, theirs, mine)


class DeepMergeStrategy(FieldLevelMergeStrategy):
    """Strategy for nested mappings, field by field; a list is one value unless it has a strategy.

    Args:
        fields: strategies by the name of the field, at the top.
        default: for any other value that both sides changed and is no mapping, at any depth.
    """

    def _resolve_field(self, name: str, base: object, theirs: object, mine: object) -> object:
        is_nested = base is ABSENT or isinstance(base, Mapping)
        is_nested = is_nested and isinstance(theirs, Mapping) and isinstance(mine, Mapping)
        if is_nested and name not in self._fields:
            return DeepMergeStrategy(default=self._default).resolve(base, theirs, mine)
        return super()._resolve_field(name, base, theirs, mine)


class UnionListMergeStrategy(MergeStrategy):
    """Strategy for lists: the items that a side added, without the items that a side removed.

    ``theirs`` come first, then ``mine``; an item that both sides added is there once. Another
    order of the same items is no change that is kept.

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

    def resolve(self, base: object, theirs: object, mine: object) -> list[object]:
        sides = [[] if base is ABSENT else base, theirs, mine]
        lists = [side for side in sides if isinstance(side, (list, tuple))]
        if len(lists) < len(sides):
            raise _unresolved(theirs, mine)
        if self._key is None:
            return _unite(*lists)
        sides_by_key = (_index_items(side, self._key) for side in lists)
        return list(self._items.merge(*sides_by_key).values())


def merge_three_way(
    base: object, theirs: object, mine: object, resolve: Callable[[object, object, object], object]
) -> object:
    """Return a copy of the side that changed, or of the answer of ``resolve`` if both did."""
    before, stored, new = freeze(base), freeze(theirs), freeze(mine)
    if stored == new or before == new:
        return _copy(theirs)
    return _copy(mine if before == stored else resolve(base, theirs, mine))


def freeze(value: object) -> Hashable:
    """Return an equal key for equal values.

    Raises ``InvalidOperationError`` unless the value is JSON-like; any other value that has a hash
    is compared with values of its own type only.
    """
    if isinstance(value, Mapping):
        return Mapping, frozenset((freeze(key), freeze(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return list, tuple(map(freeze, value))
    try:
        hash(value)
    except TypeError as error:
        raise InvalidOperationError(
            f"cannot merge a {type(value).__name__}; give it as JSON-like values, as "
            "model_dump(mode='json') does"
        ) from error
    # NaN does not equal itself and would count as a change on every side.
    return type(value), value if value == value else repr(value)


def _copy(value: object) -> object:
    """Copy a value into dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(each) for each in value]
    return value


def _unresolved(theirs: object, mine: object) -> MergeConflictError:
    return MergeConflictError.of_value(is_removed=theirs is ABSENT or mine is ABSENT)


def _unite(
    base: Iterable[object], theirs: Iterable[object], mine: Iterable[object]
) -> list[object]:
    was, stored, new = (Counter(map(freeze, side)) for side in (base, theirs, mine))
    left: dict[Hashable, int] = {
        item: was[item]
        + max(stored[item] - was[item], new[item] - was[item], 0)
        - max(was[item] - stored[item], was[item] - new[item], 0)
        for item in stored | new
    }
    union: list[object] = []
    for value in chain(theirs, mine):
        item = freeze(value)
        if left[item] > 0:
            left[item] -= 1
            union.append(value)
    return union


def _index_items(items: Iterable[object], key: str) -> dict[object, object]:
    found: dict[object, object] = {}
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


_TIME: pydantic.TypeAdapter[datetime] = pydantic.TypeAdapter(pydantic.AwareDatetime)
