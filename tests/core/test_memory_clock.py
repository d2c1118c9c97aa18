from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, NaiveDatetimeError
from cqrs_ddd_core.spi.system_clock import SystemClock

START = datetime(2026, 5, 1, tzinfo=timezone.utc)


async def test_it_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0)

    await clock.advance(90)

    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=90), 90)


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock = FakeClock(START)
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    sleepers = [
        asyncio.ensure_future(sleep(name, seconds))
        for name, seconds in (("late", 30), ("early", 10), ("at once", 0), ("later", 60))
    ]
    await clock.advance(30)

    assert woken == [("at once", 0), ("early", 10), ("late", 30)]
    sleepers[3].cancel()
    await clock.advance(60)
    assert len(woken) == 3


async def test_a_sleeper_may_sleep_again_within_one_advance() -> None:
    clock = FakeClock(START)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(10)
            ticks.append(clock.monotonic())

    task = asyncio.ensure_future(tick())
    await clock.advance(35)
    task.cancel()

    assert ticks == [10, 20, 30]


async def test_time_does_not_go_back() -> None:
    with pytest.raises(InvalidOperationError, match="cannot advance the clock by"):
        await FakeClock().advance(-1)


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(NaiveDatetimeError, match="pass an aware datetime") as caught:
        FakeClock(datetime(2026, 5, 1))

    assert caught.value.field == "start"


async def test_the_machines_clock_moves_on() -> None:
    clock: IClock = SystemClock()
    before = clock.monotonic()

    await clock.sleep(0.001)

    assert clock.monotonic() > before
    assert clock.now().tzinfo is timezone.utc
