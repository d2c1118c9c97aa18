"""One who asks servers for a lock until a majority of them grants it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Bid:
    """What it asked for, and what it was told in its last round; times are in seconds."""

    resource: str
    owner: str
    ttl: float
    deadline: float
    majority: int
    rounds: int = 0
    splits: int = 0
    answered: Sequence[int] = ()
    held_for: float = math.inf
    failure: str | None = None
    freed: set[int] = field(default_factory=set)
    called: asyncio.Future[None] | None = None

    def next_owner(self) -> str:
        """A new one each time: what is given back late must not be what was granted since."""
        self.rounds += 1
        return f"{self.owner}:{self.rounds}"

    def hear(self, server: int) -> None:
        self.freed.add(server)
        if self._is_free() and self.called is not None and not self.called.done():
            self.called.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Until a majority has called since it was asked, or for so long."""
        if self._is_free():
            return
        self.called = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({self.called}, timeout=seconds)
        finally:
            self.called = None

    def _is_free(self) -> bool:
        return len(self.freed) >= self.majority
