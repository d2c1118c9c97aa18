"""Documents in dicts, with transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any

from cqrs_ddd_core.adapters.memory.transaction import (
    ChangeSet,
    InMemoryTransaction,
    join_transaction,
)
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, ValidationError
from cqrs_ddd_core.spi.checks import ensure_searchable, ensure_whole_objects
from cqrs_ddd_core.spi.querying.ordering import select_page
from cqrs_ddd_core.spi.querying.specifications import build_predicate

from ...exceptions import ProjectionStoreError
from ...ports.projections import DOC_ID, Document, Fields, IProjectionStore
from ...spi.document_fields import DocumentFields
from ...spi.documents import (
    WrittenDocument,
    ensure_collection_name,
    ensure_other_collection,
    possible_ids,
    written_document,
)
from ...spi.transaction_locks import TransactionLocks

Criteria = ISpecification[Any] | IQueryOptions[Any]


class InMemoryProjectionStore(IProjectionStore):
    """The fake of a table for each collection."""

    def __init__(self) -> None:
        super().__init__()
        self._collections: dict[str, _Collection] = {}
        self._locks = TransactionLocks()

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        ensure_collection_name(collection)
        asked = DocumentFields(fields)
        await asyncio.sleep(0)
        found = self._collections.setdefault(collection, _Collection(asked))
        if found.fields != asked:
            raise ProjectionStoreError.other_fields(collection, asked.written, found.fields.written)

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        await self.upsert_batch(collection, {doc_id: doc}, uow=uow)

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"write to {collection}") as active:
            changes = self._changes(active)
            rows = changes.collection(collection)
            written = [
                written_document(collection, doc_id, doc, rows.fields)
                for doc_id, doc in docs.items()
            ]
            changes.write(rows, {each.doc_id: each for each in written})

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None:
        return (await self.get_batch(collection, [doc_id], uow=uow)).get(doc_id)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"read {collection}") as active:
            changes = self._changes(active)
            read = changes.reader(changes.collection(collection))
            found = ((doc_id, read(doc_id)) for doc_id in possible_ids(doc_ids))
            return {doc_id: row.read() for doc_id, row in found if row is not None}

    async def find(
        self, collection: str, criteria: Criteria, *, uow: UnitOfWork | None = None
    ) -> SearchResult[dict[str, Any]]:
        ensure_collection_name(collection)
        ensure_searchable(criteria)
        ensure_whole_objects(criteria)
        async with join_transaction(uow, f"search {collection}") as active:
            _selection(criteria, self._changes(active).collection(collection))

        async def fetch() -> list[dict[str, Any]]:
            async with join_transaction(uow, f"search {collection}") as active:
                changes = self._changes(active)
                rows = changes.collection(collection)
                select = _selection(criteria, rows)
                return [row.read() for row in select(changes.all(rows))]

        async def stream(batch_size: int) -> AsyncIterator[dict[str, Any]]:
            for doc in await fetch():
                yield doc

        return SearchResult(fetch, stream)

    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        await self.delete_batch(collection, [doc_id], uow=uow)

    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"delete from {collection}") as active:
            changes = self._changes(active)
            changes.write(changes.collection(collection), dict.fromkeys(possible_ids(doc_ids)))

    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"truncate {collection}") as active:
            changes = self._changes(active)
            changes.empty(changes.collection(collection))

    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"drop {collection}") as active:
            self._changes(active).drop(collection)

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        ensure_collection_name(collection)
        async with join_transaction(uow, f"lock documents of {collection}") as active:
            self._changes(active).collection(collection)
            for doc_id in sorted(possible_ids(doc_ids)):
                await self._locks.take((collection, doc_id), active)

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        ensure_collection_name(collection)
        ensure_collection_name(by)
        ensure_other_collection(collection, by)
        async with join_transaction(uow, f"replace {collection}") as active:
            self._changes(active).replace(collection, by)

    def _changes(self, uow: InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._collections))


class _Collection:
    """Rows by id; equal to itself alone, so that it stays what it is under another name."""

    def __init__(self, fields: DocumentFields) -> None:
        self.fields = fields
        self.rows: dict[str, WrittenDocument] = {}
        self.candidates = _candidates(fields)


Rows = dict[str, WrittenDocument | None]


class _Changes(ChangeSet):
    """Documents and names changed by one unit of work."""

    def __init__(self, collections: dict[str, _Collection]) -> None:
        self._collections = collections
        self._names: dict[str, _Collection | None] = {}
        self._replaced: dict[str, _Collection | None] = {}
        self._written: dict[_Collection, Rows] = {}
        self._emptied: set[_Collection] = set()

    def collection(self, name: str) -> _Collection:
        found = self._names[name] if name in self._names else self._collections.get(name)
        if found is None:
            raise ProjectionStoreError.no_collection(name)
        return found

    def reader(self, collection: _Collection) -> Callable[[str], WrittenDocument | None]:
        written = self._written.get(collection, {})
        kept = {} if collection in self._emptied else collection.rows
        return lambda doc_id: written[doc_id] if doc_id in written else kept.get(doc_id)

    def all(self, collection: _Collection) -> Iterable[WrittenDocument]:
        written = self._written.get(collection, {})
        kept = {} if collection in self._emptied else collection.rows
        rows: Rows = {**kept, **written}
        return [row for row in rows.values() if row is not None]

    def write(self, collection: _Collection, rows: Rows | dict[str, WrittenDocument]) -> None:
        self._written.setdefault(collection, {}).update(rows)

    def empty(self, collection: _Collection) -> None:
        self._emptied.add(collection)
        self._written.pop(collection, None)

    def drop(self, name: str) -> None:
        self._replaced.setdefault(name, self._collections.get(name))
        self._names[name] = None

    def replace(self, name: str, by: str) -> None:
        new = self.collection(by)
        for each in (name, by):
            self._replaced.setdefault(each, self._collections.get(each))
        self._names.update({name: new, by: None})

    def check(self) -> None:
        for name, before in self._replaced.items():
            if self._collections.get(name) is not before:
                raise ConcurrencyError.changed_meanwhile(f"collection {name}")
        there = set(self._collections.values())
        if not there.issuperset({*self._written, *self._emptied}):
            raise ConcurrencyError.changed_meanwhile("a written collection")

    def apply(self) -> None:
        for collection in self._emptied:
            collection.rows.clear()
        for collection, rows in self._written.items():
            for doc_id, row in rows.items():
                if row is None:
                    collection.rows.pop(doc_id, None)
                else:
                    collection.rows[doc_id] = row
        for name, found in self._names.items():
            if found is None:
                self._collections.pop(name, None)
            else:
                self._collections[name] = found

    def discard(self) -> None:
        self._written.clear()


def _candidates(fields: DocumentFields) -> type[Any]:
    """A class with the declared fields, which specifications can be asked about."""
    annotations: dict[str, Any] = {name: each.kind | None for name, each in fields.items()}
    return type("Document", (), {"__annotations__": {DOC_ID: str, **annotations}})


def _candidate(kind: type[Any], row: WrittenDocument) -> Any:
    candidate = object.__new__(kind)
    candidate.__dict__.update(row.values)
    candidate.__dict__[DOC_ID] = row.doc_id
    return candidate


def _selection(
    criteria: Criteria, collection: _Collection
) -> Callable[[Iterable[WrittenDocument]], list[WrittenDocument]]:
    """What to pick from the rows, in which order."""
    kind = collection.candidates
    condition = criteria.condition if isinstance(criteria, IQueryOptions) else criteria
    satisfies = build_predicate(kind, condition)

    def fitting(rows: Iterable[WrittenDocument]) -> list[WrittenDocument]:
        return [row for row in rows if satisfies(_candidate(kind, row))]

    if not isinstance(criteria, IQueryOptions):
        return fitting
    options = criteria
    for name in options.ordering:
        _ensure_orderable(name.removeprefix("-"), collection.fields)
    return lambda rows: select_page(
        fitting(rows),
        options,
        key=lambda row: row.doc_id,
        value_at=lambda row, name: row.doc_id if name == DOC_ID else row.values[name],
    )


def _ensure_orderable(name: str, fields: DocumentFields) -> None:
    if name == DOC_ID:
        return
    if name.partition(".")[0] not in fields:
        raise ValidationError(
            f"there is no field {name!r} to order by; declared are {', '.join([DOC_ID, *fields])}",
            errors={name: ("is not declared",)},
        )
    if name not in fields or fields[name].is_json:
        raise ValidationError.not_orderable(
            name, f"cannot order by {name}, which is JSON; order by a text, a number or a time"
        )
