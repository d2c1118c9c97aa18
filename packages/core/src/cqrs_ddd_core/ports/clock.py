"""Time, to be injected."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable


@runtime_checkable
class IClock(Protocol):
    """Tells the time and waits."""

    @abstractmethod
    def now(self) -> datetime:
        """Aware, in UTC."""
        ...

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never go back, for measuring spans."""
        ...

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...


class SystemClock(IClock):
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
