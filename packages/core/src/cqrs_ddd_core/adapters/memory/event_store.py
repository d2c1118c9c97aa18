"""Events in a list, with transactions."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from operator import attrgetter

from pydantic_core import PydanticSerializationError, from_json, to_json

from ...ports.event_store import ExpectedVersion, IEventLog, StoredEvent, StreamId
from ...ports.unit_of_work import UnitOfWork
from ...primitives.exceptions import (
    AmbiguousStreamError,
    DuplicateEventError,
    EventStoreError,
    OptimisticConcurrencyError,
    SerializationError,
)
from .unit_of_work import ChangeSet, InMemoryUnitOfWork, joined

_position = attrgetter("position")
_version = attrgetter("version")
_occurred_at = attrgetter("occurred_at")


class InMemoryEventStore(IEventLog):
    """The fake of an event table.

    Payloads are kept as the JSON that a database would keep. Positions are given out at the commit;
    a rollback uses up the ones it would have had, so there are holes, as on a database.
    """

    def __init__(self) -> None:
        self._log = _Log()
        self._uow: UnitOfWork | None = None

    def within(self, uow: UnitOfWork) -> InMemoryEventStore:
        """The same events, seen and changed in one unit of work."""
        bound = InMemoryEventStore()
        bound._log, bound._uow = self._log, uow
        return bound

    async def append(self, stored_event: StoredEvent) -> None:
        await self.append_batch([stored_event])

    async def append_batch(self, events: list[StoredEvent]) -> None:
        async with joined(self._uow, "append events") as active:
            self._changes(active).append([_as_json(event) for event in events])

    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> int:
        async with joined(self._uow, "append to a stream") as active:
            changes = self._changes(active)
            actual = changes.version_of(stream)
            _refuse_unexpected(stream, expected_version, actual)
            numbered = [
                replace(
                    _as_json(event), aggregate_type=stream[0], aggregate_id=stream[1], version=v
                )
                for v, event in enumerate(events, actual + 1)
            ]
            changes.append(numbered)
            return actual + len(numbered)

    async def get_events(
        self,
        aggregate_id: str,
        *,
        after_version: int = 0,
        aggregate_type: str | None = None,
    ) -> list[StoredEvent]:
        async with joined(self._uow, "read events") as active:
            changes = self._changes(active)
            if aggregate_type is None:
                types = changes.types_of(aggregate_id)
                if len(types) > 1:
                    raise _ambiguous(aggregate_id, types)
                if not types:
                    return []
                (aggregate_type,) = types
            return changes.read(StreamId(aggregate_type, aggregate_id), after_version)

    async def get_streams(
        self, streams: Collection[StreamId], *, after_version: int = 0
    ) -> dict[StreamId, list[StoredEvent]]:
        async with joined(self._uow, "read streams") as active:
            changes = self._changes(active)
            return {stream: changes.read(stream, after_version) for stream in streams}

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        return await self._page(self._log.events, position, limit)

    async def get_events_of_types(
        self, event_types: Collection[str], *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        pages = [
            await self._page(self._log.by_type.get(event_type, []), after, limit)
            for event_type in set(event_types)
        ]
        return sorted((event for page in pages for event in page), key=_position)[:limit]

    async def get_events_between(
        self, start: datetime, end: datetime, *, after: int = 0, limit: int = 1000
    ) -> list[StoredEvent]:
        by_time = self._log.by_time
        first = bisect_left(by_time, start, key=_occurred_at)
        last = bisect_left(by_time, end, key=_occurred_at)
        return await self._page(sorted(by_time[first:last], key=_position), after, limit)

    async def stream_after(
        self, position: int, *, batch_size: int = 500
    ) -> AsyncIterator[StoredEvent]:
        while batch := await self.get_events_after(position, batch_size):
            for event in batch:
                yield event
            position = batch[-1].position or 0

    async def latest_position(self) -> int:
        await asyncio.sleep(0)
        return self._log.latest

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._log.latest < position:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            with self._log.growth() as grown:
                await asyncio.wait({grown}, timeout=remaining)
        return True

    async def _page(self, events: list[StoredEvent], after: int, limit: int) -> list[StoredEvent]:
        if limit < 1:
            raise EventStoreError(f"limit must be at least 1, got {limit}")
        await asyncio.sleep(0)
        first = bisect_right(events, after, key=_position)
        return events[first : first + limit]

    def _changes(self, uow: InMemoryUnitOfWork) -> _Appended:
        return uow.changes(self._log, lambda: _Appended(self._log))


class _Log:
    """What is committed, with the indexes that a table would have."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.streams: dict[StreamId, list[StoredEvent]] = {}
        self.versions: set[tuple[StreamId, int]] = set()
        self.types: dict[str, set[str]] = {}
        self.ids: set[str] = set()
        self.by_type: dict[str, list[StoredEvent]] = {}
        self.by_time: list[StoredEvent] = []
        self.latest = 0
        self._next_position = 1
        self._waiters: set[asyncio.Future[None]] = set()

    def draw_position(self) -> int:
        position = self._next_position
        self._next_position += 1
        return position

    def add(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            self.events.append(event)
            insort(self.streams.setdefault(event.stream, []), event, key=_version)
            self.versions.add((event.stream, event.version))
            self.types.setdefault(event.aggregate_id, set()).add(event.aggregate_type)
            self.ids.add(event.event_id)
            self.by_type.setdefault(event.event_type, []).append(event)
            insort(self.by_time, event, key=_occurred_at)
            self.latest = event.position or 0
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    @contextmanager
    def growth(self) -> Iterator[asyncio.Future[None]]:
        """A future that is done when further events are committed."""
        grown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(grown)
        try:
            yield grown
        finally:
            self._waiters.discard(grown)


class _Appended(ChangeSet):
    """Events appended by one unit of work."""

    def __init__(self, log: _Log) -> None:
        self._log = log
        self._events: list[StoredEvent] = []
        self._streams: dict[StreamId, list[StoredEvent]] = {}
        self._types: dict[str, set[str]] = {}
        self._ids: set[str] = set()
        self._versions: set[tuple[StreamId, int]] = set()

    def append(self, events: Sequence[StoredEvent]) -> None:
        """All or none of them."""
        ids: set[str] = set()
        versions: set[tuple[StreamId, int]] = set()
        for event in events:
            place = (event.stream, event.version)
            if event.version < 1:
                raise _no_version(event)
            if place in versions or place in self._versions or place in self._log.versions:
                raise self._taken(event)
            if (
                event.event_id in ids
                or event.event_id in self._ids
                or event.event_id in self._log.ids
            ):
                raise _stored_already(event)
            ids.add(event.event_id)
            versions.add(place)
        self._ids |= ids
        self._versions |= versions
        self._events += events
        for event in events:
            insort(self._streams.setdefault(event.stream, []), event, key=_version)
            self._types.setdefault(event.aggregate_id, set()).add(event.aggregate_type)

    def version_of(self, stream: StreamId) -> int:
        own, committed = self._streams.get(stream), self._log.streams.get(stream)
        return max(own[-1].version if own else 0, committed[-1].version if committed else 0)

    def types_of(self, aggregate_id: str) -> set[str]:
        own, committed = (
            self._types.get(aggregate_id, set()),
            self._log.types.get(aggregate_id, set()),
        )
        return own | committed

    def read(self, stream: StreamId, after_version: int) -> list[StoredEvent]:
        parts = self._log.streams.get(stream, []), self._streams.get(stream, [])
        committed, own = (part[bisect_right(part, after_version, key=_version) :] for part in parts)
        return sorted(committed + own, key=_version) if own else committed

    def check(self) -> None:
        # Somebody else may have committed since these were appended.
        for event in self._events:
            if (event.stream, event.version) in self._log.versions:
                raise self._taken(event)
            if event.event_id in self._log.ids:
                raise _stored_already(event)

    def apply(self) -> int | None:
        numbered = [replace(event, position=self._log.draw_position()) for event in self._events]
        self._log.add(numbered)
        return self._log.latest if numbered else None

    def discard(self) -> None:
        # A sequence does not take back what a rolled back transaction drew from it.
        for _ in self._events:
            self._log.draw_position()

    def _taken(self, event: StoredEvent) -> OptimisticConcurrencyError:
        actual = self.version_of(event.stream)
        return OptimisticConcurrencyError(
            f"{_label(event.stream)} has a version {event.version} already, it is at {actual}; "
            "load it again and decide anew",
            subject=_label(event.stream),
            expected=event.version - 1,
            actual=actual,
        )


def _as_json(event: StoredEvent) -> StoredEvent:
    """The event as a reader will see it: payload and metadata after a way through JSON."""
    try:
        return replace(
            event,
            payload=_through_json(event.payload),
            metadata=_through_json(event.metadata),
        )
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError(
            f"{event.event_type} {event.event_id} cannot be written as JSON: {error}; "
            "give its payload and metadata JSON values only",
            type_name=event.event_type,
        ) from error


def _through_json(facts: dict[str, object]) -> dict[str, object]:
    written = to_json(facts, inf_nan_mode="constants")
    read: dict[str, object] = from_json(written, allow_inf_nan=False)
    return read


def _refuse_unexpected(stream: StreamId, expected: ExpectedVersion | int, actual: int) -> None:
    if expected is ExpectedVersion.ANY:
        return
    if expected is ExpectedVersion.STREAM_EXISTS:
        fits = actual > 0
    else:
        fits = actual == (0 if expected is ExpectedVersion.NO_STREAM else expected)
    if not fits:
        wanted = expected.value if isinstance(expected, ExpectedVersion) else f"version {expected}"
        raise OptimisticConcurrencyError(
            f"{_label(stream)} should be at {wanted}, but it is at "
            f"{f'version {actual}' if actual else 'no stream'}; load it again and decide anew",
            subject=_label(stream),
            expected=expected,
            actual=actual or None,
        )


def _label(stream: StreamId) -> str:
    return f"{stream.aggregate_type} {stream.aggregate_id}"


def _no_version(event: StoredEvent) -> EventStoreError:
    return EventStoreError(
        f"{event.event_type} {event.event_id} has version {event.version}; versions of a stream "
        "count from 1"
    )


def _stored_already(event: StoredEvent) -> DuplicateEventError:
    return DuplicateEventError(
        f"an event with id {event.event_id} is stored already, so {event.event_type} is not "
        "appended; give each event an id of its own",
        event_id=event.event_id,
    )


def _ambiguous(aggregate_id: str, types: Collection[str]) -> AmbiguousStreamError:
    return AmbiguousStreamError(
        f"{aggregate_id} is an id of {', '.join(sorted(types))}; pass aggregate_type=",
        aggregate_id=aggregate_id,
        aggregate_types=sorted(types),
    )
