"""Services that run loops in the background."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from .exceptions import InvalidOperationError

W = TypeVar("W", bound="BackgroundService")

Loops = Sequence[Coroutine[Any, Any, None]]
"""Coroutines that run until the service stops."""

logger = logging.getLogger(__name__)


class BackgroundService(ABC):
    """Service that runs its loops as tasks, and stops by waiting until each has ended.

    The loops check ``is_stopping``, and wait with ``wait_or_stop`` and ``wait``.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    def create_loops(self) -> Loops:
        """Return the coroutines to run; each has to end when the service stops."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Return whether ``stop`` was called and the loops have not ended yet."""
        return self._stopping.is_set()

    async def start(self) -> None:
        """Start the loops.

        Raises:
            InvalidOperationError: the loops are already running.
        """
        if self._tasks:
            raise InvalidOperationError(
                f"the {type(self).__name__} is already running; stop it first"
            )
        self._tasks = [asyncio.ensure_future(each) for each in self.create_loops()]

    async def stop(self) -> None:
        """Stop the loops; return when work in progress is finished or released."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error(
                    "a loop of %s ended with an error", type(self).__name__, exc_info=error
                )
        self._tasks = []
        self._stopping = asyncio.Event()

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
