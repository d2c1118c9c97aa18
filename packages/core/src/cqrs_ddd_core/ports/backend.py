"""Port of the backend: the stores of one database, and units of work across them."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from ..domain import ID, AggregateRoot
from .event_store import IEventLog
from .inbox import IInbox
from .outbox import ILeasedOutbox
from .queue_signal import IQueueSignal
from .repository import IBulkRepository
from .unit_of_work import UnitOfWork

__all__ = ["IBackend"]

B = TypeVar("B", bound="IBackend")
P = TypeVar("P")
T = TypeVar("T", bound=AggregateRoot)


@runtime_checkable
class IBackend(Protocol):
    """Everything that an application stores in one place.

    All stores and repositories of a backend take part in its units of work. ``async with`` opens
    and closes the backend.
    """

    @property
    @abstractmethod
    def event_store(self) -> IEventLog:
        """Event store; a unit of work carries one that is bound to it."""
        ...

    @property
    @abstractmethod
    def outbox(self) -> ILeasedOutbox:
        """Outbox; a unit of work carries one that is bound to it."""
        ...

    @property
    @abstractmethod
    def inbox(self) -> IInbox:
        """Inbox; a unit of work carries one that is bound to it."""
        ...

    @property
    @abstractmethod
    def signal(self) -> IQueueSignal | None:
        """Wake-up notifications, or None if readers of this backend have to poll."""
        ...

    @property
    def background(self) -> "IBackend":
        """Backend with the same data for relays and workers.

        It has connections of its own where those of the application are limited. Its units of work
        accept repositories and stores of this backend.
        """
        return self

    @abstractmethod
    def unit_of_work(self, *, read_only: bool = False) -> UnitOfWork:
        """Return a new unit of work, which carries event store, outbox and inbox.

        Args:
            read_only: True to reject every change, for queries.
        """
        ...

    @abstractmethod
    def repository(self, entity_type: type[T], model: object = None) -> IBulkRepository[T, ID]:
        """Return a repository; two repositories of one entity type have the same data.

        Args:
            entity_type: class of the aggregates.
            model: mapping of the class to the tables of the backend; a backend without tables
                ignores it.

        Raises:
            ConfigError: the backend needs a model, or cannot use this one.
        """
        ...

    @abstractmethod
    def part(self, port: Callable[..., P], default: Callable[[], P]) -> P:
        """Return the implementation of another port on the data of this backend.

        Args:
            port: class of the port; mypy accepts no abstract class as ``type[P]``.
            default: creates the in-memory implementation, which the in-memory backend keeps; other
                backends ignore it.

        Raises:
            ConfigError: the backend does not implement the port.
        """
        ...

    @abstractmethod
    async def open(self) -> None:
        """Check the tables, or create missing ones where the backend was told to, and connect.

        Opening an open backend does nothing.

        Raises:
            ConfigError: tables or columns are missing, or have another version.
        """
        ...

    @abstractmethod
    async def create_schema(self) -> None:
        """Create the missing tables; several processes may do so at once."""
        ...

    @abstractmethod
    async def check_schema(self) -> None:
        """Raise ``ConfigError`` if tables or columns are missing; the error says what to do."""
        ...

    @abstractmethod
    async def close(self) -> None:
        """Close the connections that the backend has opened; closing it twice does nothing.

        A closed backend can be opened again.
        """
        ...

    async def __aenter__(self: B) -> B:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
