"""In-memory event store with transactions."""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from operator import attrgetter

from pydantic_core import from_json

from ...ports import EVENTS_CHANNEL, ExpectedVersion, IEventLog, StoredEvent, StreamId, UnitOfWork
from ...ports.event_store import AppendResult
from ...primitives import exceptions as errors
from ...primitives.copying import copy_mutable
from ...primitives.storable import MAX_INTEGER, clamp_integer
from ...spi import checks, event_pages, json_fidelity, tenancy
from .queue_signal import InMemoryQueueSignal
from .transaction import ChangeSet, InMemoryTransaction, join_transaction

_position = attrgetter("position")
_version = attrgetter("version")
_occurred_at = attrgetter("occurred_at")

Place = tuple[str, StreamId]
"""Tenant and stream."""


class InMemoryEventStore(IEventLog):
    """In-memory event store.

    Payloads become JSON, as in a database. Positions are assigned at the commit; a rollback uses up
    its positions, so there are gaps, as in a database.

    Args:
        signal: wakes readers at each commit of events; by default only ``wait_for`` wakes.
    """

    def __init__(self, signal: InMemoryQueueSignal | None = None) -> None:
        self._log = _Log(signal or InMemoryQueueSignal())
        self._uow: UnitOfWork | None = None

    def bind(self, uow: UnitOfWork) -> "InMemoryEventStore":
        """Return a store of the same events that reads and writes in one unit of work."""
        bound = InMemoryEventStore.__new__(InMemoryEventStore)
        bound._log, bound._uow = self._log, uow
        return bound

    async def append(self, stored_event: StoredEvent) -> None:
        """Append one event in the current unit of work, or in a new one for this call."""
        await self.append_batch([stored_event])

    async def append_batch(self, events: list[StoredEvent]) -> None:
        """Append all events or none.

        If another transaction stores one of the versions first, the commit of this one raises
        ``OptimisticConcurrencyError``.
        """
        tenant_id = tenancy.get_row_tenant("append events")
        async with join_transaction(self._uow, "append events", writes=True) as active:
            self._get_changes(active).append(
                [_convert_to_json(event, tenant_id) for event in events]
            )

    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> AppendResult:
        """Append events numbered from the end of the stream."""
        stream.ensure_storable()
        tenant_id = tenancy.get_row_tenant(f"append to {stream}")
        async with join_transaction(self._uow, "append to a stream", writes=True) as active:
            changes = self._get_changes(active)
            actual = changes.find_version((tenant_id, stream))
            checks.ensure_expected_version(stream, expected_version, actual)
            numbered = [
                replace(
                    _convert_to_json(event, tenant_id),
                    aggregate_type=stream[0],
                    aggregate_id=stream[1],
                    version=v,
                )
                for v, event in enumerate(events, actual + 1)
            ]
            changes.append(numbered)
        # Only the commit of a transaction for this call has happened by now.
        return AppendResult(actual + len(numbered), active.committed_position)

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
        """Return the events of an aggregate, with the events of the unit of work."""
        if limit is not None:
            checks.ensure_page_limit(limit)
        tenant_id = tenancy.get_row_tenant(f"read the events of {aggregate_id}")
        async with join_transaction(self._uow, "read events") as active:
            changes = self._get_changes(active)
            if aggregate_type is None:
                types = changes.find_types((tenant_id, aggregate_id))
                if len(types) > 1:
                    raise errors.AmbiguousStreamError.shared_id(aggregate_id, types)
                if not types:
                    return []
                (aggregate_type,) = types
            place = tenant_id, StreamId(aggregate_type, aggregate_id)
            found = changes.read(place, after_version, up_to_version)
        ordered = reversed(found) if descending else found
        stop = None if limit is None else clamp_integer(limit)
        return [_copy(event) for event in islice(ordered, stop)]

    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        """Return the events of several streams, with the events of the unit of work."""
        tenant_id = tenancy.get_row_tenant("read streams")
        async with join_transaction(self._uow, "read streams") as active:
            read = self._get_changes(active).read
            return {
                stream: [_copy(event) for event in read((tenant_id, stream), after_version)]
                for stream in streams
            }

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        """Return the next committed events, in the order of their positions."""
        return await self._read_page(self._log.events, position, limit)

    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the next committed events of some types, in the order of their positions."""
        by_type = self._log.by_type
        found = [event for each in set(event_types) for event in by_type.get(each, ())]
        return await self._read_page(sorted(found, key=_position), after, limit)

    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        """Return the committed events that occurred between two times, by position."""
        by_time = self._log.by_time
        first = bisect_left(by_time, start, key=_occurred_at)
        last = bisect_left(by_time, end, key=_occurred_at)
        return await self._read_page(sorted(by_time[first:last], key=_position), after, limit)

    def stream_after(self, position: int, *, batch_size: int = 500) -> AsyncIterator[StoredEvent]:
        """Yield committed events up to the present end, ``batch_size`` in memory."""
        return event_pages.stream_pages(self.get_events_after, position, batch_size)

    async def latest_position(self) -> int:
        """Return the highest committed position."""
        await asyncio.sleep(0)
        return self._log.latest

    async def highest_position(self) -> int:
        """Return the highest committed position; here it equals ``latest_position``."""
        return await self.latest_position()

    async def get_first_committed(self, *, after: int) -> StoredEvent | None:
        """Return the next committed event, which every reader can see."""
        return next(iter(await self.get_events_after(after, 1)), None)

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Wait until ``position`` is committed; return False after ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._log.latest < position:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            await self._log.signal.wait(EVENTS_CHANNEL, remaining)
        return True

    async def _read_page(
        self, events: list[StoredEvent], after: int, limit: int
    ) -> list[StoredEvent]:
        checks.ensure_page_limit(limit)
        tenant_id = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        later = islice(events, bisect_right(events, after, key=_position), None)
        visible = (e for e in later if tenant_id is None or _tenant_of(e) == tenant_id)
        return [_copy(event) for event in islice(visible, clamp_integer(limit))]

    def _get_changes(self, uow: InMemoryTransaction) -> "_AppendedEvents":
        return uow.change_set(self._log, lambda: _AppendedEvents(self._log))


class _Log:
    """Committed events, with the indexes of an event table."""

    def __init__(self, signal: InMemoryQueueSignal) -> None:
        self.signal = signal
        self.events: list[StoredEvent] = []
        self.streams: dict[Place, list[StoredEvent]] = {}
        self.types: dict[tuple[str, str], set[str]] = {}
        self.ids: set[tuple[str, str]] = set()
        self.by_type: dict[str, list[StoredEvent]] = {}
        self.by_time: list[StoredEvent] = []
        self.latest = 0
        self._next_position = 1

    def find_version(self, place: Place) -> int:
        stream = self.streams.get(place)
        return stream[-1].version if stream else 0

    def draw_position(self) -> int:
        position = self._next_position
        self._next_position += 1
        return position

    def add(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            tenant_id, place = _tenant_of(event), _place_of(event)
            self.events.append(event)
            self.streams.setdefault(place, []).append(event)
            types = self.types.setdefault((tenant_id, event.aggregate_id), set())
            types.add(event.aggregate_type)
            self.ids.add((tenant_id, event.event_id))
            self.by_type.setdefault(event.event_type, []).append(event)
            insort(self.by_time, event, key=_occurred_at)
            self.latest = event.position or 0
        if events:
            self.signal.wake(EVENTS_CHANNEL)


class _AppendedEvents(ChangeSet):
    """Events appended by one unit of work."""

    def __init__(self, log: _Log) -> None:
        self._log = log
        self._events: list[StoredEvent] = []
        self._streams: dict[Place, list[StoredEvent]] = {}
        self._types: dict[tuple[str, str], set[str]] = {}
        self._ids: set[tuple[str, str]] = set()

    def append(self, events: Sequence[StoredEvent]) -> None:
        """Append all events, or none."""
        firsts = checks.find_first_versions(events)
        ids: set[tuple[str, str]] = set()
        for event in events:
            if event.version == firsts[event.stream]:
                self._ensure_later(event, self.find_version(_place_of(event)))
        for event in events:
            event_id = (_tenant_of(event), event.event_id)
            if event_id in ids or event_id in self._ids or event_id in self._log.ids:
                raise errors.DuplicateEventError.already_stored(event.event_type, event.event_id)
            ids.add(event_id)
        self._ids |= ids
        self._events += events
        for event in events:
            self._streams.setdefault(_place_of(event), []).append(event)
            types = self._types.setdefault((_tenant_of(event), event.aggregate_id), set())
            types.add(event.aggregate_type)

    @staticmethod
    def _ensure_later(event: StoredEvent, actual: int) -> None:
        if event.version <= actual:
            raise errors.OptimisticConcurrencyError.version_taken(
                str(event.stream), event.version, actual
            )

    def find_version(self, place: Place) -> int:
        own = self._streams.get(place)
        return own[-1].version if own else self._log.find_version(place)

    def find_types(self, place: tuple[str, str]) -> set[str]:
        """Return the types of the streams of a tenant and an aggregate id."""
        return self._log.types.get(place, set()) | self._types.get(place, set())

    def read(
        self, place: Place, after_version: int, up_to_version: int | None = None
    ) -> list[StoredEvent]:
        last = MAX_INTEGER if up_to_version is None else up_to_version
        committed, own = (
            part[bisect_right(part, after_version, key=_version) :]
            for part in (self._log.streams.get(place, []), self._streams.get(place, []))
        )
        found = sorted(committed + own, key=_version) if own else committed
        return found[: bisect_right(found, last, key=_version)]

    def check(self) -> None:
        # Another transaction may have committed since these events were appended.
        for place, own in self._streams.items():
            self._ensure_later(own[0], self._log.find_version(place))
        for event in self._events:
            if (_tenant_of(event), event.event_id) in self._log.ids:
                raise errors.DuplicateEventError.already_stored(event.event_type, event.event_id)

    def apply(self) -> int | None:
        numbered = [replace(event, position=self._log.draw_position()) for event in self._events]
        self._log.add(numbered)
        return self._log.latest if numbered else None

    def discard(self) -> None:
        # A database sequence does not reuse the numbers of a transaction that rolled back.
        for _ in self._events:
            self._log.draw_position()


def _convert_to_json(event: StoredEvent, tenant_id: str) -> StoredEvent:
    """Return the event as readers see it: decoded from JSON, with its tenant in the metadata."""
    tenancy.ensure_own_metadata(event.metadata, tenant_id, f"{event.event_type} {event.event_id}")
    metadata = _decode_as_stored(event, event.metadata)
    tenancy.set_metadata_tenant(metadata, tenant_id)
    return replace(event, payload=_decode_as_stored(event, event.payload), metadata=metadata)


def _tenant_of(event: StoredEvent) -> str:
    return tenancy.get_metadata_tenant(event.metadata)


def _place_of(event: StoredEvent) -> Place:
    return _tenant_of(event), event.stream


def _copy(event: StoredEvent) -> StoredEvent:
    """Return an equal event with its own values, without the checks of a new one."""
    copy: StoredEvent = object.__new__(event.__class__)
    copy.__dict__.update(
        event.__dict__,
        payload=copy_mutable(event.payload),
        metadata=copy_mutable(event.metadata),
    )
    return copy


def _decode_as_stored(event: StoredEvent, facts: dict[str, object]) -> dict[str, object]:
    subject = f"{event.event_type} {event.event_id}"
    decoded: dict[str, object] = from_json(
        json_fidelity.encode_json(facts, subject, type_name=event.event_type)
    )
    return decoded
