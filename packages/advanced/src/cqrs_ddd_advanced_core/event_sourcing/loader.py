"""Loading of aggregates from their snapshots and their later events."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Generic, TypeGuard

from cqrs_ddd_core import DomainEvent, EventTypeRegistry, get_request_metadata
from cqrs_ddd_core.context import bind_request
from cqrs_ddd_core.ports import IClock, IEventStore, UnitOfWork
from cqrs_ddd_core.ports.event_store import IEventLog, StoredEvent, StreamId
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..ports.persistence import T
from ..ports.snapshots import Snapshot
from ..snapshots import AggregateSnapshots, Loading
from ..upcasting import add_upcasting

Histories = dict[StreamId, list[StoredEvent]]

logger = logging.getLogger(__name__)


class EventSourcedLoader(Generic[T]):
    """Loader that starts from a usable snapshot, if there is one, and applies the later events.

    ``AggregateSnapshots`` defines which snapshots are usable, and its strategy when one is taken.
    A snapshot is taken of the state as loaded, before a caller can change it. It is written after
    the commit of the unit of work, or at once without a unit of work, and never in a read-only
    one. An unusable snapshot is replaced in the same way.

    Args:
        entity_type: class of the aggregates.
        registry: event registry of the stored events; by default ``event_registry`` of the class.
        snapshots: snapshots of the class; by default none are used.
        clock: measures how long a load takes; by default the system clock.
    """

    def __init__(
        self,
        entity_type: type[T],
        *,
        registry: EventTypeRegistry | None = None,
        snapshots: AggregateSnapshots[T] | None = None,
        clock: IClock | None = None,
    ) -> None:
        self.entity_type = entity_type
        self._events = add_upcasting(entity_type.event_registry if registry is None else registry)
        self.snapshots = snapshots
        self._clock = clock or SystemClock()

    async def load(
        self, ids: Iterable[object], store: IEventStore, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates that have events, each once, in the order of their ids.

        All ids are read by one query. Snapshots need one query more, and a further one if only some
        of the ids have a snapshot.

        Args:
            ids: ids of the aggregates.
            store: event store to read from.
            uow: unit of work that reads the snapshots, and writes new ones after its commit.
        """
        wanted = {self._stream_of(entity_id): entity_id for entity_id in ids}
        if not wanted:
            return []
        begin = self._clock.monotonic()
        from_snapshots: dict[StreamId, T] = {}
        stale: dict[StreamId, int] = {}
        if self.snapshots is not None:
            from_snapshots, stale = await self.snapshots.load(wanted, uow)
        histories = await self._read_tails(store, wanted, from_snapshots, stale)
        reading = (self._clock.monotonic() - begin) / len(wanted)
        found: list[T] = []
        due: list[Snapshot | None] = []
        for stream, entity_id in wanted.items():
            aggregate, stored = from_snapshots.get(stream), histories[stream]
            if aggregate is None:
                if not stored:
                    continue
                aggregate = self.entity_type.create_empty(entity_id)
            start, begin = aggregate.version, self._clock.monotonic()
            self._apply(aggregate, stored)
            found.append(aggregate)
            if self.snapshots is not None:
                seconds = reading + self._clock.monotonic() - begin
                if stream in stale or self.snapshots.is_due(
                    Loading(aggregate.version, start, seconds)
                ):
                    due.append(self.snapshots.create(aggregate))
        await self._save_snapshots([each for each in due if each is not None], uow, stale)
        return found

    async def load_past(
        self,
        entity_id: object,
        store: IEventStore,
        *,
        version: int | None = None,
        at: datetime | None = None,
    ) -> T | None:
        """Return the aggregate at a version, or after its last event that occurred by ``at``.

        Return None if the aggregate did not exist then. A past state cannot be saved.

        Args:
            entity_id: id of the aggregate.
            store: event store to read from.
            version: version of the aggregate, from 1 on.
            at: time with a zone, instead of a version.

        Raises:
            InvalidOperationError: unless exactly one of ``version`` and ``at`` is given.
            NaiveDatetimeError: the time has no zone.
        """
        _ensure_one_moment(version, at)
        # Snapshots do not help: only the latest one is stored, which is later than most pasts.
        stream = self._stream_of(entity_id)
        stored = (await _read_histories(store, [stream], 0, up_to=version))[stream]
        if at is not None:
            version = max((e.version for e in stored if e.occurred_at <= at), default=0)
        if not version or len(stored) < version:
            return None
        aggregate = self.entity_type.create_empty(entity_id)
        self._apply(aggregate, stored[:version])
        aggregate.mark_historical()
        return aggregate

    def to_stored(self, event: DomainEvent) -> StoredEvent:
        """Return the event to store, with the tenant and the user of the running request.

        Raises:
            UnknownTypeError: a later load could not find the event class.
        """
        self._events.get(event.event_type)
        return StoredEvent.from_event(event, get_request_metadata())

    def _stream_of(self, entity_id: object) -> StreamId:
        return StreamId(self.entity_type.aggregate_type, str(entity_id))

    async def _read_tails(
        self,
        store: IEventStore,
        wanted: Collection[StreamId],
        from_snapshots: dict[StreamId, T],
        stale: dict[StreamId, int],
    ) -> Histories:
        """Read the events to apply; move each snapshot that proves wrong to ``stale``."""
        if not from_snapshots:
            return await _read_histories(store, wanted, 0)
        # Read the last event of each snapshot again: if it is missing, the stream is shorter than
        # the snapshot, as after the restore of a backup.
        after = min(aggregate.version for aggregate in from_snapshots.values()) - 1
        histories = await _read_histories(store, list(from_snapshots), after)
        for stream, aggregate in list(from_snapshots.items()):
            tail = [event for event in histories[stream] if event.version >= aggregate.version]
            if tail and tail[0].version == aggregate.version:
                histories[stream] = tail[1:]
            else:
                assert self.snapshots is not None
                self.snapshots.count_miss(stream, "beyond the stream")
                del from_snapshots[stream]
                stale[stream] = aggregate.version
        rest = [stream for stream in wanted if stream not in from_snapshots]
        if rest:
            histories.update(await _read_histories(store, rest, 0))
        return histories

    def _apply(self, aggregate: T, stored: Sequence[StoredEvent]) -> None:
        for wanted, event in enumerate(stored, aggregate.version + 1):
            if event.version != wanted:
                raise errors.InvalidOperationError(
                    f"{aggregate.aggregate_type} {aggregate.id} has version {event.version} where "
                    f"version {wanted} should be; its state cannot be computed from its events, "
                    "perhaps it was once saved without events"
                )
        # Decode all events before applying the first, so that decoding errors stay distinct.
        decode = self._events.decode
        aggregate.replay([decode(event) for event in stored])

    async def _save_snapshots(
        self, due: list[Snapshot], uow: UnitOfWork | None, stale: dict[StreamId, int]
    ) -> None:
        if self.snapshots is None or not due:
            return
        if uow is not None and uow.read_only:
            return
        # The hook may run after the request context has ended.
        save = bind_request(partial(self.snapshots.save, due, instead_of=stale))
        if uow is not None:
            uow.on_commit(save)
            return
        try:
            await save()
        except Exception as error:
            logger.error(
                "%d snapshot(s) of %s were not written",
                len(due),
                self.entity_type.__name__,
                exc_info=errors.ConcealedError(error),
            )


def _ensure_one_moment(version: object, at: object) -> None:
    is_version = at is None and type(version) is int and version >= 1
    is_time = version is None and isinstance(at, datetime)
    if not is_version and not is_time:
        raise errors.InvalidOperationError(
            "pass either version=, a number from 1 on, or at=, a datetime with a zone; got "
            f"version={version!r}, at={at!r}"
        )
    if isinstance(at, datetime) and at.tzinfo is None:
        raise errors.NaiveDatetimeError.without_zone("at", at, field="at")


async def _read_histories(
    store: IEventStore, streams: Collection[StreamId], after: int, *, up_to: int | None = None
) -> Histories:
    """Return the events after version ``after`` by stream; an ``IEventLog`` needs one query.

    Only an ``IEventLog`` can leave out the events after the version ``up_to`` of one stream.
    """
    if _keeps_log(store):
        if len(streams) > 1:
            return await store.get_streams(streams, after_version=after)
        (stream,) = streams
        events = await store.get_events(
            stream.aggregate_id,
            after_version=after,
            up_to_version=up_to,
            aggregate_type=stream.aggregate_type,
        )
        return {stream: events}
    histories: Histories = {}
    for stream in streams:
        found = await store.get_events(stream.aggregate_id, after_version=after)
        histories[stream] = [event for event in found if event.stream == stream]
    return histories


def _keeps_log(store: IEventStore) -> TypeGuard[IEventLog]:
    return _is_log(type(store))


@lru_cache(maxsize=64)
def _is_log(store_type: type[IEventStore]) -> bool:
    # Cached: `issubclass` with a protocol takes as long as applying some twenty events.
    return issubclass(store_type, IEventLog)
