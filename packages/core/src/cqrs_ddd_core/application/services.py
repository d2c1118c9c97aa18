"""Background services of an application."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from ..ports.backend import IBackend
from ..primitives.background_service import BackgroundService


@runtime_checkable
class IService(Protocol):
    """Background work that an application runs on its backend."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the service in logs and in the health of the application."""
        ...

    @abstractmethod
    def bind(self, backend: IBackend) -> BackgroundService:
        """Create the service that does the work; an application calls this once.

        Args:
            backend: stores of the application; ``backend.background`` has connections that are
                reserved for background work.
        """
        ...


@runtime_checkable
class IPositionWaiter(IService, Protocol):
    """Service that processes events in order, and whose progress a caller can wait for."""

    @abstractmethod
    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Wait until the events up to ``position`` are processed; return False after ``timeout``.

        Args:
            position: global position of an event.
            timeout: seconds to wait.
        """
        ...
