"""Time that passes when a test says so."""

import asyncio
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush
from itertools import count

from ...ports.clock import IClock
from ...primitives.exceptions import InvalidOperationError, NaiveDatetimeError

_TURNS = 10


class FakeClock(IClock):
    """Stands still until ``advance``, which wakes the sleepers that are due, in order."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)) -> None:
        if start.tzinfo is None:
            raise NaiveDatetimeError.without_zone("the start of the clock", start, field="start")
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tickets = count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._elapsed + seconds, next(self._tickets), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass; each sleeper runs on at its own time before the next is woken."""
        if seconds < 0:
            raise InvalidOperationError(f"time cannot go back: advance({seconds})")
        end = self._elapsed + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._elapsed, _, woken = heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._elapsed = end


async def _settle() -> None:
    """Let tasks run until they wait again; one that is woken may have to wake others first."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
