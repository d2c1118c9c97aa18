"""Documents of a store into a view, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..ports.projections import IProjectionStore, IProjectionStoreProvider
from .documents import ProjectionDocuments

OnChange = Callable[[str, Collection[str]], Awaitable[object]]
"""Told of the collection, and of the ids whose documents were changed."""


def store_of(uow: UnitOfWork) -> IProjectionStore:
    """Raises ``InvalidOperationError`` for a unit of work that carries none."""
    carrier: object = uow
    if not isinstance(carrier, IProjectionStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no projections; use a unit of work that does"
        )
    return carrier.projections


async def load(
    documents: ProjectionDocuments,
    ids: Collection[str],
    store: IProjectionStore,
    collection: str,
    uow: UnitOfWork,
) -> None:
    """What the view has not read yet."""
    unread = sorted(documents.unread(ids))
    if unread:
        documents.read(unread, await store.get_batch(collection, unread, uow=uow))


def notify_changes(
    changed: Collection[str],
    touched: Mapping[str | None, Collection[str]],
    collection: str,
    on_change: OnChange | None,
    uow: UnitOfWork,
) -> None:
    """After the commit, once for each tenant, in whose name it is called."""
    if on_change is None:
        return
    for tenant, ids in touched.items():
        told = [each for each in changed if each in ids]
        if told:
            uow.on_commit(partial(_tell, on_change, tenant, collection, told))


async def _tell(
    on_change: OnChange, tenant: str | None, collection: str, ids: Collection[str]
) -> None:
    with request_context(tenant_id=tenant):
        await on_change(collection, ids)


async def write(
    documents: ProjectionDocuments, store: IProjectionStore, collection: str, uow: UnitOfWork
) -> list[str]:
    """The ids of what was changed."""
    upserted, deleted = documents.upserted, documents.deleted
    if upserted:
        await store.upsert_batch(collection, upserted, uow=uow)
    if deleted:
        await store.delete_batch(collection, deleted, uow=uow)
    return [*upserted, *deleted]
