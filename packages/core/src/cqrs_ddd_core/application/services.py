"""Background services of an application."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ..ports.backend import IBackend
from ..ports.middleware import IMiddleware
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
class IInlineService(IService, Protocol):
    """Service that also takes part in commands, in the transaction of each."""

    @property
    @abstractmethod
    def middleware(self) -> IMiddleware | None:
        """Middleware that the application adds to its own, or None."""
        ...

    @abstractmethod
    async def prepare(self) -> None:
        """Prepare the stores before the first command; an application calls this when it opens."""
        ...


class ILag(Protocol):
    """Lag of a consumer of events, such as a projection, behind the event store."""

    @property
    def events(self) -> int:
        """Largest possible number of committed events that it has not processed."""
        ...

    @property
    def seconds(self) -> float:
        """Age of the oldest of these events, 0 without one."""
        ...

    @property
    def dead_letters(self) -> int:
        """Number of events that it could not process, or that wait behind such an event."""
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

    @abstractmethod
    async def measure_lag(self) -> Mapping[str, ILag]:
        """Return the lag of each consumer of events, by name."""
        ...
