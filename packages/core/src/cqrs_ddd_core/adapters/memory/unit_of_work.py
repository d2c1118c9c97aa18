"""Unit of work that carries the in-memory stores."""

from typing import Any, TypeVar

from ...primitives.exceptions import InvalidOperationError
from .event_store import InMemoryEventStore
from .inbox import InMemoryInbox
from .outbox import InMemoryOutboxStorage
from .transaction import InMemoryTransaction

T = TypeVar("T")


class InMemoryUnitOfWork(InMemoryTransaction):
    """In-memory transaction with the stores that middlewares and projections look up on it.

    Args:
        event_store: is bound to this transaction.
        outbox: for ``OutboxMiddleware``.
        inbox: for ``IdempotencyMiddleware`` and ``InboxConsumer``.
        projections: an ``InMemoryProjectionStore`` of the advanced package.
    """

    def __init__(
        self,
        event_store: InMemoryEventStore | None = None,
        outbox: InMemoryOutboxStorage | None = None,
        inbox: InMemoryInbox | None = None,
        *,
        projections: object | None = None,
    ) -> None:
        super().__init__()
        self._event_store = event_store and event_store.bind(self)
        self._outbox = outbox
        self._inbox = inbox
        self._projections = projections

    @property
    def event_store(self) -> InMemoryEventStore:
        """The event store, bound to this transaction."""
        return _require(self._event_store, "event_store=InMemoryEventStore()")

    @property
    def outbox(self) -> InMemoryOutboxStorage:
        return _require(self._outbox, "outbox=InMemoryOutboxStorage()")

    @property
    def inbox(self) -> InMemoryInbox:
        return _require(self._inbox, "inbox=InMemoryInbox()")

    @property
    def projections(self) -> Any:
        """The projection store, of the type that was given."""
        return _require(self._projections, "projections=InMemoryProjectionStore()")


def _require(store: T | None, argument: str) -> T:
    if store is None:
        name = argument.partition("=")[0].replace("_", " ")
        raise InvalidOperationError(
            f"this unit of work has no {name}; make it with InMemoryUnitOfWork({argument})"
        )
    return store
