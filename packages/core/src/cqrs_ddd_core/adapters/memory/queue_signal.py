"""Hints between the tasks of one process."""

from __future__ import annotations

import asyncio

from ...ports.queue_signal import IQueueSignal


class InMemoryQueueSignal(IQueueSignal):
    """Wakes everybody who waits on the channel at that moment; nobody else hears of it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def notify(self, channel: str) -> None:
        await asyncio.sleep(0)
        for waiter in self._waiting.get(channel, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, channel: str, timeout: float) -> bool:
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(channel, set())
        waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
            return waiter.done()
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(channel, None)
