"""Events to the handlers in this process."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..domain.events import DomainEvent


@runtime_checkable
class IEventDispatcher(Protocol):
    """Calls the handlers that are registered for each event."""

    @abstractmethod
    async def dispatch(self, events: Sequence[DomainEvent]) -> None:
        """In order, one handler after the other; the first error ends it and is raised."""
        ...
