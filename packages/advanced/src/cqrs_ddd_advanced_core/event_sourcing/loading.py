"""Aggregates from their events."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.domain.event_registry import EventTypeRegistry
from cqrs_ddd_core.ports.clock import IClock, SystemClock
from cqrs_ddd_core.ports.event_store import IEventStore, StoredEvent, StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    NaiveDatetimeError,
)

from ..ports.snapshots import Snapshot
from ..snapshots import AggregateSnapshots, Loading
from .applying import apply_history
from .histories import Histories, read_histories
from .mapping import EventMapper

T = TypeVar("T", bound=AggregateRoot[Any])

logger = logging.getLogger(__name__)


class EventSourcedLoader(Generic[T]):
    """Folds the events of ``entity_type``, from a snapshot on where there is a usable one.

    A snapshot that is due is taken of the state as loaded, before anybody can change it, and
    written after the commit of the unit of work, or at once where there is none. One that cannot
    be used is replaced in the same way.
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
        self.mapper = EventMapper(registry if registry is not None else entity_type.event_registry)
        self.snapshots = snapshots
        self._clock = clock or SystemClock()

    async def load(
        self, ids: Iterable[Any], store: IEventStore, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Those that have events, in the order asked for, each once; many ids are one read.

        With snapshots it is one read more, and a further one where some ids have a snapshot and
        others have none.
        """
        wanted = {self._stream_of(entity_id): entity_id for entity_id in ids}
        if not wanted:
            return []
        begin = self._clock.monotonic()
        from_snapshots, stale = await self._usable_snapshots(wanted, uow)
        histories = await self._tails(store, wanted, from_snapshots, stale)
        reading = (self._clock.monotonic() - begin) / len(wanted)
        found: list[T] = []
        due: list[Snapshot] = []
        for stream, entity_id in wanted.items():
            aggregate = from_snapshots.get(stream)
            start = 0 if aggregate is None else aggregate.version
            stored = histories[stream]
            if aggregate is None:
                if not stored:
                    continue
                aggregate = self.entity_type.create_empty(entity_id)
            begin = self._clock.monotonic()
            self._fold(aggregate, stored)
            found.append(aggregate)
            if self.snapshots is not None:
                seconds = reading + self._clock.monotonic() - begin
                loading = Loading(aggregate.version, start, seconds)
                if stream in stale or self.snapshots.is_due(loading):
                    snapshot = self.snapshots.of(aggregate)
                    due += [] if snapshot is None else [snapshot]
        if self.snapshots is not None and due:
            await self._keep(self.snapshots, due, uow, stale)
        return found

    async def load_past(
        self,
        entity_id: Any,
        store: IEventStore,
        uow: UnitOfWork | None = None,
        *,
        version: int | None = None,
        at: datetime | None = None,
    ) -> T | None:
        """As it was at a version, or at a time: after the last event that had occurred by then.

        None where it had not come so far. What is answered cannot be saved.
        """
        if (version is None) == (at is None):
            raise InvalidOperationError("a past state has a version= or a time at=, one of them")
        if version is not None and (type(version) is not int or version < 1):
            raise InvalidOperationError(f"version= is a number from 1 on, got {version!r}")
        if at is not None and not isinstance(at, datetime):
            raise InvalidOperationError(f"at= is a time, got {at!r}; pass an aware datetime")
        if at is not None and at.tzinfo is None:
            raise NaiveDatetimeError(
                f"at={at.isoformat()} has no time zone; pass an aware datetime",
                field="at",
                value=at,
            )
        # Without snapshots: the kept one is about as late as the present.
        stream = self._stream_of(entity_id)
        stored = (await read_histories(store, [stream], 0))[stream]
        if at is not None:
            version = max((e.version for e in stored if e.occurred_at <= at), default=0)
        if not version or len(stored) < version:
            return None
        aggregate = self.entity_type.create_empty(entity_id)
        self._fold(aggregate, stored[:version])
        aggregate.mark_historical()
        return aggregate

    def _stream_of(self, entity_id: Any) -> StreamId:
        return StreamId(self.entity_type.aggregate_type, str(entity_id))

    async def _usable_snapshots(
        self, streams: Collection[StreamId], uow: UnitOfWork | None
    ) -> tuple[dict[StreamId, T], dict[StreamId, int]]:
        if self.snapshots is None:
            return {}, {}
        return await self.snapshots.load(streams, uow)

    async def _tails(
        self,
        store: IEventStore,
        wanted: Collection[StreamId],
        from_snapshots: dict[StreamId, T],
        stale: dict[StreamId, int],
    ) -> Histories:
        """What is left to apply; snapshots that turn out to be wrong move over to ``stale``."""
        if not from_snapshots:
            return await read_histories(store, wanted, 0)
        # The last event of a snapshot is read again: where it is missing, the stream has ended
        # before, as after a restore.
        after = min(aggregate.version for aggregate in from_snapshots.values()) - 1
        histories = await read_histories(store, list(from_snapshots), after)
        for stream, aggregate in list(from_snapshots.items()):
            tail = [event for event in histories[stream] if event.version >= aggregate.version]
            if tail and tail[0].version == aggregate.version:
                histories[stream] = tail[1:]
            else:
                assert self.snapshots is not None
                self.snapshots.passed_over(stream, "beyond the stream")
                del from_snapshots[stream]
                stale[stream] = aggregate.version
        rest = [stream for stream in wanted if stream not in from_snapshots]
        if rest:
            histories.update(await read_histories(store, rest, 0))
        return histories

    def _fold(self, aggregate: T, stored: Sequence[StoredEvent]) -> None:
        apply_history(aggregate, stored, self.mapper.to_domain)

    async def _keep(
        self,
        snapshots: AggregateSnapshots[T],
        due: list[Snapshot],
        uow: UnitOfWork | None,
        stale: dict[StreamId, int],
    ) -> None:
        save = partial(snapshots.save, due, instead_of=stale)
        if uow is not None:
            uow.on_commit(save)
            return
        try:
            await save()
        except Exception:
            logger.exception(
                "%d snapshot(s) of %s were not written", len(due), self.entity_type.__name__
            )
