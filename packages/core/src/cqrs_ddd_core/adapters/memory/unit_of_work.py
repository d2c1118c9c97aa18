"""Unit of work that carries in-memory stores."""

from typing import Any, TypeVar

from ...primitives.exceptions import InvalidOperationError
from .event_store import InMemoryEventStore
from .inbox import InMemoryInbox
from .outbox import InMemoryOutboxStorage
from .transaction import InMemoryTransaction

T = TypeVar("T")


class InMemoryUnitOfWork(InMemoryTransaction):
    """In-memory transaction with the stores that middlewares and projections read from it.

    Args:
        event_store: event store, which is bound to this transaction.
        outbox: outbox for ``OutboxMiddleware``.
        inbox: inbox for ``IdempotencyMiddleware`` and ``InboxConsumer``.
        projections: ``InMemoryProjectionStore`` of the advanced package.
        read_only: True to reject every change, as for a query.
    """

    def __init__(
        self,
        event_store: InMemoryEventStore | None = None,
        outbox: InMemoryOutboxStorage | None = None,
        inbox: InMemoryInbox | None = None,
        *,
        projections: object | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(read_only=read_only)
        self._event_store = event_store and event_store.bind(self)
        self._outbox = outbox
        self._inbox = inbox
        self._projections = projections

    @property
    def event_store(self) -> InMemoryEventStore:
        """Event store, bound to this transaction."""
        return _require(self._event_store, "event_store=InMemoryEventStore()")

    @property
    def outbox(self) -> InMemoryOutboxStorage:
        """Outbox that was passed to the constructor."""
        return _require(self._outbox, "outbox=InMemoryOutboxStorage()")

    @property
    def inbox(self) -> InMemoryInbox:
        """Inbox that was passed to the constructor."""
        return _require(self._inbox, "inbox=InMemoryInbox()")

    @property
    def projections(self) -> Any:
        """Projection store that was passed to the constructor."""
        return _require(self._projections, "projections=InMemoryProjectionStore()")


def _require(store: T | None, argument: str) -> T:
    if store is None:
        name = argument.partition("=")[0].replace("_", " ")
        raise InvalidOperationError(
            f"this unit of work has no {name}; create it with InMemoryUnitOfWork({argument})"
        )
    return store
