"""Wrong projection stores, and the contract test that each of them fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryProjectionStore
from cqrs_ddd_advanced_core.adapters.memory import projections as fake
from cqrs_ddd_advanced_core.exceptions import DocumentError
from cqrs_ddd_advanced_core.ports.persistence import Condition
from cqrs_ddd_advanced_core.ports.projections import Document, Fields
from cqrs_ddd_advanced_core.spi.documents import EncodedDocument
from cqrs_ddd_advanced_core.testing.contracts.projections import ProjectionStoreContract
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions


class SharedDocumentsStore(InMemoryProjectionStore):
    """Store that keeps the given objects instead of copies in their JSON form."""

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[tuple[str, str], Any] = {}

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        self._given[collection, doc_id] = doc
        await super().upsert(collection, doc_id, doc, uow=uow)

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None:
        await super().get(collection, doc_id, uow=uow)
        found: dict[str, Any] | None = self._given.get((collection, doc_id))
        return found


class MergingStore(InMemoryProjectionStore):
    """Store that merges the new document into the old one instead of replacing it."""

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        kept = await self.get_batch(collection, list(docs), uow=uow)
        merged = {each: {**kept.get(each, {}), **doc} for each, doc in docs.items()}
        await super().upsert_batch(collection, merged, uow=uow)


class OneByOneStore(InMemoryProjectionStore):
    """Store that keeps the documents of a batch that come before an invalid one."""

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        for doc_id, doc in docs.items():
            await super().upsert_batch(collection, {doc_id: doc}, uow=uow)


class SeparateTransactionStore(InMemoryProjectionStore):
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        async with InMemoryUnitOfWork() as own:
            await super().upsert_batch(collection, docs, uow=own)


class TextFieldsStore(InMemoryProjectionStore):
    """Store that treats every declared field as text."""

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        names: Fields = dict.fromkeys(fields or {}, str)
        await super().ensure_collection(collection, names)


class FirstFieldsStore(InMemoryProjectionStore):
    """Store that ignores the fields of a collection that exists, without an error."""

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        found = self._collections.get(collection)
        if found is None:
            await super().ensure_collection(collection, fields)


class NonLockingStore(InMemoryProjectionStore):
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        pass


class ExistingRowsLockStore(InMemoryProjectionStore):
    """Store that locks existing documents only, as ``SELECT FOR UPDATE`` does."""

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        found = await self.get_batch(collection, doc_ids, uow=uow)
        await super().lock(collection, list(found), uow=uow)


class ImmediateReplacementStore(InMemoryProjectionStore):
    """Store that truncates the live collection and fills it outside the transaction."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        new = self._collections[by]
        live = self._collections.setdefault(collection, fake._Collection(new.fields))
        live.fields, live.row_type = new.fields, new.row_type
        live.rows.clear()
        live.rows.update(new.rows)
        del self._collections[by]


class OldFieldsStore(InMemoryProjectionStore):
    """Store that replaces the documents but not the declared fields."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        old = self._collections.get(collection)
        if old is not None:
            self._collections[by].fields = old.fields
            self._collections[by].row_type = old.row_type
        await super().replace_collection(collection, by, uow=uow)


class UndeletedReplacementStore(InMemoryProjectionStore):
    """Store that does not delete the collection that replaced another one."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        new = self._collections[by]
        await super().replace_collection(collection, by, uow=uow)
        self._changes(uow)._names[by] = new  # type: ignore[arg-type]


class ImmediateTruncateStore(InMemoryProjectionStore):
    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        self._collections[collection].rows.clear()


class CommittedSearchStore(InMemoryProjectionStore):
    async def find(
        self, collection: str, criteria: Condition, *, uow: UnitOfWork | None = None
    ) -> Any:
        return await super().find(collection, criteria, uow=InMemoryUnitOfWork())


class SortedBatchStore(InMemoryProjectionStore):
    """Store that returns a batch in its own order instead of the order of the ids."""

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        return await super().get_batch(collection, sorted(doc_ids), uow=uow)


class UncheckedIdsStore(InMemoryProjectionStore):
    """Store that accepts ids which no database can store."""

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        try:
            await super().upsert(collection, doc_id, doc, uow=uow)
        except DocumentError:
            row = EncodedDocument(doc_id, b"{}", {})
            self._collections[collection].rows["", doc_id] = row


STORES: list[tuple[type[InMemoryProjectionStore], str]] = [
    (SharedDocumentsStore, "test_document_is_read_back_in_its_json_form"),
    (SharedDocumentsStore, "test_projection_store_returns_independent_copies_of_documents"),
    (MergingStore, "test_upsert_replaces_the_document_under_the_same_id"),
    (OneByOneStore, "test_batch_with_a_document_that_is_not_json_writes_nothing"),
    (OneByOneStore, "test_cancelled_write_stores_all_documents_or_none"),
    (SeparateTransactionStore, "test_rolled_back_writes_leave_the_documents_unchanged"),
    (
        SeparateTransactionStore,
        "test_uncommitted_document_is_visible_in_its_transaction_only",
    ),
    (SeparateTransactionStore, "test_projection_store_joins_the_open_unit_of_work"),
    (TextFieldsStore, "test_search_compares_numbers_and_times_by_value_and_not_as_text"),
    (TextFieldsStore, "test_value_of_a_wrong_type_is_rejected_with_the_name_of_its_field"),
    (FirstFieldsStore, "test_ensuring_an_existing_collection_keeps_it_or_rejects_other_fields"),
    (NonLockingStore, "test_transactions_that_lock_documents_do_not_overwrite_each_other"),
    (ExistingRowsLockStore, "test_transactions_that_lock_documents_do_not_overwrite_each_other"),
    (ImmediateReplacementStore, "test_rolled_back_replacement_of_a_collection_changes_nothing"),
    (OldFieldsStore, "test_replaced_collection_has_the_new_documents_and_fields_at_the_commit"),
    (
        UndeletedReplacementStore,
        "test_replaced_collection_has_the_new_documents_and_fields_at_the_commit",
    ),
    (ImmediateTruncateStore, "test_truncated_collection_is_empty_for_others_only_after_the_commit"),
    (ImmediateTruncateStore, "test_rolled_back_writes_leave_the_documents_unchanged"),
    (CommittedSearchStore, "test_uncommitted_document_is_visible_in_its_transaction_only"),
    (SortedBatchStore, "test_batch_read_returns_the_existing_documents_in_the_order_of_the_ids"),
    (UncheckedIdsStore, "test_invalid_document_id_is_rejected_by_writes_and_missing_for_reads"),
]


@pytest.mark.parametrize(("naive_store", "test_name"), STORES)
async def test_projection_store_contract_catches_each_wrong_store_and_passes_the_fake(
    naive_store: type[InMemoryProjectionStore], test_name: str
) -> None:
    test: Callable[..., Any] = getattr(ProjectionStoreContract(), test_name)
    wanted = inspect.signature(test).parameters

    def fixtures(store: InMemoryProjectionStore) -> dict[str, Any]:
        given = {
            "store": store,
            "new_uow": lambda: InMemoryUnitOfWork(projections=store),
            "where": AttributeSpecification,
            "options": QueryOptions,
        }
        return {name: given[name] for name in wanted}

    await test(**fixtures(InMemoryProjectionStore()))
    with pytest.raises((AssertionError, AttributeError, DocumentError, KeyError)):
        await test(**fixtures(naive_store()))
