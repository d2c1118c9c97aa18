"""Backend of the fakes."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar

from ...domain import ID, AggregateRoot
from ...ports import IBackend
from ...primitives import exceptions
from .event_store import InMemoryEventStore
from .inbox import InMemoryInbox
from .outbox import InMemoryOutboxStorage
from .queue_signal import InMemoryQueueSignal
from .repository import InMemoryRepository
from .unit_of_work import InMemoryUnitOfWork

P = TypeVar("P")
T = TypeVar("T", bound=AggregateRoot)

_PROJECTION_STORE = "IProjectionStore"
"""Name of the port, in the advanced package, whose part the units of work carry."""


class InMemoryBackend(IBackend):
    """Backend in the memory of one process, for tests and first versions.

    It has no tables and no connections: opening and closing it do nothing, and the data remain
    until the object is deleted.

    Example:
        ```python
        from cqrs_ddd_core import AggregateRoot, InMemoryBackend

        class Note(AggregateRoot[str]):
            text: str

        backend = InMemoryBackend()
        notes = backend.repository(Note)
        async with backend.unit_of_work():
            await notes.add(Note(id="n-1", text="Buy tea"))
        assert (await notes.get("n-1")).text == "Buy tea"
        ```
    """

    def __init__(self) -> None:
        self._created: dict[object, Any] = {}
        self._projections: object | None = None

    @cached_property
    def event_store(self) -> InMemoryEventStore:
        """Event store of the committed events."""
        return InMemoryEventStore(self.signal)

    @cached_property
    def outbox(self) -> InMemoryOutboxStorage:
        """Outbox of the committed messages."""
        return InMemoryOutboxStorage()

    @cached_property
    def inbox(self) -> InMemoryInbox:
        """Inbox of the committed messages."""
        return InMemoryInbox()

    @cached_property
    def signal(self) -> InMemoryQueueSignal:
        """Wake-up notifications between the tasks of the process."""
        return InMemoryQueueSignal()

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        """Return a new unit of work, which carries the stores and the projection store."""
        return InMemoryUnitOfWork(
            self.event_store,
            self.outbox,
            self.inbox,
            projections=self._projections,
            read_only=read_only,
        )

    def repository(self, entity_type: type[T], model: object = None) -> InMemoryRepository[T, ID]:
        """Return the repository of the entity type; the model is ignored."""
        exceptions.arguments.ensure_class(entity_type, AggregateRoot, "entity_type")
        return self._get_or_create(entity_type, partial(InMemoryRepository[T, ID], entity_type))

    def part(self, port: Callable[..., P], default: Callable[[], P]) -> P:
        """Return the part that ``default`` has created for the port, at the first call."""
        part = self._get_or_create(port, default)
        if isinstance(port, type) and port.__name__ == _PROJECTION_STORE:
            self._projections = part
        return part

    async def open(self) -> None:
        """Do nothing."""

    async def create_schema(self) -> None:
        """Do nothing, since there are no tables."""

    async def check_schema(self) -> None:
        """Do nothing, since there are no tables."""

    async def close(self) -> None:
        """Do nothing; the data remain."""

    def _get_or_create(self, key: object, create: Callable[[], P]) -> P:
        if key not in self._created:
            self._created[key] = create()
        created: P = self._created[key]
        return created
