"""Port of the clock."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable
class IClock(Protocol):
    """Source of time, which tests replace by a fake."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        ...

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds that never decrease, for measuring durations."""
        ...

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Suspend the running task for ``seconds``."""
        ...
