"""The one engine of all strategies: who changed what."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..exceptions import MergeConflictError
from ..ports.conflict import ABSENT, IMergeStrategy


class MergeStrategy(IMergeStrategy):
    """Subclasses say what becomes of a value that both sides changed differently.

    True is not 1, and 1 is not 1.0; the order of the keys of a mapping does not count.
    """

    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        return three_way(base, theirs, mine, self.resolve)

    @abstractmethod
    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        """All three differ. Raises ``MergeConflictError``."""
        ...


def three_way(base: Any, theirs: Any, mine: Any, resolve: Callable[[Any, Any, Any], Any]) -> Any:
    """A copy of what only one side changed, or both alike; else what ``resolve`` makes of it."""
    before, stored, new = identity(base), identity(theirs), identity(mine)
    if stored == new or before == new:
        return plain(theirs)
    if before == stored:
        return plain(mine)
    return plain(resolve(base, theirs, mine))


def identity(value: Any) -> Hashable:
    """Equal for values that are the same; raises ``InvalidOperationError`` for other than JSON.

    Whatever has a hash will do as well: it is compared with its own type only.
    """
    if isinstance(value, Mapping):
        return Mapping, frozenset((identity(k), identity(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return list, tuple(map(identity, value))
    try:
        hash(value)
    except TypeError as error:
        raise InvalidOperationError(
            f"cannot merge a {type(value).__name__}; give it as JSON-like values, as "
            "model_dump(mode='json') does"
        ) from error
    # What does not equal itself, such as NaN, would count as a change on every side.
    return type(value), value if value == value else repr(value)


def plain(value: Any) -> Any:
    """A copy in dicts and lists."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def both_changed(theirs: Any, mine: Any) -> MergeConflictError:
    """For a value as a whole that no strategy may choose."""
    if theirs is ABSENT or mine is ABSENT:
        reason = "one side removed it, and the other changed it"
    else:
        reason = "both sides changed it, and not to the same"
    return MergeConflictError(f"cannot merge: {reason}; choose one side", reasons={"": reason})
