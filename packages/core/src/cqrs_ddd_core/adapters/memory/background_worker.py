"""Jobs in a queue of this process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ...ports.background_worker import IBackgroundWorker
from ...primitives.exceptions import InvalidOperationError
from ...primitives.id_generator import IIdGenerator, UUID7Generator

logger = logging.getLogger(__name__)


class InMemoryBackgroundWorker(IBackgroundWorker):
    """Hands one job after the other to ``handler``; a job that fails is logged and done with."""

    def __init__(
        self, handler: Callable[[Any], Awaitable[object]], *, ids: IIdGenerator | None = None
    ) -> None:
        self._handler = handler
        self._ids = ids or UUID7Generator()
        self._jobs: deque[tuple[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    async def enqueue(self, job: Any) -> str:
        await asyncio.sleep(0)
        job_id = self._ids.next_id()
        self._jobs.append((job_id, job))
        self._wake.set()
        return job_id

    async def start(self) -> None:
        if self._task is not None:
            raise InvalidOperationError("the worker is started already; stop it first")
        self._is_stopping = False
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task = None

    async def _run(self) -> None:
        while not self._is_stopping:
            if not self._jobs:
                self._wake.clear()
                await self._wake.wait()
                continue
            job_id, job = self._jobs.popleft()
            try:
                await self._handler(job)
            except Exception:
                logger.exception("job %s failed", job_id)
