"""Waiters for wake-up notifications within one process."""

import asyncio


class Waiters:
    """Waiters by channel; a notification wakes only the tasks that already wait."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def notify(self, channel: str) -> None:
        """Wake the tasks that wait on the channel."""
        for waiter in self._waiting.get(channel, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, channel: str, timeout: float) -> bool:
        """Wait for a notification; return False if none arrives within ``timeout`` seconds."""
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
