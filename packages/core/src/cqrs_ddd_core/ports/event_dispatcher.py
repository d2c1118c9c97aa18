"""Port of the dispatcher of events to handlers in this process."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..domain.events import DomainEvent


@runtime_checkable
class IEventDispatcher(Protocol):
    """Dispatcher that calls the handlers that are registered for each event."""

    @abstractmethod
    async def dispatch(self, events: Sequence[DomainEvent]) -> None:
        """Call the handlers in the order of the events, one after the other.

        The first error is raised, and the remaining handlers do not run.
        """
        ...
