"""Documents of one collection while a projection processes events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from pydantic_core import from_json, to_json

from cqrs_ddd_core import InvalidOperationError, SerializationError, UnitOfWork
from cqrs_ddd_core.context import bind_request
from cqrs_ddd_core.spi.json_fidelity import encode_json
from cqrs_ddd_core.spi.tenancy import open_tenant

from ..exceptions import ProjectionError
from ..ports.projections import Document, IProjectionStore, IProjectionStoreProvider, JsonDocument

OnChange = Callable[[str, Collection[str]], Awaitable[object]]
"""Function that is awaited with a collection and the ids of its changed documents."""


class ProjectionDocuments:
    """Documents of one tenant that a handler reads and changes, saved together for a batch.

    ``get`` returns copies: a change counts once the handler calls ``upsert``.

    Args:
        collection: name of the collection.
    """

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._stored: dict[str, JsonDocument | None] = {}
        # JSON of each changed document, None for a deleted one.
        self._changed: dict[str, bytes | None] = {}
        self._by_event: dict[str, bytes | None] = {}
        self._ids: Collection[str] = ()

    def get(self, doc_id: str) -> JsonDocument | None:
        """Return the document as JSON restores it, or None if it does not exist.

        Raises:
            ProjectionError: ``document_ids`` did not return the id for the event.
        """
        if doc_id not in self._ids:
            raise self._build_unaffected_error(doc_id)
        for changes in (self._by_event, self._changed):
            if doc_id in changes:
                return _decode(changes[doc_id])
        stored = self._stored[doc_id]
        return None if stored is None else _decode(to_json(stored))

    def upsert(self, doc_id: str, doc: Document) -> None:
        """Store a document; replace the document with the same id.

        Raises:
            ProjectionError: ``document_ids`` did not return the id for the event.
            SerializationError: the document is not a dict of JSON values.
        """
        if doc_id not in self._ids:
            raise self._build_unaffected_error(doc_id)
        # A pydantic model would be restored as a dict, and not as the model.
        if type(doc) is not dict and not isinstance(doc, Mapping):
            raise SerializationError(
                f"{self._collection} {doc_id} is a {type(doc).__name__}, not a dict; pass its "
                "model_dump()",
                type_name=self._collection,
            )
        subject = f"{self._collection} {doc_id}"
        self._by_event[doc_id] = encode_json(doc, subject, type_name=self._collection)

    def delete(self, doc_id: str) -> None:
        """Delete the document if it exists.

        Raises:
            ProjectionError: ``document_ids`` did not return the id for the event.
        """
        if doc_id not in self._ids:
            raise self._build_unaffected_error(doc_id)
        self._by_event[doc_id] = None

    def begin_event(self, ids: Collection[str]) -> None:
        """Begin the changes of one event, which affects the documents with these ids."""
        self._ids, self._by_event = ids, {}

    def end_event(self, *, keep: bool) -> None:
        """Keep all changes of the event, or discard them if its handler failed."""
        if keep:
            self._changed.update(self._by_event)
        self._ids, self._by_event = (), {}

    def add_stored(self, ids: Collection[str], found: Mapping[str, JsonDocument]) -> None:
        """Add the stored documents of the ids that were not read before."""
        for each in ids:
            if each not in self._stored:
                self._stored[each] = found.get(each)

    async def load(self, ids: Collection[str], uow: UnitOfWork) -> None:
        """Read the documents that were not read before, with one query."""
        unknown = sorted(each for each in ids if each not in self._stored)
        if unknown:
            store = get_projection_store(uow)
            self.add_stored(unknown, await store.get_batch(self._collection, unknown, uow=uow))

    async def save(self, uow: UnitOfWork) -> list[str]:
        """Write all changes; return the ids of the stored and the deleted documents."""
        store, upserts, deletions = get_projection_store(uow), self.upserts, self.deletions
        if upserts:
            await store.upsert_batch(self._collection, upserts, uow=uow)
        if deletions:
            await store.delete_batch(self._collection, deletions, uow=uow)
        return [*upserts, *deletions]

    @property
    def upserts(self) -> dict[str, JsonDocument]:
        """Documents to store, sorted by id, so that two writers cannot deadlock."""
        changed = ((each, _decode(doc)) for each, doc in sorted(self._changed.items()))
        return {each: doc for each, doc in changed if doc is not None}

    @property
    def deletions(self) -> list[str]:
        """Ids of the stored documents to delete, sorted."""
        gone = (each for each, doc in self._changed.items() if doc is None)
        return sorted(each for each in gone if self._stored[each] is not None)

    def _build_unaffected_error(self, doc_id: str) -> ProjectionError:
        return ProjectionError(
            f"the event affects {', '.join(sorted(self._ids)) or 'no document'} of "
            f"{self._collection}, not {doc_id!r}; return this id from document_ids(event), too"
        )


def _decode(document: bytes | None) -> JsonDocument | None:
    decoded: JsonDocument | None = None if document is None else from_json(document)
    return decoded


def get_projection_store(uow: UnitOfWork) -> IProjectionStore:
    """Return the store of a unit of work; raise ``InvalidOperationError`` if it has none."""
    carrier: object = uow
    if not isinstance(carrier, IProjectionStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} has no projection store; use a unit of work with one"
        )
    return carrier.projections


def notify_changes(
    changed: Collection[str], collection: str, on_change: OnChange | None, uow: UnitOfWork
) -> None:
    """Call ``on_change`` after the commit, in the present request context."""
    if on_change is not None and changed:
        uow.on_commit(bind_request(partial(on_change, collection, changed)))


class TenantDocuments(dict[str, ProjectionDocuments]):
    """Documents of one collection by tenant, each read and saved in the context of its tenant.

    Args:
        collection: name of the collection.
    """

    def __init__(self, collection: str) -> None:
        super().__init__()
        self._collection = collection

    def __missing__(self, tenant_id: str) -> ProjectionDocuments:
        return self.setdefault(tenant_id, ProjectionDocuments(self._collection))

    async def load(self, ids: Mapping[str, Collection[str]], uow: UnitOfWork) -> None:
        """Read the documents of each tenant that were not read before, by one query a tenant."""
        for tenant_id, own in ids.items():
            with open_tenant(tenant_id):
                await self[tenant_id].load(own, uow)

    async def save(self, uow: UnitOfWork, on_change: OnChange | None) -> None:
        """Write the changes of each tenant; after the commit, call ``on_change`` for each."""
        for tenant_id, documents in sorted(self.items()):
            with open_tenant(tenant_id):
                changed = await documents.save(uow)
                notify_changes(changed, self._collection, on_change, uow)
