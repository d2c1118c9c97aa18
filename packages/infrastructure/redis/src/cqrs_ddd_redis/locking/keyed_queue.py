"""One after the other, within this process."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """For each name one at a time, in the order they came."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, name: str, timeout: float) -> bool:
        """Whether it is our turn within ``timeout`` seconds; it is until ``end``."""
        line = self._lines.get(name)
        if line is None:
            self._lines[name] = deque()
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await asyncio.wait({turn}, timeout=timeout)
            return turn.done()
        except asyncio.CancelledError:
            if turn.done():
                self.end(name)
            raise
        finally:
            if not turn.done():
                line.remove(turn)

    def end(self, name: str) -> None:
        if line := self._lines[name]:
            line.popleft().set_result(None)
        else:
            del self._lines[name]
