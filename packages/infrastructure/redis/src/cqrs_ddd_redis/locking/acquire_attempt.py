"""State of a caller that waits for a lock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import ConfigError, LockingError
from cqrs_ddd_core.spi.leases import LockName


@dataclass(eq=False, slots=True)
class AcquireAttempt:
    """State of one attempt to acquire a lock, which sleeps between its requests.

    Args:
        name: name of the lock.
        owner: name of the attempt in Redis.
        ttl: seconds for which the lock is granted.
        deadline: end of the attempt, as the monotonic time of the clock.
        failure: error of the last request, None if the server replied.
        is_notified: True if the lock may have been released since the last sleep.
    """

    name: LockName
    owner: str
    ttl: float
    deadline: float
    failure: LockingError | ConfigError | None = None
    is_notified: bool = False
    _wake_up: asyncio.Future[None] | None = None

    def get_remaining(self, clock: IClock) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - clock.monotonic()

    def notify(self) -> None:
        """End the present or the next sleep; a notification may precede the reply of a request."""
        self.is_notified = True
        self._end_sleep()

    async def sleep(self, seconds: float) -> None:
        """Wait until ``notify`` is called, for ``seconds`` at most."""
        if self.is_notified:
            return
        loop = asyncio.get_running_loop()
        self._wake_up = loop.create_future()
        timer = loop.call_later(seconds, self._end_sleep)
        try:
            await self._wake_up
        finally:
            self._wake_up = None
            timer.cancel()

    def _end_sleep(self) -> None:
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)
