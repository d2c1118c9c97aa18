"""Port of the outbox: messages are saved with the change that they report, and published later."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable

from ..domain.events import DomainEvent
from ..primitives.storable import ensure_storable
from .unit_of_work import UnitOfWork

OUTBOX_CHANNEL = "outbox"
"""Channel of ``IQueueSignal`` on which relays are woken."""


@dataclass
class OutboxMessage:
    """A message to publish; messages of one ``partition_key`` are published in order.

    Raises ``SerializationError`` for ids and names that some databases change or reject.
    """

    message_id: str
    event_type: str
    payload: dict[str, object]
    metadata: dict[str, object] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    published_at: datetime | None = None
    error: str | None = None
    retry_count: int = 0
    correlation_id: str = ""
    causation_id: str | None = None
    partition_key: str | None = None

    def __post_init__(self) -> None:
        ensure_storable(
            "an outbox message",
            self.message_id,
            self.event_type,
            self.partition_key or "",
            self.correlation_id or "",
            self.causation_id or "",
        )

    @classmethod
    def from_event(
        cls, event: DomainEvent, metadata: Mapping[str, object] | None = None
    ) -> "OutboxMessage":
        """Build the message of an event; raise ``SerializationError`` for one that is not JSON."""
        facts = {
            "aggregate_id": event.aggregate_id,
            "aggregate_type": event.aggregate_type,
            "aggregate_version": event.aggregate_version,
            "schema_version": event.schema_version,
            "occurred_at": event.occurred_at.isoformat(),
            **(metadata or {}),
        }
        has_stream = event.aggregate_type is not None and event.aggregate_id is not None
        return cls(
            message_id=event.event_id,
            event_type=event.event_type,
            payload=event.payload(),
            metadata={**{k: v for k, v in facts.items() if v is not None}, **event.metadata},
            correlation_id=event.correlation_id or "",
            causation_id=event.causation_id,
            partition_key=f"{event.aggregate_type}:{event.aggregate_id}" if has_stream else None,
        )

    @property
    def lease_key(self) -> str:
        """The key under which relays lease the message.

        A message without a partition key has no order, so it gets a key of its own.
        """
        if self.partition_key is None:
            return f"message {self.message_id}"
        return self.partition_key


@runtime_checkable
class IOutboxStorage(Protocol):
    """The outbox table."""

    @abstractmethod
    async def save_messages(
        self,
        messages: list[OutboxMessage],
        uow: UnitOfWork | None = None,
    ) -> None:
        """Save messages in the transaction of the change that they report."""
        ...

    @abstractmethod
    async def get_pending(
        self,
        limit: int = 100,
        uow: UnitOfWork | None = None,
    ) -> list[OutboxMessage]:
        """Return unpublished messages, oldest first."""
        ...

    @abstractmethod
    async def mark_published(
        self,
        message_ids: list[str],
        uow: UnitOfWork | None = None,
    ) -> None: ...

    @abstractmethod
    async def mark_failed(
        self,
        message_id: str,
        error: str,
        uow: UnitOfWork | None = None,
    ) -> None:
        """Count the try and keep the error."""
        ...


@dataclass(frozen=True)
class OutboxLease:
    """The right of one relay to publish these messages of one key, in order.

    ``epoch`` grows with every claim of the key: a relay that lost its lease cannot mark.
    """

    key: str
    epoch: int
    messages: Sequence[OutboxMessage]


@runtime_checkable
class ILeasedOutbox(IOutboxStorage, Protocol):
    """An outbox that several relays share."""

    @abstractmethod
    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        """Lease due keys for ``lease`` seconds; ``limit`` bounds the messages of all together."""
        ...

    @abstractmethod
    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        """Mark messages as published; raise ``LeaseLostError`` if the epoch has moved on."""
        ...

    @abstractmethod
    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages of several leases and release their keys, in one transaction.

        Returns the leases that were lost, of which nothing is marked.
        """
        ...

    @abstractmethod
    async def complete_and_claim(
        self,
        published: Sequence[tuple[OutboxLease, Sequence[str]]],
        relay_id: str,
        *,
        limit: int = 100,
        lease: float = 30.0,
    ) -> tuple[list[OutboxLease], list[OutboxLease]]:
        """Run ``complete_batch`` and ``claim`` in one transaction, as a busy relay does.

        Returns the leases that were lost, and the new ones.
        """
        ...

    @abstractmethod
    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        """Block the key until ``retry_at``, or make the message a dead letter if that is None.

        Raises ``LeaseLostError`` when the epoch has moved on.
        """
        ...

    @abstractmethod
    async def release(self, lease: OutboxLease) -> None:
        """Release the key before the lease ends; do nothing if the lease was lost."""
        ...

    @abstractmethod
    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        """Return the messages that failed for good, oldest first; they block their keys."""
        ...

    @abstractmethod
    async def retry(self, message_id: str) -> None:
        """Retry a dead letter with its tries reset; raise ``OutboxError`` if it is none."""
        ...

    @abstractmethod
    async def discard(self, message_id: str) -> None:
        """Drop a dead letter, which unblocks its key; raise ``OutboxError`` if it is none."""
        ...

    @abstractmethod
    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        """Delete messages that were published before a time; return how many, at most ``limit``."""
        ...


@runtime_checkable
class IOutboxProvider(Protocol):
    """A unit of work that carries an outbox."""

    @property
    @abstractmethod
    def outbox(self) -> IOutboxStorage: ...
