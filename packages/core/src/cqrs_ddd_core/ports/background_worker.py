"""Ports of background workers."""

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IWorkerLifecycle(Protocol):
    """Background loop that can be started and stopped."""

    @abstractmethod
    async def start(self) -> None:
        """Start the loop."""
        ...

    @abstractmethod
    async def stop(self) -> None:
        """Stop the loop; return when work in progress is finished or released."""
        ...


@runtime_checkable
class IBackgroundWorker(IWorkerLifecycle, Protocol):
    """Background loop that runs jobs."""

    @abstractmethod
    async def enqueue(self, job: Any) -> str:
        """Add a job to the queue and return its id."""
        ...
