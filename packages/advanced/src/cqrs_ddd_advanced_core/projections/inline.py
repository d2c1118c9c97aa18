"""Middleware that writes projections in the transaction of the command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

from cqrs_ddd_core import DomainEvent, InvalidOperationError, get_request_metadata
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports import IMiddleware, Placement, UnitOfWork, get_current_uow

from .. import exceptions, ports
from .documents import OnChange, ProjectionDocuments, get_projection_store, notify_changes
from .handler import ProjectionHandler, ProjectionRegistry


class InlineProjectionMiddleware(IMiddleware):
    """Middleware that writes projections in the transaction that appends their events.

    The documents are never behind the events; an event that a handler cannot process fails the
    command. If two commands change the same document, one waits or fails with ``ConcurrencyError``.
    List this middleware first of all inside the unit of work, so that a rebuild can wait for
    running commands, and call ``prepare`` once before the first command.

    Of several versions of a projection, each command writes the live one, so a process that has the
    previous and the next version continues before and after a rebuild.

    Args:
        projections: registry or handlers.
        positions: store of positions.
        on_change: awaited after the commit with the collection and the ids of the changed
            documents, in the request context of the command; errors are logged.
    """

    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 10

    def __init__(
        self,
        projections: ProjectionRegistry | Iterable[ProjectionHandler],
        *,
        positions: ports.IPositionStore,
        on_change: OnChange | None = None,
    ) -> None:
        self._projections = ProjectionRegistry.create(projections)
        self._positions = positions
        self._on_change = on_change

    async def prepare(self, uow_factory: Callable[[], UnitOfWork]) -> None:
        """Create the collections, and register their projections as inline.

        A projection of which another version is live is left unchanged, with a warning.

        Args:
            uow_factory: creates units of work with a projection store.

        Raises:
            ProjectionStoreError: the collection exists with other fields.
            ProjectionVersionError: workers run the projection.
        """
        for handler in await self._projections.find_live(self._positions):
            handler.verify()
            async with uow_factory() as uow:
                store = get_projection_store(uow)
                await store.ensure_collection(handler.collection, handler.fields or None)
            async with uow_factory() as uow:
                await self._lock(handler, uow)

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        """Lock the projections, run the command, and apply its events to the documents.

        Raises:
            ProjectionVersionError: the command has recorded events, and the live version of a
                projection is unknown here.
        """
        uow = get_current_uow()
        if uow is None:
            raise InvalidOperationError("inline projections need a unit of work; open one first")
        latest = list(self._projections)
        live = [await self._lock(handler, uow) for handler in latest]
        response = await next_(message)
        if response.events:
            for handler, version in zip(latest, live, strict=True):
                await self._write(self._get_handler(handler, version), response.events, uow)
        return response

    async def _lock(self, handler: ProjectionHandler, uow: UnitOfWork) -> int:
        name, version = handler.collection, handler.version
        return await self._positions.lock_shared(name, version=version, uow=uow)

    def _get_handler(self, latest: ProjectionHandler, live: int) -> ProjectionHandler:
        """Return the handler of the live version; an unknown one may read any event."""
        versions = self._projections.get_versions(latest.collection)
        if live not in versions:
            raise exceptions.ProjectionVersionError.not_registered(
                latest.collection, versions, live
            )
        return versions[live]

    async def _write(
        self, handler: ProjectionHandler, events: Sequence[DomainEvent], uow: UnitOfWork
    ) -> None:
        handled = [
            (event, handler.resolve_document_ids(event))
            for event in map(_add_request_metadata, events)
            if handler.handles(event.event_type)
        ]
        ids = sorted({each for _, affected in handled for each in affected})
        if not ids:
            return
        with hooks.span("projection.inline", projection=handler.collection, events=len(handled)):
            documents = ProjectionDocuments(handler.collection)
            await get_projection_store(uow).lock(handler.collection, ids, uow=uow)
            await documents.load(ids, uow)
            for event, affected in handled:
                handler.apply(event, affected, documents)
            changed = await documents.save(uow)
            notify_changes(changed, handler.collection, self._on_change, uow)


def _add_request_metadata(event: DomainEvent) -> DomainEvent:
    """Add the tenant and the user that the stored event has, and that a rebuild will see."""
    facts = get_request_metadata()
    return event.model_copy(update={"metadata": {**event.metadata, **facts}}) if facts else event
