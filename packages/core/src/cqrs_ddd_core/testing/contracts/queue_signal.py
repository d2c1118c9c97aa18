"""Contract of wake-up notifications."""

from __future__ import annotations

import asyncio
from itertools import count

from ...ports.queue_signal import IQueueSignal
from ..faults import cancel_sweep


class QueueSignalContract:
    """Contract of ``IQueueSignal``.

    Fixtures:
        signal: The signal under test.
    """

    async def test_notification_wakes_all_waiters_of_its_channel(
        self, signal: IQueueSignal
    ) -> None:
        channel, other = _channel(), _channel()
        waiting = [asyncio.ensure_future(signal.wait(channel, 30)) for _ in range(3)]
        elsewhere = asyncio.ensure_future(signal.wait(other, 0.2))
        await asyncio.sleep(0.05)

        await signal.notify(channel)

        assert await asyncio.gather(*waiting) == [True, True, True]
        assert not await elsewhere

    async def test_wait_on_a_channel_without_a_notification_times_out(
        self, signal: IQueueSignal
    ) -> None:
        assert not await signal.wait(_channel(), 0.02)
        assert not await signal.wait(_channel(), 0)

    async def test_notification_without_waiters_does_nothing(self, signal: IQueueSignal) -> None:
        channel = _channel()

        await signal.notify(channel)

        waiting = asyncio.ensure_future(signal.wait(channel, 30))
        await asyncio.sleep(0.05)
        await signal.notify(channel)
        assert await waiting

    async def test_cancelled_waiter_does_not_affect_later_waiters_of_its_channel(
        self, signal: IQueueSignal
    ) -> None:
        channel = _channel()

        async def work() -> None:
            await signal.wait(channel, 0.01)

        async def check() -> None:
            waiting = asyncio.ensure_future(signal.wait(channel, 30))
            await asyncio.sleep(0.02)
            await signal.notify(channel)
            assert await waiting

        assert await cancel_sweep(work, check) > 0


_numbers = count(1)


def _channel() -> str:
    """Return a channel that no other test of this process uses."""
    return f"channel_{next(_numbers)}"
