"""Projections that are computed at each read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cqrs_ddd_core import AmbiguousStreamError, IEventStore, StoredEvent
from cqrs_ddd_core.spi.tenancy import get_row_tenant

from ..ports.projections import JsonDocument
from .documents import ProjectionDocuments
from .handler import ProjectionHandler, ensure_handler


class LiveProjection:
    """Projection that applies the events at each read and stores nothing, so it is always current.

    It applies the events of the tenant of the running request.

    With the default ``document_ids``, a document needs the events of its aggregate only. With
    another one, and for all documents together, every read goes through all events of the store,
    page by page.

    Args:
        handler: computes the documents.
        events: event store.
        page: number of events in one read.

    Raises:
        InvalidOperationError: a read is inside ``system_tenant``.
    """

    def __init__(
        self, handler: ProjectionHandler, events: IEventStore, *, page: int = 1000
    ) -> None:
        ensure_handler(handler)
        self._handler = handler
        self._events = events
        self._page = page

    async def get(self, doc_id: str, *, until: int | None = None) -> JsonDocument | None:
        """Return a document, or None if it does not exist.

        Args:
            doc_id: id of the document.
            until: position of the last event to apply; by default all events are applied.
        """
        get_row_tenant(f"compute documents of {self._handler.collection}")
        documents = ProjectionDocuments(self._handler.collection)
        async for stored in self._read_events_for(doc_id):
            self._apply(stored, until, documents)
        return documents.upserts.get(doc_id)

    async def get_all(self, *, until: int | None = None) -> dict[str, JsonDocument]:
        """Return all documents by id, in memory.

        Args:
            until: position of the last event to apply; by default all events are applied.
        """
        get_row_tenant(f"compute documents of {self._handler.collection}")
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
                pass  # Two streams affect the document; reading all events yields their order.
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
