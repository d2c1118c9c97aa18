"""Events, kept for ever, in order."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from ..domain.events import DomainEvent
from ..primitives.exceptions import EventStoreError, MissingIdentityError, NaiveDatetimeError
from ..primitives.storable import ensure_storable

EVENTS_CHANNEL = "cqrs_ddd_events"
"""The channel of ``IQueueSignal`` on which those who wait for events are told that there are."""


class StreamId(NamedTuple):
    """Name of the stream that holds the events of one aggregate."""

    aggregate_type: str
    aggregate_id: str

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}"

    def ensure_storable(self) -> None:
        """Raise ``SerializationError`` for a type or an id that some databases change or reject."""
        ensure_storable("a stream", *self)


class ExpectedVersion(Enum):
    """Expected state of a stream before an append; a number expects that version."""

    ANY = "any version"
    NO_STREAM = "no stream"
    STREAM_EXISTS = "an existing stream"


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """A domain event as stored: ``version`` counts in the stream from 1, ``position`` overall.

    Raises ``SerializationError`` for ids and names that some databases change or reject, and
    ``EventStoreError`` for a version below 1, so that stores need not check them.
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
        if self.version < 1:
            raise EventStoreError(
                f"{self.event_type} {self.event_id} has version {self.version}; number the events "
                "of a stream from 1"
            )
        ensure_storable(
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
        return StreamId(self.aggregate_type, self.aggregate_id)

    @classmethod
    def from_event(
        cls, event: DomainEvent, metadata: Mapping[str, object] | None = None
    ) -> "StoredEvent":
        """The stored form; ``metadata`` is laid over the event's own.

        Raises ``MissingIdentityError`` for an event that no aggregate recorded, and
        ``SerializationError`` for one that is not JSON.
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
            metadata={**event.metadata, **(metadata or {})},
            occurred_at=event.occurred_at,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
        )


@runtime_checkable
class IEventStore(Protocol):
    """Streams of events, and one order over all of them."""

    @abstractmethod
    async def append(self, stored_event: StoredEvent) -> None:
        """Raises as ``append_batch``."""
        ...

    @abstractmethod
    async def append_batch(self, events: list[StoredEvent]) -> None:
        """All or none.

        Raises ``OptimisticConcurrencyError`` where a version is taken, ``DuplicateEventError``
        where an id is, and ``SerializationError`` for what is not JSON.
        """
        ...

    @abstractmethod
    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
    ) -> list[StoredEvent]:
        """The stream of an aggregate, by version."""
        ...

    @abstractmethod
    async def get_events_after(
        self,
        position: int,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """The next events of all streams, by position.

        Whoever asks again after the last position it got misses nothing, whatever was in flight.
        """
        ...


@runtime_checkable
class IEventLog(IEventStore, Protocol):
    """An event store that also checks expectations and reads along other lines."""

    @abstractmethod
    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
        aggregate_type: str | None = None,
    ) -> list[StoredEvent]:
        """Raises ``AmbiguousStreamError`` when types share the id and none is given."""
        ...

    @abstractmethod
    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> int:
        """Number the events from the stream's end on, whatever version they carry.

        Answers the last version; raises ``OptimisticConcurrencyError`` when the stream is not as
        expected, and as ``append_batch``.
        """
        ...

    @abstractmethod
    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        """Several streams in one read; an absent one has an empty list."""
        ...

    @abstractmethod
    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """By position, after the position ``after``."""
        ...

    @abstractmethod
    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Those that occurred from ``start`` to before ``end`` (both aware), by position."""
        ...

    @abstractmethod
    def stream_after(self, position: int, *, batch_size: int = 500) -> AsyncIterator[StoredEvent]:
        """As ``get_events_after``, to the present end, holding one batch at a time."""
        ...

    @abstractmethod
    async def latest_position(self) -> int:
        """The highest position that a reader can see; 0 for an empty store."""
        ...

    @abstractmethod
    async def highest_position(self) -> int:
        """The highest that is committed, also above what a reader can see yet: none below it is
        known to be the last. 0 for an empty store."""
        ...

    @abstractmethod
    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Whether a reader can see ``position`` within ``timeout`` seconds."""
        ...


@runtime_checkable
class IEventStoreProvider(Protocol):
    """A unit of work that carries an event store."""

    @property
    @abstractmethod
    def event_store(self) -> IEventStore: ...


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
