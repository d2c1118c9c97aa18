"""Generator of ids that a test can predict."""

from itertools import count

from ...primitives.id_generator import IIdGenerator


class SequentialIdGenerator(IIdGenerator):
    """Generator of ``id-1``, ``id-2`` and so on.

    Args:
        prefix: text before the number.
    """

    def __init__(self, prefix: str = "id-") -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def next_id(self) -> str:
        """Return the prefix with the next number."""
        return f"{self._prefix}{next(self._numbers)}"
