"""Ids that a test can know beforehand."""

from itertools import count

from ...primitives.id_generator import IIdGenerator


class SequentialIdGenerator(IIdGenerator):
    """``id-1``, ``id-2`` and so on."""

    def __init__(self, prefix: str = "id-") -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def next_id(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"
