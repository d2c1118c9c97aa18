"""First-come, first-served queues within one process."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Turn = asyncio.Future[None]
C = TypeVar("C")
"""Object by which the owner of the queue identifies a caller."""


class KeyedQueue(Generic[C]):
    """Queues of callers by key; one caller of each queue has the turn.

    ``current`` maps each key to the caller that has the turn.

    Args:
        on_turn: called when the turn passes to a caller that has waited.
    """

    def __init__(self, on_turn: Callable[[C], object] | None = None) -> None:
        self.current: dict[Hashable, C] = {}
        self._on_turn = on_turn
        self._waiting: dict[Hashable, deque[tuple[Turn, C]]] = {}

    def try_enter(self, key: Hashable, caller: C) -> bool:
        """Take the turn until ``leave`` if it is free; return whether it was."""
        if key in self.current:
            return False
        self.current[key] = caller
        return True

    async def wait_turn(
        self, key: Hashable, caller: C, wait: Callable[[Turn], Awaitable[object]]
    ) -> bool:
        """Queue behind the caller that has the turn, and return whether the turn came.

        ``wait`` awaits the future of the turn for as long as the caller is willing to wait.
        """
        turn: Turn = asyncio.get_running_loop().create_future()
        entry = turn, caller
        waiting = self._waiting.setdefault(key, deque())
        waiting.append(entry)
        try:
            await wait(turn)
            return turn.done()
        except BaseException:
            # Cancelled after it got the turn: pass the turn on, or the next caller waits forever.
            if turn.done() and self.current.get(key) is caller:
                self.leave(key)
            raise
        finally:
            if not turn.done():
                waiting.remove(entry)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]

    def leave(self, key: Hashable) -> None:
        """Pass the turn to the caller that has waited longest."""
        waiting = self._waiting.get(key)
        if not waiting:
            del self.current[key]
            return
        turn, caller = waiting.popleft()
        self.current[key] = caller
        if self._on_turn is not None:
            self._on_turn(caller)
        turn.set_result(None)
