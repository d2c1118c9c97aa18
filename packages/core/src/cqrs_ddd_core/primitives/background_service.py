"""Loops that begin and end with a worker."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from .exceptions import InvalidOperationError

W = TypeVar("W", bound="BackgroundService")

logger = logging.getLogger(__name__)


class BackgroundService(ABC):
    """Starts its loops as tasks, and stops by waiting until each has come to its end.

    Subclasses look at ``is_stopping``, and wait by ``wait_or_stop`` and ``wait``.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on until it is stopped."""
        ...

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def start(self) -> None:
        """Raises ``InvalidOperationError`` when it is started already."""
        if self._tasks:
            raise InvalidOperationError(
                f"the {type(self).__name__} is started already; stop it first"
            )
        self._tasks = [asyncio.ensure_future(each) for each in self.loops()]

    async def stop(self) -> None:
        """Returns when what was begun is finished or handed back."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a loop of %s had ended", type(self).__name__, exc_info=error)
        self._tasks = []
        self._stopping = asyncio.Event()

    async def __aenter__(self: W) -> W:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def wait(self, pause: Coroutine[Any, Any, object]) -> None:
        """Until the pause is over, or the worker stops; then the pause is cancelled."""
        task = asyncio.ensure_future(pause)
        try:
            await self.wait_or_stop(task)
        finally:
            task.cancel()

    async def wait_or_stop(self, event: asyncio.Future[Any]) -> None:
        """As ``wait``, without an end of the event."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        either: list[asyncio.Future[Any]] = [event, stopped]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
