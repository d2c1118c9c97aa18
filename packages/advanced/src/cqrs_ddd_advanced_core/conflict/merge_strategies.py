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
    """Base class of strategies; a subclass resolves a value that both sides changed differently.

    Values of different types differ: True is not 1, and 1 is not 1.0. The order of the keys of a
    mapping does not count.
    """

    def merge(self, base: object, theirs: object, mine: object) -> Any:
        """Return the side that changed; call ``resolve`` if both sides changed differently."""
        return merge_three_way(base, theirs, mine, self.resolve)

    @abstractmethod
    def resolve(self, base: object, theirs: object, mine: object) -> object:
        """Return the merged value, given three values that all differ.

        Args:
            base: value that both sides started from, ``ABSENT`` if there was none.
            theirs: value that is stored now.
            mine: value to be written.

        Raises:
            MergeConflictError: a person has to choose.
        """
        ...


class LastWinsStrategy(MergeStrategy):
    """Strategy that keeps ``mine``, which is written last; the change in ``theirs`` is lost."""

    def resolve(self, base: object, theirs: object, mine: object) -> object:
        """Return ``mine``."""
        return mine


class TimestampLastWinsStrategy(MergeStrategy):
    """Strategy that keeps the side with the later time in one field, ``mine`` if both are equal.

    The whole value of that side is kept, not only the field.

    Args:
        field: name of the field with the time, an aware datetime or its JSON text.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def resolve(self, base: object, theirs: object, mine: object) -> object:
        """Return the side with the later time.

        Raises:
            MergeConflictError: a side has no time with a zone in the field.
        """
        is_later = self._read_time(theirs, "theirs") > self._read_time(mine, "mine")
        return theirs if is_later else mine

    def _read_time(self, side: object, name: str) -> datetime:
        value = side.get(self._field) if isinstance(side, Mapping) else None
        if isinstance(value, (str, datetime)):
            try:
                return _TIME.validate_python(value)
            except pydantic.ValidationError:
                pass
        reason = f"the value of {name} is not a time with a zone, so the later side is unknown"
        raise MergeConflictError(
            f"cannot merge by {self._field}: {reason}", reasons={self._field: reason}
        )


class FieldLevelMergeStrategy(MergeStrategy):
    """Strategy for mappings: each field that both sides changed differently has its own strategy.

    Removing a field is a change.

    Args:
        fields: strategies by name of the field.
        default: strategy for all other fields; without one, they are in conflict.
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
        """Return a mapping with the merged value of each field.

        Raises:
            MergeConflictError: fields have no strategy, or their strategy cannot merge them; the
                error lists all such fields.
        """
        before = {} if base is ABSENT else base
        if not (
            isinstance(before, Mapping)
            and isinstance(theirs, Mapping)
            and isinstance(mine, Mapping)
        ):
            raise _build_conflict(theirs, mine)
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
            raise _build_conflict(theirs, mine)
        return strategy.merge(base, theirs, mine)


class DeepMergeStrategy(FieldLevelMergeStrategy):
    """Strategy for nested mappings, field by field; a list without a strategy is one value.

    Args:
        fields: strategies by name of the field, at the top level.
        default: strategy for any other value that both sides changed and that is not a mapping, at
            any depth.
    """

    def _resolve_field(self, name: str, base: object, theirs: object, mine: object) -> object:
        is_nested = base is ABSENT or isinstance(base, Mapping)
        is_nested = is_nested and isinstance(theirs, Mapping) and isinstance(mine, Mapping)
        if is_nested and name not in self._fields:
            return DeepMergeStrategy(default=self._default).resolve(base, theirs, mine)
        return super()._resolve_field(name, base, theirs, mine)


class UnionListMergeStrategy(MergeStrategy):
    """Strategy for lists that keeps the items a side added and drops the items a side removed.

    The items of ``theirs`` come first, then the new items of ``mine``; an item that both sides
    added appears once. A change of the order alone is lost.

    Args:
        key: field that identifies an object in the list, a text or a whole number; without it,
            items are compared as wholes.
        items: strategy for an object that both sides changed; without it, the object is in
            conflict.
    """

    def __init__(self, *, key: str | None = None, items: IMergeStrategy | None = None) -> None:
        if items is not None and key is None:
            raise ConfigError("a strategy for items needs their identity; pass key=, too")
        self._key = key
        self._items = FieldLevelMergeStrategy(default=items)

    def resolve(self, base: object, theirs: object, mine: object) -> list[object]:
        """Return the united list.

        Raises:
            MergeConflictError: a value is not a list, or both sides changed an object.
        """
        sides = [[] if base is ABSENT else base, theirs, mine]
        lists = [side for side in sides if isinstance(side, (list, tuple))]
        if len(lists) < len(sides):
            raise _build_conflict(theirs, mine)
        if self._key is None:
            return _unite(*lists)
        sides_by_key = (_index_items(side, self._key) for side in lists)
        return list(self._items.merge(*sides_by_key).values())


def merge_three_way(
    base: object, theirs: object, mine: object, resolve: Callable[[object, object, object], object]
) -> object:
    """Return a copy of the side that changed, or of the result of ``resolve`` if both did."""
    before, stored, new = freeze(base), freeze(theirs), freeze(mine)
    if stored == new or before == new:
        return _copy(theirs)
    return _copy(mine if before == stored else resolve(base, theirs, mine))


def freeze(value: object) -> Hashable:
    """Return a hashable key that is equal for equal values.

    A value that is not JSON-like, but has a hash, is compared with values of its own type only.

    Raises:
        InvalidOperationError: a value has no hash and is neither a mapping nor a list.
    """
    if isinstance(value, Mapping):
        return Mapping, frozenset((freeze(key), freeze(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return list, tuple(map(freeze, value))
    try:
        hash(value)
    except TypeError as error:
        raise InvalidOperationError(
            f"cannot merge a {type(value).__name__}; pass JSON-like values, as "
            "model_dump(mode='json') returns them"
        ) from error
    # NaN does not equal itself and would count as a change on every side.
    return type(value), value if value == value else repr(value)


def _copy(value: object) -> object:
    """Return a copy made of dicts and lists, which shares no mutable object with the value."""
    if isinstance(value, Mapping):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(each) for each in value]
    return value


def _build_conflict(theirs: object, mine: object) -> MergeConflictError:
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
            problem = f"two items have the same {key}"
        else:
            found[value] = item
            continue
        raise MergeConflictError(
            f"cannot merge lists by {key}: {problem}; choose one side", reasons={"": problem}
        )
    return found


_TIME: pydantic.TypeAdapter[datetime] = pydantic.TypeAdapter(pydantic.AwareDatetime)
