"""What becomes of a value that two sides changed."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable


class Absent(Enum):
    """The type of ``ABSENT``."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""The value of a field that one side does not have; as an answer it removes the field."""


@runtime_checkable
class IMergeStrategy(Protocol):
    """Brings two changes of one value together; the value is JSON-like: a whole state, or a field.

    The same of the same, its arguments left as they are, and nothing of them in what it answers.
    """

    @abstractmethod
    def merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        """``theirs`` and ``mine`` were both made from ``base``; ``theirs`` is what is stored now.

        What only one side changed is taken. Raises ``MergeConflictError``.
        """
        ...
