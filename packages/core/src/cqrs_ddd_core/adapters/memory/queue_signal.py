"""Waiters between the tasks of one process."""

from __future__ import annotations

import asyncio

from ...ports.queue_signal import IQueueSignal
from ...spi.waiters import Waiters


class InMemoryQueueSignal(IQueueSignal):
    """Wakes everybody who waits on the channel at that moment; nobody else hears of it."""

    def __init__(self) -> None:
        self._hints = Waiters()

    async def notify(self, channel: str) -> None:
        await asyncio.sleep(0)
        self._hints.notify(channel)

    async def wait(self, channel: str, timeout: float) -> bool:
        return await self._hints.wait(channel, timeout)
