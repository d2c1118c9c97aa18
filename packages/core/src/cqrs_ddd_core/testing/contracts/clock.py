"""What every clock must do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from ...ports.clock import IClock

Pass = Callable[[float], Awaitable[None]]


class ClockContract:
    """Fixtures: ``clock``; ``pass_time``, which lets so many seconds pass on it."""

    async def test_it_tells_the_time_with_its_zone(self, clock: IClock) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    async def test_both_readings_move_on_together(self, clock: IClock, pass_time: Pass) -> None:
        now, reading = clock.now(), clock.monotonic()

        await pass_time(0.05)

        assert clock.monotonic() - reading >= 0.049
        assert clock.now() - now >= timedelta(seconds=0.049)

    async def test_a_sleeper_wakes_when_its_time_has_come_and_not_before(
        self, clock: IClock, pass_time: Pass
    ) -> None:
        asleep = asyncio.ensure_future(clock.sleep(0.2))
        await pass_time(0.01)
        assert not asleep.done()

        await pass_time(0.3)

        assert asleep.done()

    async def test_no_time_is_no_wait(self, clock: IClock) -> None:
        for seconds in (0, -1.0):
            await asyncio.wait_for(clock.sleep(seconds), timeout=5)

    async def test_a_sleeper_can_be_cancelled(self, clock: IClock, pass_time: Pass) -> None:
        asleep = asyncio.ensure_future(clock.sleep(0.02))
        await asyncio.sleep(0)

        asleep.cancel()
        await pass_time(0.05)

        assert asleep.cancelled()
