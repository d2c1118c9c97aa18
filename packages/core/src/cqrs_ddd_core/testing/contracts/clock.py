"""Contract of clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from ...ports.clock import IClock

PassTime = Callable[[float], Awaitable[None]]


class ClockContract:
    """Contract of ``IClock``.

    Fixtures:
        clock: The clock under test.
        pass_time: Coroutine function that lets the given number of seconds pass on the clock.
    """

    async def test_clock_returns_the_current_time_in_utc(self, clock: IClock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    async def test_wall_clock_and_monotonic_clock_advance_together(
        self, clock: IClock, pass_time: PassTime
    ) -> None:
        now, reading = clock.now(), clock.monotonic()

        await pass_time(0.05)

        assert clock.monotonic() - reading >= 0.049
        assert clock.now() - now >= timedelta(seconds=0.049)

    async def test_clock_sleep_ends_after_its_duration_and_not_before(
        self, clock: IClock, pass_time: PassTime
    ) -> None:
        sleeping = asyncio.ensure_future(clock.sleep(0.2))
        await pass_time(0.01)
        assert not sleeping.done()

        await pass_time(0.3)

        assert sleeping.done()

    async def test_clock_sleep_of_zero_or_negative_seconds_returns_at_once(
        self, clock: IClock
    ) -> None:
        for seconds in (0, -1.0):
            await asyncio.wait_for(clock.sleep(seconds), timeout=5)

    async def test_clock_sleep_can_be_cancelled(self, clock: IClock, pass_time: PassTime) -> None:
        sleeping = asyncio.ensure_future(clock.sleep(0.02))
        await asyncio.sleep(0)

        sleeping.cancel()
        await pass_time(0.05)

        assert sleeping.cancelled()
