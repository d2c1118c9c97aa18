"""Clock of the machine."""

import asyncio
import time
from datetime import datetime, timezone

from ..ports.clock import IClock


class SystemClock(IClock):
    """Clock of the machine, in UTC and monotonic; workers and adapters use it by default."""

    def now(self) -> datetime:
        """Return the time of the machine, aware and in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Suspend the running task for ``seconds``."""
        await asyncio.sleep(seconds)
