"""Wake-up notifications between the tasks of one process."""

import asyncio

from ...ports.queue_signal import IQueueSignal
from ...spi.waiters import Waiters


class InMemoryQueueSignal(IQueueSignal):
    """Signal that wakes the tasks that are waiting on the channel at that moment."""

    def __init__(self) -> None:
        self._waiters = Waiters()

    async def notify(self, channel: str) -> None:
        """Wake the tasks of this process that wait on the channel."""
        await asyncio.sleep(0)
        self.wake(channel)

    def wake(self, channel: str) -> None:
        """Wake the tasks that wait on the channel, without suspending the caller."""
        self._waiters.notify(channel)

    async def wait(self, channel: str, timeout: float) -> bool:
        """Wait for a notification; return False if none arrives within ``timeout`` seconds."""
        return await self._waiters.wait(channel, timeout)
