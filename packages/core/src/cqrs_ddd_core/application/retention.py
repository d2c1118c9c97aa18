"""Service that deletes old rows of outbox and inbox."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from ..context import system_tenant
from ..ports import IBackend, IClock
from ..primitives.background_service import BackgroundService, Loops
from ..primitives.exceptions import ConfigError
from ..spi.system_clock import SystemClock
from .services import IService

_LIMIT = 1000
"""Rows that one transaction deletes."""


class Retention(IService):
    """Service that deletes old messages from outbox and inbox, for all tenants.

    It may run in several processes at once. Its name is ``retention``.

    Args:
        outbox: time for which a published message is kept; messages that are not published stay.
        inbox: time for which a handled message or command is kept; a repetition after this time is
            handled again.
        interval: seconds between two purges.
        clock: source of time; tests pass their own.

    Raises:
        ConfigError: a time is not positive.

    Example:
        ```python
        from datetime import timedelta

        from cqrs_ddd_core import Application, InMemoryBackend, Retention

        retention = Retention(outbox=timedelta(days=7), inbox=timedelta(days=90))
        app = Application(InMemoryBackend(), services=[retention])
        ```
    """

    def __init__(
        self,
        *,
        outbox: timedelta = timedelta(days=7),
        inbox: timedelta = timedelta(days=30),
        interval: float = 60.0,
        clock: IClock | None = None,
    ) -> None:
        for name, period in {"outbox": outbox, "inbox": inbox}.items():
            if period <= timedelta():
                raise ConfigError(
                    f"{name}={period} keeps no message; pass a positive timedelta", variable=name
                )
        self._outbox = outbox
        self._inbox = inbox
        self._interval = interval
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        """Name of the service in logs and in the health of the application."""
        return "retention"

    def bind(self, backend: IBackend) -> "RetentionWorker":
        """Create the worker on the connections for background work."""
        return RetentionWorker(
            backend.background,
            outbox=self._outbox,
            inbox=self._inbox,
            interval=self._interval,
            clock=self._clock,
        )


class RetentionWorker(BackgroundService):
    """Worker of ``Retention`` on one backend.

    Args:
        backend: stores with the rows to delete.
        outbox: time for which a published message is kept.
        inbox: time for which a handled message is kept.
        interval: seconds between two purges.
        clock: source of time.
    """

    def __init__(
        self,
        backend: IBackend,
        *,
        outbox: timedelta,
        inbox: timedelta,
        interval: float,
        clock: IClock,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._outbox = outbox
        self._inbox = inbox
        self._interval = interval
        self._clock = clock

    def create_loops(self) -> Loops:
        """Return the loop that purges until the worker stops."""
        return (self._run,)

    async def run_once(self) -> int:
        """Delete all rows that are old now, in batches; return their number."""
        now, backend = self._clock.now(), self._backend
        with system_tenant():
            return await self._purge(
                lambda: backend.outbox.purge(now - self._outbox, limit=_LIMIT)
            ) + await self._purge(lambda: backend.inbox.purge(now - self._inbox, limit=_LIMIT))

    async def _run(self) -> None:
        while not self.is_stopping:
            await self.run_once()
            await self.wait(self._clock.sleep(self._interval))

    async def _purge(self, delete_batch: Callable[[], Awaitable[int]]) -> int:
        """Delete batches until one is not full, or the worker stops."""
        total = deleted = await delete_batch()
        while deleted == _LIMIT and not self.is_stopping:
            deleted = await delete_batch()
            total += deleted
        return total
