"""Services that run loops in the background."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar

from .exceptions import ConcealedError, InvalidOperationError, describe_error, is_outage
from .retry import ExponentialBackoffPolicy, RetryPolicy
from .shielding import isolate

W = TypeVar("W", bound="BackgroundService")

Loops = Sequence[Callable[[], Coroutine[Any, Any, None]]]
"""Functions that run until the service stops; after an error each is called again."""

logger = logging.getLogger(__name__)

_PROBATION = 1.0
"""Seconds for which a loop that failed has to run before it counts as running again."""
_CANCELLATION = 1.0
"""Seconds that a loop may take to end after its cancellation."""


class ServiceState(Enum):
    """Condition of a background service."""

    STOPPED = "stopped"
    """Not started, or stopped."""
    RUNNING = "running"
    FAILING = "failing"
    """A loop has failed; it waits for its next start, or was started less than a second ago."""
    ENDED = "ended"
    """A loop has ended by itself and is not started again."""


@dataclass(frozen=True)
class ServiceStatus:
    """Status of a background service at one moment.

    Attributes:
        state: condition of the service; the worst one of its loops.
        restarts: number of times that a loop was started again after an error.
        error: last error of a failing loop, or None.
    """

    state: ServiceState
    restarts: int = 0
    error: BaseException | None = None


class BackgroundService(ABC):
    """Service that runs loops as tasks, and starts a loop again that ends with an error.

    The loops check ``is_stopping``, and wait with ``wait_or_stop`` and ``wait``. A
    ``CancelledError`` that a loop raises without having been cancelled counts as an error.
    """

    restart_policy: ClassVar[RetryPolicy] = ExponentialBackoffPolicy(base=1.0, maximum=30.0)
    """Pause before a loop starts again; its number of tries is not limited."""

    stop_grace: ClassVar[float] = 10.0
    """Seconds that ``stop`` without an argument waits before it cancels the loops."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._loops: list[_Loop] = []

    @abstractmethod
    def create_loops(self) -> Loops:
        """Return the loops to run; each has to end when the service stops."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Return whether ``stop`` was called and the loops have not ended yet."""
        return self._stopping.is_set()

    @property
    def status(self) -> ServiceStatus:
        """Return the present state with its last error."""
        if not self._loops:
            return ServiceStatus(ServiceState.STOPPED)
        restarts = sum(loop.restarts for loop in self._loops)
        states = [loop.state for loop in self._loops]
        for state in (ServiceState.FAILING, ServiceState.ENDED):
            if state in states:
                return ServiceStatus(state, restarts, self._loops[states.index(state)].error)
        return ServiceStatus(ServiceState.RUNNING, restarts)

    async def start(self) -> None:
        """Start the loops.

        Raises:
            InvalidOperationError: the loops are already running.
        """
        if self._loops:
            raise InvalidOperationError(
                f"the {type(self).__name__} is already running; stop it first"
            )
        self._loops = [_Loop(self, run) for run in self.create_loops()]

    async def stop(self, grace: float | None = None) -> None:
        """Stop the loops; return when work in progress is finished or released.

        Args:
            grace: seconds after which a loop that has not ended is cancelled, by default
                ``stop_grace``; a loop that ignores its cancellation for another second is
                abandoned.
        """
        grace = self.stop_grace if grace is None else grace
        self._stopping.set()
        late = await self._wait_for_loops(grace)
        for task in late:
            logger.warning("%s is cancelled: not stopped in %s s", type(self).__name__, grace)
            task.cancel()
        if late and await self._wait_for_loops(_CANCELLATION):
            logger.error("%s is abandoned: it ignores its cancellation", type(self).__name__)
        self._loops = []
        self._stopping = asyncio.Event()

    async def _wait_for_loops(self, timeout: float) -> set[asyncio.Task[None]]:
        """Wait until all loops have ended; return the tasks that have not after the timeout."""
        tasks = {loop.task for loop in self._loops}
        return (await asyncio.wait(tasks, timeout=timeout))[1] if tasks else tasks

    async def __aenter__(self: W) -> W:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def wait(self, pause: Coroutine[Any, Any, object]) -> None:
        """Await the pause, or cancel it if the service stops first."""
        task = asyncio.ensure_future(pause)
        try:
            await self.wait_or_stop(task)
        finally:
            task.cancel()

    async def wait_or_stop(self, event: asyncio.Future[Any]) -> None:
        """Wait for the event, or until the service stops; do not cancel the event."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        either: list[asyncio.Future[Any]] = [event, stopped]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()


class _Loop:
    """Task of one loop, which calls the loop again after an error."""

    def __init__(
        self, owner: BackgroundService, run: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self.restarts = 0
        self.error: BaseException | None = None
        self._owner = owner
        self._run = run
        self._started: float | None = None
        self._clock = asyncio.get_running_loop().time
        self.task = asyncio.ensure_future(self._keep_running())

    @property
    def state(self) -> ServiceState:
        if self.task.done():
            return ServiceState.ENDED
        if self.error is None:
            return ServiceState.RUNNING
        is_proven = self._started is not None and self._clock() - self._started >= _PROBATION
        return ServiceState.RUNNING if is_proven else ServiceState.FAILING

    async def _keep_running(self) -> None:
        failures, pause = 0, 0.0
        while True:
            begin = self._started = self._clock()
            try:
                return await isolate(self._run())
            except Exception as error:
                self.error, self._started = error, None
            policy, name = self._owner.restart_policy, type(self._owner).__name__
            if self._owner.is_stopping:
                self._log("a loop of %s ended with an error", name)
                return None
            # A loop that ran for longer than its pause had recovered from the error before.
            has_recovered = self._clock() - begin > max(pause, _PROBATION)
            failures = 1 if has_recovered else failures + 1
            pause = policy.get_backoff(failures)
            self._log("a loop of %s failed; it starts again in %.1f s", name, pause)
            await self._owner.wait(asyncio.sleep(pause))
            self.restarts += 1

    def _log(self, text: str, *values: object) -> None:
        if self.error is None:
            return
        if is_outage(self.error):
            logger.error(f"{text}: %s", *values, describe_error(self.error))
        else:
            logger.error(text, *values, exc_info=ConcealedError(self.error))
