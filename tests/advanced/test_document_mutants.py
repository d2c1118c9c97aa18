"""Naive stores of documents, and the sentence that each of them breaks."""

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


class KeepsWhatItIsGiven(InMemoryProjectionStore):
    """Not what JSON makes of it, and not a copy."""

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


class Merges(InMemoryProjectionStore):
    """Keys of the old document that the new one lacks stay."""

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        kept = await self.get_batch(collection, list(docs), uow=uow)
        merged = {each: {**kept.get(each, {}), **doc} for each, doc in docs.items()}
        await super().upsert_batch(collection, merged, uow=uow)


class WritesOneByOne(InMemoryProjectionStore):
    """What comes before the one that fails is kept."""

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        for doc_id, doc in docs.items():
            await super().upsert_batch(collection, {doc_id: doc}, uow=uow)


class WritesBesideTheTransaction(InMemoryProjectionStore):
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        async with InMemoryUnitOfWork() as own:
            await super().upsert_batch(collection, docs, uow=own)


class TakesTextForNumbers(InMemoryProjectionStore):
    """Each declared field is what the document has there, whatever was declared."""

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        names: Fields = dict.fromkeys(fields or {}, str)
        await super().ensure_collection(collection, names)


class KnowsNoFields(InMemoryProjectionStore):
    """Whoever ensures a collection first decides, and nobody is told."""

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        found = self._collections.get(collection)
        if found is None:
            await super().ensure_collection(collection, fields)


class LocksNothing(InMemoryProjectionStore):
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        pass


class LocksWhatIsThere(InMemoryProjectionStore):
    """As SELECT FOR UPDATE does, for which a document that is not there yet is none."""

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        found = await self.get_batch(collection, doc_ids, uow=uow)
        await super().lock(collection, list(found), uow=uow)


class CopiesAtOnce(InMemoryProjectionStore):
    """Truncates the live collection and fills it, where everybody sees it."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        new = self._collections[by]
        live = self._collections.setdefault(collection, fake._Collection(new.fields))
        live.fields, live.row_type = new.fields, new.row_type
        live.rows.clear()
        live.rows.update(new.rows)
        del self._collections[by]


class KeepsTheOldFields(InMemoryProjectionStore):
    """The documents are replaced, and what may be asked for is not."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        old = self._collections.get(collection)
        if old is not None:
            self._collections[by].fields = old.fields
            self._collections[by].row_type = old.row_type
        await super().replace_collection(collection, by, uow=uow)


class KeepsTheReplacement(InMemoryProjectionStore):
    """The new documents stay where they were as well."""

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        new = self._collections[by]
        await super().replace_collection(collection, by, uow=uow)
        self._changes(uow)._names[by] = new  # type: ignore[arg-type]


class TruncatesAtOnce(InMemoryProjectionStore):
    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        self._collections[collection].rows.clear()


class FindsWhatIsCommittedOnly(InMemoryProjectionStore):
    async def find(
        self, collection: str, criteria: Condition, *, uow: UnitOfWork | None = None
    ) -> Any:
        return await super().find(collection, criteria, uow=InMemoryUnitOfWork())


class AnswersAsItFinds(InMemoryProjectionStore):
    """Not in the order asked for."""

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        return await super().get_batch(collection, sorted(doc_ids), uow=uow)


class HasIdsOfAnyLength(InMemoryProjectionStore):
    """As long as it runs on no database."""

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        try:
            await super().upsert(collection, doc_id, doc, uow=uow)
        except DocumentError:
            row = EncodedDocument(doc_id, b"{}", {})
            self._collections[collection].rows[doc_id] = row


STORES: list[tuple[type[InMemoryProjectionStore], str]] = [
    (KeepsWhatItIsGiven, "test_document_is_read_back_in_its_json_form"),
    (KeepsWhatItIsGiven, "test_projection_store_returns_independent_copies_of_documents"),
    (Merges, "test_upsert_replaces_the_document_under_the_same_id"),
    (WritesOneByOne, "test_batch_with_a_document_that_is_not_json_writes_nothing"),
    (WritesOneByOne, "test_cancelled_write_stores_all_documents_or_none"),
    (WritesBesideTheTransaction, "test_rolled_back_writes_leave_the_documents_unchanged"),
    (
        WritesBesideTheTransaction,
        "test_uncommitted_document_is_visible_in_its_transaction_only",
    ),
    (WritesBesideTheTransaction, "test_projection_store_joins_the_open_unit_of_work"),
    (TakesTextForNumbers, "test_search_compares_numbers_and_times_by_value_and_not_as_text"),
    (TakesTextForNumbers, "test_value_of_a_wrong_type_is_rejected_with_the_name_of_its_field"),
    (KnowsNoFields, "test_ensuring_an_existing_collection_keeps_it_or_rejects_other_fields"),
    (LocksNothing, "test_transactions_that_lock_documents_do_not_overwrite_each_other"),
    (LocksWhatIsThere, "test_transactions_that_lock_documents_do_not_overwrite_each_other"),
    (CopiesAtOnce, "test_rolled_back_replacement_of_a_collection_changes_nothing"),
    (KeepsTheOldFields, "test_replaced_collection_has_the_new_documents_and_fields_at_the_commit"),
    (
        KeepsTheReplacement,
        "test_replaced_collection_has_the_new_documents_and_fields_at_the_commit",
    ),
    (TruncatesAtOnce, "test_truncated_collection_is_empty_for_others_only_after_the_commit"),
    (TruncatesAtOnce, "test_rolled_back_writes_leave_the_documents_unchanged"),
    (FindsWhatIsCommittedOnly, "test_uncommitted_document_is_visible_in_its_transaction_only"),
    (AnswersAsItFinds, "test_batch_read_returns_the_existing_documents_in_the_order_of_the_ids"),
    (HasIdsOfAnyLength, "test_invalid_document_id_is_rejected_by_writes_and_missing_for_reads"),
]


@pytest.mark.parametrize(("naive", "sentence"), STORES)
async def test_a_naive_store_breaks_a_sentence_that_the_fake_keeps(
    naive: type[InMemoryProjectionStore], sentence: str
) -> None:
    test: Callable[..., Any] = getattr(ProjectionStoreContract(), sentence)
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
        await test(**fixtures(naive()))
