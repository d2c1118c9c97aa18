"""Port of wake-up notifications for workers; polling has to suffice without them."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable


@runtime_checkable
class IQueueSignal(Protocol):
    """Wake-up notifications by channel; one may be lost, or arrive without any work."""

    @abstractmethod
    async def notify(self, channel: str) -> None:
        """Wake all tasks that wait on the channel."""
        ...

    @abstractmethod
    async def wait(self, channel: str, timeout: float) -> bool:
        """Wait for a notification; return False if none arrives within ``timeout`` seconds."""
        ...
