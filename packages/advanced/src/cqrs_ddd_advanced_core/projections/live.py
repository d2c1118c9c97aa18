"""Projections that are made while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cqrs_ddd_core import AmbiguousStreamError, IEventStore, StoredEvent

from ..ports.projections import JsonDocument
from .documents import ProjectionDocuments
from .handler import ProjectionHandler


class LiveProjection:
    """Projection that applies the events at each read and stores nothing, so it is always current.

    A document of a handler with its own ``document_ids`` needs all events of the store, a page at a
    time, as do all documents together; any other document needs the events of its aggregate.

    Args:
        handler: makes the documents.
        events: the event store.
        page: number of events in one read.
    """

    def __init__(
        self, handler: ProjectionHandler, events: IEventStore, *, page: int = 1000
    ) -> None:
        self._handler = handler
        self._events = events
        self._page = page

    async def get(self, doc_id: str, *, until: int | None = None) -> JsonDocument | None:
        """Return a document after the events up to the position ``until``, or after all."""
        documents = ProjectionDocuments(self._handler.collection)
        async for stored in self._read_events_for(doc_id):
            self._apply(stored, until, documents)
        return documents.upserts.get(doc_id)

    async def get_all(self, *, until: int | None = None) -> dict[str, JsonDocument]:
        """Return all documents by id, in memory, after the events up to the position ``until``."""
        documents = ProjectionDocuments(self._handler.collection)
        async for stored in self._read_all_events():
            self._apply(stored, until, documents)
        return documents.upserts

    def _apply(
        self, stored: StoredEvent, until: int | None, documents: ProjectionDocuments
    ) -> None:
        is_later = until is not None and (stored.position or 0) > until
        if is_later or not self._handler.handles(stored.event_type):
            return
        event = self._handler.decode(stored)
        ids = self._handler.resolve_document_ids(event)
        documents.add_stored(ids, {})
        self._handler.apply(event, ids, documents)

    async def _read_events_for(self, doc_id: str) -> AsyncIterator[StoredEvent]:
        if type(self._handler).document_ids is ProjectionHandler.document_ids:
            try:
                stream = await self._events.get_events(doc_id)
            except AmbiguousStreamError:
                pass  # Two streams make the document, and only all events tell their order.
            else:
                for stored in stream:
                    yield stored
                return
        async for stored in self._read_all_events():
            yield stored

    async def _read_all_events(self) -> AsyncIterator[StoredEvent]:
        position = 0
        while page := await self._events.get_events_after(position, self._page):
            for stored in page:
                yield stored
            position = page[-1].position or 0
