"""Clock of the machine."""

import asyncio
import time
from datetime import datetime, timezone

from ..ports.clock import IClock


class SystemClock(IClock):
    """Clock of the machine, which workers and adapters use unless they are given another."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
