"""Merging of a value that two sides changed."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable


class AbsentType(Enum):
    """Type of ``ABSENT``."""

    ABSENT = "absent"


ABSENT: Final = AbsentType.ABSENT
"""Value of a field that one side does not have; returned by a strategy, it removes the field."""


@runtime_checkable
class IMergeStrategy(Protocol):
    """Strategy that merges two changes of one JSON-like value: a whole state, or a field.

    Equal arguments give equal results. A strategy does not change its arguments, and its result
    shares no mutable part with them.
    """

    @abstractmethod
    def merge(self, base: object, theirs: object, mine: object) -> Any:
        """Merge ``theirs``, the stored value, and ``mine``, which were both made from ``base``.

        A change of one side only is kept.

        Raises:
            MergeConflictError: if both sides changed the value and a person has to choose.
        """
        ...
