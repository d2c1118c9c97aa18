"""Documents made at reading, of the events as they are now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cqrs_ddd_core.ports.event_store import IEventStore, StoredEvent
from cqrs_ddd_core.primitives.exceptions import AmbiguousStreamError

from .documents import ProjectionDocuments
from .handler import ProjectionHandler


class LiveProjection:
    """Folds the events when somebody asks and keeps nothing: always of now, never to be rebuilt.

    A document of a handler with its own ``ids_of``, and all documents at once, take a way through
    all events of the store, a page at a time; any other document only its aggregate's.
    """

    def __init__(
        self, handler: ProjectionHandler, events: IEventStore, *, page: int = 1000
    ) -> None:
        self._handler = handler
        self._events = events
        self._page = page

    async def get(self, doc_id: str, *, until: int | None = None) -> dict[str, Any] | None:
        """After the events up to the position ``until``, all where it is None."""
        documents = ProjectionDocuments(self._handler.collection)
        async for stored in self._concerning(doc_id):
            self._take(stored, until, documents)
        return documents.upserted.get(doc_id)

    async def documents(self, *, until: int | None = None) -> dict[str, dict[str, Any]]:
        """By id, after the events up to the position ``until``; all of them are in memory."""
        documents = ProjectionDocuments(self._handler.collection)
        async for stored in self._all():
            self._take(stored, until, documents)
        return documents.upserted

    def _take(self, stored: StoredEvent, until: int | None, documents: ProjectionDocuments) -> None:
        """Raises what the handler raises."""
        is_later = until is not None and (stored.position or 0) > until
        if is_later or not self._handler.handles(stored.event_type):
            return
        event = self._handler.decode(stored)
        ids = self._handler.resolve_document_ids(event)
        documents.read(documents.unread(ids), {})
        self._handler.apply(event, ids, documents)

    async def _concerning(self, doc_id: str) -> AsyncIterator[StoredEvent]:
        if type(self._handler).document_ids is ProjectionHandler.document_ids:
            try:
                stream = await self._events.get_events(doc_id)
            except AmbiguousStreamError:
                pass  # Both streams make it, and only all events tell in which order.
            else:
                for stored in stream:
                    yield stored
                return
        async for stored in self._all():
            yield stored

    async def _all(self) -> AsyncIterator[StoredEvent]:
        position = 0
        while page := await self._events.get_events_after(position, self._page):
            for stored in page:
                yield stored
            position = page[-1].position or 0
