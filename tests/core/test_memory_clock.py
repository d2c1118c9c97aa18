from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from cqrs_ddd_core.adapters.memory import FakeClock
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, NaiveDatetimeError
from cqrs_ddd_core.spi.system_clock import SystemClock

START = datetime(2026, 5, 1, tzinfo=timezone.utc)


async def test_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0)

    await clock.advance(90)

    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=90), 90)


async def test_sleeps_on_the_fake_clock_end_in_order_at_their_own_times() -> None:
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


async def test_repeated_sleeps_end_within_one_advance_of_the_fake_clock() -> None:
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


async def test_fake_clock_cannot_go_back() -> None:
    with pytest.raises(InvalidOperationError, match="cannot advance the clock by"):
        await FakeClock().advance(-1)


def test_fake_clock_rejects_a_start_without_a_zone() -> None:
    with pytest.raises(NaiveDatetimeError, match="pass an aware datetime") as caught:
        FakeClock(datetime(2026, 5, 1))

    assert caught.value.field == "start"


async def test_system_clock_advances_in_utc() -> None:
    clock: IClock = SystemClock()
    before = clock.monotonic()

    await clock.sleep(0.001)

    assert clock.monotonic() > before
    assert clock.now().tzinfo is timezone.utc
