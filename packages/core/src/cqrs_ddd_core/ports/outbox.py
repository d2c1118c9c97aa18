"""Port of the outbox: messages are saved with the change that they report, and published later."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable

from ..domain.events import DomainEvent
from ..primitives import copying, storable
from .unit_of_work import UnitOfWork

_ENVELOPE = frozenset(
    {"aggregate_id", "aggregate_type", "aggregate_version", "schema_version", "occurred_at"}
)
"""Metadata of a message that are the envelope of its event."""
_OWN_FACTS = "event_metadata"
"""Metadata of a message with the facts of the event that have the name of an envelope fact."""

OUTBOX_CHANNEL = "outbox"
"""Channel of ``IQueueSignal`` on which relays are woken."""


@dataclass(frozen=True)
class OutboxMessage:
    """Message to publish; payload and metadata of a stored one are copies.

    Attributes:
        message_id: unique id, by which receivers recognise a repetition.
        event_type: stored name of the event's class, or another type that routes the message.
        payload: content as JSON values.
        metadata: further facts as JSON values, such as the aggregate and the tenant.
        created_at: time of creation (aware).
        published_at: time of publication (aware), or None before it.
        error: text of the last failure, or None.
        retry_count: number of failed tries.
        correlation_id: id that all messages of one request share.
        causation_id: id of the message that caused this one.
        partition_key: messages of one key are published in order; None requires no order.

    Raises:
        SerializationError: an id or a name is a text that some databases change or reject.
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
        storable.ensure_storable(
            "an outbox message",
            self.message_id,
            self.event_type,
            self.partition_key or "",
            self.correlation_id or "",
            self.causation_id or "",
        )
        storable.ensure_storable_time(self.event_type, "created_at", self.created_at)

    @classmethod
    def from_event(
        cls, event: DomainEvent, metadata: Mapping[str, object] | None = None
    ) -> "OutboxMessage":
        """Create the message of an event, with the event's id.

        Args:
            event: event to publish; its aggregate determines the partition key.
            metadata: further facts; facts of the same name in the event's own metadata replace
                them. Neither can replace the facts of the envelope, such as ``aggregate_id``:
                ``read_event_metadata`` returns such a fact of the event.

        Raises:
            SerializationError: the event cannot be written as JSON.
        """
        facts = {
            "aggregate_id": event.aggregate_id,
            "aggregate_type": event.aggregate_type,
            "aggregate_version": event.aggregate_version,
            "schema_version": event.schema_version,
            "occurred_at": event.occurred_at.isoformat(),
        }
        known = {name: value for name, value in facts.items() if value is not None}
        own: dict[str, object] = {**copying.copy_mutable(event.metadata)}
        given = {name: fact for name, fact in (metadata or {}).items() if name not in _ENVELOPE}
        hidden = {name: own.pop(name) for name in (*_ENVELOPE, _OWN_FACTS) if name in own}
        if hidden:
            own[_OWN_FACTS] = hidden
        has_stream = event.aggregate_type is not None and event.aggregate_id is not None
        return cls(
            message_id=event.event_id,
            event_type=event.event_type,
            payload=event.payload(),
            metadata={**given, **own, **known},
            correlation_id=event.correlation_id or "",
            causation_id=event.causation_id,
            partition_key=f"{event.aggregate_type}:{event.aggregate_id}" if has_stream else None,
        )

    def read_event_metadata(self) -> dict[str, object]:
        """Return the metadata of the event from which the message was created."""
        hidden = self.metadata.get(_OWN_FACTS)
        own = {name: fact for name, fact in self.metadata.items() if name not in _ENVELOPE}
        if isinstance(hidden, dict):
            del own[_OWN_FACTS]
            own.update(hidden)
        return own

    @property
    def lease_key(self) -> str:
        """Key under which relays lease the message.

        A message without a partition key needs no order, so it gets a key of its own.
        """
        if self.partition_key is None:
            return f"message {self.message_id}"
        return self.partition_key


@runtime_checkable
class IOutboxStorage(Protocol):
    """Storage of outbox messages, each of the tenant of the request that saves it.

    A message id belongs to one tenant, and calls that name an id concern the tenant of the running
    request. Messages and leases of all tenants are handed out inside ``system_tenant``, otherwise
    those of the own tenant. The metadata of a stored message name its tenant.

    Raises:
        InvalidOperationError: a call that saves or names a message is inside ``system_tenant``, or
            the metadata of a message name another tenant.
    """

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
        """Return unpublished messages, the oldest first.

        A leased outbox leaves out the messages of a key that a dead letter blocks, so an empty list
        does not mean that all messages are published: ``get_backlog`` counts every message.
        """
        ...

    @abstractmethod
    async def mark_published(
        self,
        message_ids: list[str],
        uow: UnitOfWork | None = None,
    ) -> None:
        """Mark messages as published."""
        ...

    @abstractmethod
    async def mark_failed(
        self,
        message_id: str,
        error: str,
        uow: UnitOfWork | None = None,
    ) -> None:
        """Count a failed try and store its error."""
        ...


@dataclass(frozen=True)
class OutboxLease:
    """Right of one relay to publish the messages of one key, in order.

    Attributes:
        key: partition key, or the key of a single message without one.
        epoch: number that grows with every claim of the key, so that a relay that lost its lease
            cannot mark messages.
        messages: messages to publish, the oldest first.
        tenant_id: tenant of the messages, "" without one.
    """

    key: str
    epoch: int
    messages: Sequence[OutboxMessage]
    tenant_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OutboxBacklog:
    """Committed messages that are not published, each counted once.

    Attributes:
        waiting: messages that a relay may claim now, or has claimed.
        blocked: messages whose key waits for a retry time or behind a dead letter, without the dead
            letter itself.
        dead_letters: messages that wait for an operator.
        oldest_at: earliest creation time (aware) of the waiting and blocked messages, None without
            them.
    """

    waiting: int
    blocked: int
    dead_letters: int
    oldest_at: datetime | None


@runtime_checkable
class ILeasedOutbox(IOutboxStorage, Protocol):
    """Outbox that several relays share.

    A lease covers one key of one tenant: a partition key, or the key of a single message without
    one. A key is free unless a relay has leased it, its retry time lies ahead, or a dead letter
    blocks it.
    """

    @abstractmethod
    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        """Lease the free keys with the oldest messages, and return the leases.

        Args:
            relay_id: name of the relay.
            limit: largest number of messages of all leases together.
            lease: seconds after which the leases expire.
        """
        ...

    @abstractmethod
    async def complete(self, lease: OutboxLease, message_ids: Sequence[str]) -> None:
        """Mark messages of a lease as published.

        Raises:
            LeaseLostError: the lease expired, or a later claim replaced it.
        """
        ...

    @abstractmethod
    async def complete_batch(
        self, published: Sequence[tuple[OutboxLease, Sequence[str]]]
    ) -> list[OutboxLease]:
        """Mark the messages of several leases and release their keys, in one transaction.

        Returns:
            The lost leases; their messages are not marked.
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

        Returns:
            The lost leases, and the new leases.
        """
        ...

    @abstractmethod
    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        """Block the key until ``retry_at``, or make the message a dead letter if that is None.

        Raises:
            LeaseLostError: the lease expired, or a later claim replaced it.
        """
        ...

    @abstractmethod
    async def release(self, lease: OutboxLease, *, retry_at: datetime | None = None) -> None:
        """Release the key before the lease expires; do nothing if the lease was lost.

        Args:
            lease: lease of the key.
            retry_at: time until which the key is blocked, without a failed try; None frees it.
        """
        ...

    @abstractmethod
    async def get_backlog(self) -> OutboxBacklog:
        """Count the unpublished messages, as committed at one moment."""
        ...

    @abstractmethod
    async def list_dead_letters(self, limit: int = 100) -> list[OutboxMessage]:
        """Return the dead letters, the oldest first; each blocks its key."""
        ...

    @abstractmethod
    async def retry(self, message_id: str) -> None:
        """Retry a dead letter, with its number of tries reset.

        Raises:
            InvalidOperationError: the message is not a dead letter.
        """
        ...

    @abstractmethod
    async def discard(self, message_id: str) -> None:
        """Delete a dead letter, which unblocks its key.

        Raises:
            InvalidOperationError: the message is not a dead letter.
        """
        ...

    @abstractmethod
    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages that were published before a time; return how many."""
        ...


@runtime_checkable
class IOutboxProvider(Protocol):
    """Unit of work that carries an outbox."""

    @property
    @abstractmethod
    def outbox(self) -> IOutboxStorage:
        """Outbox that writes in this unit of work."""
        ...
