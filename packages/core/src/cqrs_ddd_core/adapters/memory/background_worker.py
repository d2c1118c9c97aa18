"""In-memory queue of jobs."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ...ports.background_worker import IBackgroundWorker
from ...primitives import background_service, exceptions, id_generator

logger = logging.getLogger(__name__)


class InMemoryBackgroundWorker(background_service.BackgroundService, IBackgroundWorker):
    """Worker that passes jobs to ``handler`` in order; a failed job is logged and not retried.

    Args:
        handler: runs a job.
        ids: generates the ids of the jobs.
    """

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[object]],
        *,
        ids: id_generator.IIdGenerator | None = None,
    ) -> None:
        super().__init__()
        self._handler = handler
        self._ids = ids or id_generator.UUID7Generator()
        self._jobs: deque[tuple[str, Any]] = deque()
        self._wake = asyncio.Event()

    async def enqueue(self, job: Any) -> str:
        """Add a job to the queue in memory and return its id; it is lost when the process ends."""
        await asyncio.sleep(0)
        job_id = self._ids.next_id()
        self._jobs.append((job_id, job))
        self._wake.set()
        return job_id

    def create_loops(self) -> background_service.Loops:
        """Return the loop that runs one job after the other."""
        return (self._run,)

    async def _run(self) -> None:
        while not self.is_stopping:
            if not self._jobs:
                self._wake.clear()
                await self.wait(self._wake.wait())
                continue
            job_id, job = self._jobs.popleft()
            try:
                await self._handler(job)
            except Exception as error:
                logger.error("job %s failed", job_id, exc_info=exceptions.ConcealedError(error))
