"""Port of workers in the background."""

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IWorkerLifecycle(Protocol):
    """A loop that starts and stops."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None:
        """Returns when what was begun is finished or handed back."""
        ...


@runtime_checkable
class IBackgroundWorker(IWorkerLifecycle, Protocol):
    """A loop that can be given jobs."""

    @abstractmethod
    async def enqueue(self, job: Any) -> str:
        """The job's id."""
        ...
