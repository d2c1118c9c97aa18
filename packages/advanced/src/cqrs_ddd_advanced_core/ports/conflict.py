"""Port of strategies that merge two changes of one value."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable


class AbsentType(Enum):
    """Type of ``ABSENT``."""

    ABSENT = "absent"


ABSENT: Final = AbsentType.ABSENT
"""Value of a field that one side lacks; a strategy returns it to remove the field."""


@runtime_checkable
class IMergeStrategy(Protocol):
    """Strategy that merges two changes of one JSON-like value: a whole state, or a field.

    Equal arguments give equal results. A strategy does not change its arguments, and its result
    shares no mutable object with them.
    """

    @abstractmethod
    def merge(self, base: object, theirs: object, mine: object) -> Any:
        """Return one value with both changes; if only one side changed the value, return that side.

        Args:
            base: value that both sides started from, ``ABSENT`` if there was none.
            theirs: value that is stored now.
            mine: value to be written.

        Raises:
            MergeConflictError: both sides changed the value and a person has to choose.
        """
        ...
