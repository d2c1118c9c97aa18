"""A hint that there is work; polling must suffice without it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable


@runtime_checkable
class IQueueSignal(Protocol):
    """Wakes those who wait on a channel; a hint may be lost, and may come for nothing."""

    @abstractmethod
    async def notify(self, channel: str) -> None: ...

    @abstractmethod
    async def wait(self, channel: str, timeout: float) -> bool:
        """Whether a hint came within ``timeout`` seconds."""
        ...
