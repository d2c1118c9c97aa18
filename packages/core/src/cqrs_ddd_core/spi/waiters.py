"""Waiting for wake-up notifications, of other processes and of this one."""

import asyncio
import logging

from ..ports import IClock, IQueueSignal
from ..primitives.exceptions import describe_error
from ..primitives.shielding import isolate

logger = logging.getLogger(__name__)


async def wait_for_notification(
    signal: IQueueSignal | None, channel: str, seconds: float, *, clock: IClock
) -> None:
    """Wait for a notification, at most for ``seconds``; without a working signal, for ``seconds``.

    Args:
        signal: source of notifications; its errors are logged. None waits by the clock alone.
        channel: channel of the notifications.
        seconds: longest wait.
        clock: measures the wait without a signal.
    """
    if signal is not None:
        try:
            await isolate(signal.wait(channel, seconds))
            return
        except Exception as error:
            text = describe_error(error)
            logger.warning("channel %s: %s from the signal; polling continues", channel, text)
    await clock.sleep(seconds)


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
