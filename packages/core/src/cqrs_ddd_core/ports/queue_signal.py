"""Wake-up notifications for workers; polling must suffice without them."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable


@runtime_checkable
class IQueueSignal(Protocol):
    """Notifier of waiters on a channel; a notification may be lost, or come without work."""

    @abstractmethod
    async def notify(self, channel: str) -> None: ...

    @abstractmethod
    async def wait(self, channel: str, timeout: float) -> bool:
        """Return whether a notification came within ``timeout`` seconds."""
        ...
