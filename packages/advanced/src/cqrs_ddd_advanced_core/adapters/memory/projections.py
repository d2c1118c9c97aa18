"""In-memory store of the documents of projections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping

from cqrs_ddd_core import ConcurrencyError, IQueryOptions, SearchResult, UnitOfWork, ValidationError
from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.spi.checks import ensure_searchable, ensure_whole_objects
from cqrs_ddd_core.spi.querying import AllOf, build_predicate, get_specification, select_page
from cqrs_ddd_core.spi.tenancy import ensure_all_tenants, get_row_tenant, get_visible_tenant

from ...exceptions import ProjectionStoreError
from ...ports.persistence import Condition
from ...ports.projections import DOC_ID, Document, Fields, IProjectionStore, JsonDocument
from ...spi import documents as spi
from ...spi.document_fields import DocumentFields
from .transaction_locks import TransactionLocks

Place = tuple[str, str]
"""Tenant and document id."""
Rows = Iterable[spi.EncodedDocument]


class InMemoryProjectionStore(IProjectionStore):
    """Fake of a database with a table for each collection, with transactions."""

    def __init__(self) -> None:
        super().__init__()
        self._collections: dict[str, _Collection] = {}
        self._locks = TransactionLocks()

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        """Create the collection at once, unless it exists."""
        spi.ensure_collection_name(collection)
        given = DocumentFields(fields)
        await asyncio.sleep(0)
        found = self._collections.setdefault(collection, _Collection(given)).fields
        if fields is not None and found != given:
            raise ProjectionStoreError.other_fields(collection, given.type_names, found.type_names)

    async def open_collection(
        self, collection: str, fields: Fields | None = None, *, uow: UnitOfWork
    ) -> bool:
        """Create the collection at once, unless it exists or the unit of work is read-only."""
        spi.ensure_collection_name(collection)
        given = DocumentFields(fields)
        async with transactions.join_transaction(uow, f"open {collection}"):
            if not uow.read_only:
                self._collections.setdefault(collection, _Collection(given))
            return collection in self._collections

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        """Store a document at the commit."""
        await self.upsert_batch(collection, {doc_id: doc}, uow=uow)

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        """Store documents at the commit; all of them are checked before one is written."""
        spi.ensure_collection_name(collection)
        tenant_id = get_row_tenant(f"write to {collection}")
        async with transactions.join_transaction(
            uow, f"write to {collection}", writes=True
        ) as active:
            changes = self._changes(active)
            target = changes.get_collection(collection)
            rows = {
                (tenant_id, doc_id): spi.encode_document(collection, doc_id, doc, target.fields)
                for doc_id, doc in docs.items()
            }
            changes.write(target, rows)

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> JsonDocument | None:
        """Return a document, or None if it does not exist."""
        return (await self.get_batch(collection, [doc_id], uow=uow)).get(doc_id)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, JsonDocument]:
        """Return the documents that exist, with the changes of this transaction."""
        spi.ensure_collection_name(collection)
        tenant_id = get_row_tenant(f"read {collection}")
        async with transactions.join_transaction(uow, f"read {collection}") as active:
            changes = self._changes(active)
            get = changes.create_getter(changes.get_collection(collection))
            found = ((doc_id, get((tenant_id, doc_id))) for doc_id in spi.filter_doc_ids(doc_ids))
            return {doc_id: row.decode() for doc_id, row in found if row is not None}

    async def find(
        self, collection: str, criteria: Condition, *, uow: UnitOfWork | None = None
    ) -> SearchResult[JsonDocument]:
        """Search by declared fields; a stream holds all selected documents in memory."""
        spi.ensure_collection_name(collection)
        ensure_searchable(criteria)
        ensure_whole_objects(criteria)
        tenant_id = get_row_tenant(f"search {collection}")
        async with transactions.join_transaction(uow, f"search {collection}") as active:
            _build_selection(criteria, self._changes(active).get_collection(collection))

        async def search(criteria: Condition) -> list[spi.EncodedDocument]:
            async with transactions.join_transaction(uow, f"search {collection}") as active:
                changes = self._changes(active)
                target = changes.get_collection(collection)
                return _build_selection(criteria, target)(changes.list_rows(target, tenant_id))

        async def fetch(count: int | None = None) -> list[JsonDocument]:
            return [row.decode() for row in (await search(criteria))[:count]]

        async def stream(batch_size: int) -> AsyncIterator[JsonDocument]:
            for doc in await fetch():
                yield doc

        async def count() -> int:
            condition = get_specification(criteria)
            return len(await search(AllOf(()) if condition is None else condition))

        return SearchResult(fetch, stream, take=fetch, count=count)

    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete a document at the commit."""
        await self.delete_batch(collection, [doc_id], uow=uow)

    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        """Delete documents at the commit."""
        spi.ensure_collection_name(collection)
        tenant_id = get_row_tenant(f"delete from {collection}")
        gone = dict.fromkeys((tenant_id, doc_id) for doc_id in spi.filter_doc_ids(doc_ids))
        async with transactions.join_transaction(
            uow, f"delete from {collection}", writes=True
        ) as active:
            changes = self._changes(active)
            changes.write(changes.get_collection(collection), gone)

    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete the documents of the tenant, or of all inside ``system_tenant``, at the commit."""
        spi.ensure_collection_name(collection)
        tenant_id = get_visible_tenant()
        async with transactions.join_transaction(
            uow, f"truncate {collection}", writes=True
        ) as active:
            changes = self._changes(active)
            changes.truncate(changes.get_collection(collection), tenant_id)

    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        """Delete the collection, with the documents of all tenants, at the commit."""
        spi.ensure_collection_name(collection)
        ensure_all_tenants(f"drop {collection}")
        async with transactions.join_transaction(uow, f"drop {collection}", writes=True) as active:
            self._changes(active).drop(collection)

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        """Lock ids in sorted order, so that two transactions cannot deadlock within one call."""
        spi.ensure_collection_name(collection)
        tenant_id = get_row_tenant(f"lock documents of {collection}")
        async with transactions.join_transaction(
            uow, f"lock documents of {collection}", writes=True
        ) as active:
            self._changes(active).get_collection(collection)
            for doc_id in sorted(spi.filter_doc_ids(doc_ids)):
                await self._locks.acquire((collection, tenant_id, doc_id), active)

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        """Give ``collection`` the fields and all documents of ``by`` at the commit."""
        ensure_all_tenants(f"replace {collection}")
        spi.ensure_collection_name(collection)
        spi.ensure_collection_name(by)
        spi.ensure_other_collection(collection, by)
        async with transactions.join_transaction(
            uow, f"replace {collection}", writes=True
        ) as active:
            self._changes(active).replace(collection, by)

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._collections))


class _Collection:
    """Rows by tenant and id; compared by identity, since a collection may get another name."""

    def __init__(self, fields: DocumentFields) -> None:
        self.fields = fields
        self.rows: dict[Place, spi.EncodedDocument] = {}
        # Specifications are evaluated against instances of this class.
        annotations = {name: each.kind | None for name, each in fields.items()}
        self.row_type = type("Document", (), {"__annotations__": {DOC_ID: str, **annotations}})


class _Changes(transactions.ChangeSet):
    """Documents and names that one transaction has changed."""

    def __init__(self, collections: dict[str, _Collection]) -> None:
        self._collections = collections
        self._names: dict[str, _Collection | None] = {}
        self._replaced: dict[str, _Collection | None] = {}
        self._written: dict[_Collection, dict[Place, spi.EncodedDocument | None]] = {}

    def get_collection(self, name: str) -> _Collection:
        found = self._names[name] if name in self._names else self._collections.get(name)
        if found is None:
            raise ProjectionStoreError.no_collection(name)
        return found

    def create_getter(
        self, collection: _Collection
    ) -> Callable[[Place], spi.EncodedDocument | None]:
        written = self._written.get(collection, {})
        return lambda place: written[place] if place in written else collection.rows.get(place)

    def list_rows(self, collection: _Collection, tenant_id: str) -> Rows:
        rows = {**collection.rows, **self._written.get(collection, {})}
        own = (row for place, row in rows.items() if place[0] == tenant_id)
        return [row for row in own if row is not None]

    def write(
        self, collection: _Collection, rows: Mapping[Place, spi.EncodedDocument | None]
    ) -> None:
        self._written.setdefault(collection, {}).update(rows)

    def truncate(self, collection: _Collection, tenant_id: str | None) -> None:
        places = {**collection.rows, **self._written.get(collection, {})}
        self.write(collection, {each: None for each in places if tenant_id in (None, each[0])})

    def drop(self, name: str) -> None:
        self._replaced.setdefault(name, self._collections.get(name))
        self._names[name] = None

    def replace(self, name: str, by: str) -> None:
        new = self.get_collection(by)
        for each in (name, by):
            self._replaced.setdefault(each, self._collections.get(each))
        self._names.update({name: new, by: None})

    def check(self) -> None:
        for name, before in self._replaced.items():
            if self._collections.get(name) is not before:
                raise ConcurrencyError.changed_concurrently(f"collection {name}")
        if not {*self._collections.values()} >= self._written.keys():
            raise ConcurrencyError.changed_concurrently("a collection with new documents")

    def apply(self) -> None:
        for collection, rows in self._written.items():
            for place, row in rows.items():
                if row is None:
                    collection.rows.pop(place, None)
                else:
                    collection.rows[place] = row
        for name, found in self._names.items():
            if found is None:
                self._collections.pop(name, None)
            else:
                self._collections[name] = found


def _build_selection(
    criteria: Condition, collection: _Collection
) -> Callable[[Rows], list[spi.EncodedDocument]]:
    """Return a function that selects, sorts and pages rows."""
    row_type = collection.row_type
    condition = criteria.condition if isinstance(criteria, IQueryOptions) else criteria
    satisfies = build_predicate(row_type, condition)

    def is_selected(row: spi.EncodedDocument) -> bool:
        candidate: object = object.__new__(row_type)
        candidate.__dict__.update(row.values, **{DOC_ID: row.doc_id})
        return satisfies(candidate)

    if not isinstance(criteria, IQueryOptions):
        return lambda rows: list(filter(is_selected, rows))
    options = criteria
    for name in options.ordering:
        _ensure_orderable(name.removeprefix("-"), collection.fields)
    return lambda rows: select_page(
        filter(is_selected, rows),
        options,
        key=lambda row: row.doc_id,
        read=lambda row, name: row.doc_id if name == DOC_ID else row.values[name],
    )


def _ensure_orderable(name: str, fields: DocumentFields) -> None:
    if name == DOC_ID:
        return
    if name.partition(".")[0] not in fields:
        raise ValidationError(
            f"cannot order by {name!r}; the declared fields are {', '.join([DOC_ID, *fields])}",
            errors={name: ("is not declared",)},
        )
    if name not in fields or fields[name].is_json:
        raise ValidationError.not_orderable(
            name, f"cannot order by {name}, which is JSON; order by a text, a number or a time"
        )
