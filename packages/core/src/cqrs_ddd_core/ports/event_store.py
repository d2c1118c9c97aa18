"""Ports of the event store, which keeps all events in order."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from ..domain.events import DomainEvent
from ..primitives import copying, storable
from ..primitives.exceptions import InvalidOperationError, MissingIdentityError, NaiveDatetimeError
from ..primitives.storable import MAX_INTEGER

EVENTS_CHANNEL = "cqrs_ddd_events"
"""Channel of ``IQueueSignal`` on which readers that wait for events are woken."""


class StreamId(NamedTuple):
    """Name of the stream that holds the events of one aggregate.

    Attributes:
        aggregate_type: stored name of the aggregate's class.
        aggregate_id: id of the aggregate as text.
    """

    aggregate_type: str
    aggregate_id: str

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}"

    def ensure_storable(self) -> None:
        """Raise ``SerializationError`` for a type or an id that some databases change or reject."""
        storable.ensure_storable("a stream", *self)


class ExpectedVersion(Enum):
    """Expected state of a stream before an append; a number expects that version."""

    ANY = "any version"
    NO_STREAM = "no stream"
    STREAM_EXISTS = "an existing stream"


class AppendResult(NamedTuple):
    """Result of an append to a stream.

    Attributes:
        version: version of the stream.
        position: position of its last event; None if nothing was appended, or until the commit of
            the caller's unit of work, whose ``committed_position`` then has it.
    """

    version: int
    position: int | None


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """Domain event as stored.

    Ids, names and the version are checked here, so that stores need not check them.

    Attributes:
        event_id: unique id of the event.
        event_type: stored name of the event's class.
        aggregate_id: id of the aggregate as text.
        aggregate_type: stored name of the aggregate's class.
        version: number of the event in its stream, counted from 1.
        schema_version: version of the shape of the payload.
        payload: fields of the event outside the envelope, as JSON values.
        metadata: further facts as JSON values, such as tenant and user.
        occurred_at: time of the event (aware).
        correlation_id: id that all messages of one request share.
        causation_id: id of the message that caused the event.
        position: number of the event in the order of all streams; None until the commit.

    Raises:
        SerializationError: an id or a name is a text that some databases change or reject, or
            ``occurred_at`` is the first or the last ``datetime``, which they return as infinity.
        InvalidOperationError: the version is below 1, or a version is too large for a database.
        NaiveDatetimeError: ``occurred_at`` has no time zone.
    """

    event_id: str
    event_type: str
    aggregate_id: str
    aggregate_type: str
    version: int
    schema_version: int = 1
    payload: dict[str, object]
    metadata: dict[str, object] = field(default_factory=dict)
    occurred_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    correlation_id: str | None = None
    causation_id: str | None = None
    position: int | None = None

    def __post_init__(self) -> None:
        if self.occurred_at.tzinfo is None:
            raise NaiveDatetimeError.without_zone(
                f"occurred_at of {self.event_type} {self.event_id}",
                self.occurred_at,
                field="occurred_at",
            )
        storable.ensure_storable_time(self.event_type, "occurred_at", self.occurred_at)
        if not 1 <= self.version <= MAX_INTEGER or not 1 <= self.schema_version < 2**31:
            raise InvalidOperationError(
                f"{self.event_type} {self.event_id} has version {self.version} and schema version "
                f"{self.schema_version}; number both from 1, up to {MAX_INTEGER} and {2**31 - 1}"
            )
        storable.ensure_storable(
            "a stored event",
            self.event_id,
            self.event_type,
            self.aggregate_id,
            self.aggregate_type,
            self.correlation_id or "",
            self.causation_id or "",
        )

    @property
    def stream(self) -> StreamId:
        """Stream of the event's aggregate."""
        return StreamId(self.aggregate_type, self.aggregate_id)

    @classmethod
    def from_event(
        cls, event: DomainEvent, metadata: Mapping[str, object] | None = None
    ) -> "StoredEvent":
        """Create the stored form of an event that an aggregate has recorded.

        Args:
            event: event with the id, type and version of its aggregate.
            metadata: further facts; they replace facts of the same name in the event's own
                metadata.

        Raises:
            MissingIdentityError: no aggregate has recorded the event.
            SerializationError: the event cannot be written as JSON.
        """
        if not event.aggregate_id or not event.aggregate_type or event.aggregate_version is None:
            raise _build_identity_error(event)
        return cls(
            event_id=event.event_id,
            event_type=event.event_type,
            aggregate_id=event.aggregate_id,
            aggregate_type=event.aggregate_type,
            version=event.aggregate_version,
            schema_version=event.schema_version,
            payload=event.payload(),
            metadata={**copying.copy_mutable(event.metadata), **(metadata or {})},
            occurred_at=event.occurred_at,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
        )


@runtime_checkable
class IEventStore(Protocol):
    """Store of event streams, with one order over the events of all streams.

    A stream belongs to the tenant of the request that appends to it, and calls that name a stream
    concern the tenant of the running request. Reads over all streams return the events of all
    tenants inside ``system_tenant``, otherwise those of the own tenant. The ``tenant_id`` in the
    metadata of a stored event is the tenant of its row. Positions have no tenant.

    Raises:
        InvalidOperationError: a call that names a stream is inside ``system_tenant``, or the
            metadata of an event to append name another tenant.
    """

    @abstractmethod
    async def append(self, stored_event: StoredEvent) -> None:
        """Append one event.

        Raises:
            OptimisticConcurrencyError: the stream already has this version or a later one.
            DuplicateEventError: an event with this id is already stored.
            SerializationError: payload or metadata cannot be written as JSON.
        """
        ...

    @abstractmethod
    async def append_batch(self, events: list[StoredEvent]) -> None:
        """Append all events, or none.

        The versions of a stream ascend, within the batch and over all appends.

        Raises:
            OptimisticConcurrencyError: a stream already has this version or a later one.
            InvalidOperationError: the events of a stream are not in the order of their versions.
            DuplicateEventError: an event with this id is already stored.
            SerializationError: payload or metadata cannot be written as JSON.
        """
        ...

    @abstractmethod
    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
    ) -> list[StoredEvent]:
        """Return the events of an aggregate after a version, in the order of their versions."""
        ...

    @abstractmethod
    async def get_events_after(
        self,
        position: int,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """Return the next events of all streams after a position, in the order of their positions.

        A reader that continues after the last position that it got misses no event, even if a
        transaction with a lower position commits later.
        """
        ...


@runtime_checkable
class IEventLog(IEventStore, Protocol):
    """Event store with expected versions, and reads by streams, event types and time."""

    @abstractmethod
    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
        up_to_version: int | None = None,
        limit: int | None = None,
        descending: bool = False,
        aggregate_type: str | None = None,
    ) -> list[StoredEvent]:
        """Return the events of an aggregate, or a part of them, in the order of their versions.

        Args:
            aggregate_id: id of the aggregate as text.
            after_version: version before the first event to return.
            up_to_version: version of the last event to return; by default the last of the stream.
            limit: number of events to return at most, from the first one on.
            descending: True to return the latest event first.
            aggregate_type: stored name of the aggregate's class.

        Raises:
            InvalidOperationError: ``limit`` is below 1.
            AmbiguousStreamError: several aggregate types share the id, and ``aggregate_type`` is
                None.
        """
        ...

    @abstractmethod
    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> AppendResult:
        """Append events to the end of a stream, or none of them.

        The events are numbered from the end of the stream; their own versions are ignored.

        Raises:
            OptimisticConcurrencyError: the stream is not at the expected version.
            DuplicateEventError: an event with this id is already stored.
            SerializationError: payload or metadata cannot be written as JSON.
        """
        ...

    @abstractmethod
    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        """Return the events of several streams in one read; a missing stream has an empty list."""
        ...

    @abstractmethod
    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the next events of some types after the position ``after``, in order."""
        ...

    @abstractmethod
    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the events that occurred from ``start`` to before ``end``, by position.

        Both times are aware; ``after`` is the position to continue after.
        """
        ...

    @abstractmethod
    def stream_after(self, position: int, *, batch_size: int = 500) -> AsyncIterator[StoredEvent]:
        """Yield the events after a position up to the present end, with one batch in memory."""
        ...

    @abstractmethod
    async def latest_position(self) -> int:
        """Return the highest position that a reader can see; 0 for an empty store."""
        ...

    @abstractmethod
    async def highest_position(self) -> int:
        """Return the highest committed position; 0 for an empty store.

        A reader cannot see it while a transaction that may commit a lower position is still open.
        """
        ...

    @abstractmethod
    async def get_first_committed(self, *, after: int) -> StoredEvent | None:
        """Return the first committed event after the position ``after``, or None at the end.

        Like ``highest_position`` it includes events that a reader cannot see yet, so it shows how
        old they are; a reader that continued after it would skip events.
        """
        ...

    @abstractmethod
    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Wait until a reader can see ``position``; return False after ``timeout`` seconds."""
        ...


@runtime_checkable
class IEventStoreProvider(Protocol):
    """Unit of work that carries an event store."""

    @property
    @abstractmethod
    def event_store(self) -> IEventStore:
        """Event store that writes in this unit of work."""
        ...


def _build_identity_error(event: DomainEvent) -> MissingIdentityError:
    facts = ("aggregate_id", "aggregate_type", "aggregate_version")
    missing = [name for name, value in zip(facts, _get_place(event), strict=True) if not value]
    return MissingIdentityError(
        f"{event.event_type} {event.event_id} has no {', '.join(missing)}, so it belongs to no "
        "stream; record it with aggregate.add_event",
        type_name=event.event_type,
        missing=missing,
    )


def _get_place(event: DomainEvent) -> tuple[object, ...]:
    return event.aggregate_id, event.aggregate_type, event.aggregate_version
