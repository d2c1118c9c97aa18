"""Projections that are written with the events they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

from cqrs_ddd_core.context import get_request_metadata
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.middleware import IMiddleware, Placement
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..ports.positions import IPositionStore
from .batch import tenant_of
from .documents import ProjectionDocuments
from .handler import ProjectionHandler
from .registry import ProjectionRegistry
from .writing import OnChange, load, notify_changes, store_of, write


class InlineProjectionMiddleware(IMiddleware):
    """Writes the views in the transaction of the command: they are never behind, and an event that
    a handler cannot take fails the command.

    Two commands that change the same document wait for each other, or one ends in
    ``ConcurrencyError``. List it first of those inside the unit of work, so that a rebuild can wait
    for commands under way, and call ``prepare`` once before the first command.

    Args:
        on_change: as that of a ``ProjectionWorker``.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    def __init__(
        self,
        projections: ProjectionRegistry | Iterable[ProjectionHandler],
        *,
        positions: IPositionStore,
        on_change: OnChange | None = None,
    ) -> None:
        self._projections = ProjectionRegistry.of(projections)
        self._positions = positions
        self._on_change = on_change

    async def prepare(self, uow_factory: Callable[[], UnitOfWork]) -> None:
        """Ensure the collections, and say that they are written inline.

        Raises ``ProjectionStoreError`` for one with other fields, and ``ProjectionVersionError``
        for one of another version, or that workers run.
        """
        for handler in self._projections:
            handler.verify()
            async with uow_factory() as uow:
                await store_of(uow).ensure_collection(handler.collection, handler.fields)
            async with uow_factory() as uow:
                await self._join(handler, uow)

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        uow = get_current_uow()
        if uow is None:
            raise InvalidOperationError("inline projections are written within a unit of work")
        for handler in self._projections:
            await self._join(handler, uow)
        response = await next_(message)
        for handler in self._projections:
            await self._take(handler, response.events, uow)
        return response

    async def _join(self, handler: ProjectionHandler, uow: UnitOfWork) -> None:
        await self._positions.lock_shared(handler.collection, version=handler.version, uow=uow)

    async def _take(
        self, handler: ProjectionHandler, events: Sequence[DomainEvent], uow: UnitOfWork
    ) -> None:
        taken = [
            (event, handler.resolve_document_ids(event))
            for event in map(_as_stored, events)
            if handler.handles(event.event_type)
        ]
        ids = sorted({each for _, concerned in taken for each in concerned})
        if not ids:
            return
        with hooks.span("projection.inline", projection=handler.collection, events=len(taken)):
            store, documents = store_of(uow), ProjectionDocuments(handler.collection)
            await store.lock(handler.collection, ids, uow=uow)
            await load(documents, ids, store, handler.collection, uow)
            for event, concerned in taken:
                handler.apply(event, concerned, documents)
            changed = await write(documents, store, handler.collection, uow)
            touched: dict[str | None, set[str]] = {}
            for event, concerned in taken:
                touched.setdefault(tenant_of(event), set()).update(concerned)
            notify_changes(changed, touched, handler.collection, self._on_change, uow)


def _as_stored(event: DomainEvent) -> DomainEvent:
    """With the tenant and the user that the stored one tells, or a rebuild would see more."""
    facts = get_request_metadata()
    return event.model_copy(update={"metadata": {**event.metadata, **facts}}) if facts else event
