"""Clock that tests advance."""

import asyncio
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush
from itertools import count

from ...ports.clock import IClock
from ...primitives.exceptions import InvalidOperationError, NaiveDatetimeError

_TURNS = 10


class FakeClock(IClock):
    """Clock that stands still until ``advance``, which ends the sleeps of tasks, in order.

    Args:
        start: first time that ``now`` returns (aware).

    Raises:
        NaiveDatetimeError: ``start`` has no time zone.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)) -> None:
        if start.tzinfo is None:
            raise NaiveDatetimeError.without_zone("the start of the clock", start, field="start")
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tickets = count()

    def now(self) -> datetime:
        """Return the start plus the seconds that the clock was advanced by."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds that the clock was advanced by."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` has moved the clock by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._elapsed + seconds, next(self._tickets), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let seconds pass; each sleeper runs at its own time before the next is woken."""
        if seconds < 0:
            raise InvalidOperationError(
                f"cannot advance the clock by {seconds} s; pass 0 or more seconds"
            )
        end = self._elapsed + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._elapsed, _, woken = heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._elapsed = end


async def _settle() -> None:
    """Let tasks run until they wait again; a task that is woken may first wake others."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
