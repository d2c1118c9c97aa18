"""Streams of events, from whatever kind of event store there is."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TypeGuard

from cqrs_ddd_core.ports.event_store import IEventLog, IEventStore, StoredEvent, StreamId

Histories = dict[StreamId, list[StoredEvent]]


async def read_histories(
    store: IEventStore, streams: Collection[StreamId], after: int
) -> Histories:
    """By version, those after the version ``after``; an ``IEventLog`` is read once."""
    if _keeps_log(store):
        if len(streams) > 1:
            return await store.get_streams(streams, after_version=after)
        (stream,) = streams
        events = await store.get_events(
            stream.aggregate_id, after_version=after, aggregate_type=stream.aggregate_type
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
    # Asking a protocol takes as long as applying some twenty events.
    return issubclass(store_type, IEventLog)
