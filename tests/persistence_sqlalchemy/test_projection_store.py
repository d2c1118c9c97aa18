"""Tests of the projection store on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_advanced_core.ports.projections import Document
from cqrs_ddd_advanced_core.spi.documents import encode_document
from cqrs_ddd_advanced_core.testing.contracts.documents import Options, Where
from cqrs_ddd_advanced_core.testing.contracts.projections import (
    ProjectionStoreContract,
    ReadOnlyProjectionStoreContract,
)
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyProjectionStore
from cqrs_ddd_persistence_sqlalchemy.advanced.projections.collection_tables import CollectionTable
from cqrs_ddd_persistence_sqlalchemy.engine.driver import fetch
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyProjectionStore:
    return SQLAlchemyProjectionStore(session_factory, tables=tables)


@pytest.fixture
def where() -> Where:
    return AttributeSpecification


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestSQLAlchemyProjectionStore(ProjectionStoreContract, ReadOnlyProjectionStoreContract):
    @pytest.fixture
    def engine(self, forgetful_engine: AsyncEngine) -> AsyncEngine:
        return forgetful_engine


class UnsortedWritesStore(SQLAlchemyProjectionStore):
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        async def write(connection: AsyncConnection, table: CollectionTable) -> None:
            assert isinstance(table, CollectionTable)
            documents = [
                encode_document(collection, doc_id, doc, table.fields)
                for doc_id, doc in docs.items()
            ]
            await fetch(connection, table.upsert, *table.to_parameters("", documents))

        await self._access.change(collection, uow, "write", write)


class NonLockingStore(SQLAlchemyProjectionStore):
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        pass


class RowLockStore(SQLAlchemyProjectionStore):
    """Store that locks rows, and therefore no documents that do not exist yet."""

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        async def take(connection: AsyncConnection, table: CollectionTable) -> None:
            assert isinstance(table, CollectionTable)
            rows = f"SELECT 1 FROM {table.quoted_name} WHERE doc_id = ANY($1) FOR UPDATE"
            await fetch(connection, rows, list(doc_ids))

        await self._access.change(collection, uow, "lock", take)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_projection_store_contract_catches_a_store_whose_unsorted_writes_deadlock(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    naive_store = UnsortedWritesStore(session_factory, tables=tables)

    with pytest.raises(ConcurrencyError, match="deadlock"):
        await ProjectionStoreContract().test_document_batches_in_opposite_orders_do_not_deadlock(
            naive_store, new_uow
        )


@pytest.mark.parametrize(
    ("backend", "naive_store"),
    [("sqlite", NonLockingStore), ("postgres", NonLockingStore), ("postgres", RowLockStore)],
    indirect=["backend"],
)
async def test_projection_store_contract_catches_a_store_that_locks_too_little(
    naive_store: type[SQLAlchemyProjectionStore],
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    test = (
        ProjectionStoreContract().test_transactions_that_lock_documents_do_not_overwrite_each_other
    )

    with pytest.raises(AssertionError):
        await test(naive_store(session_factory, tables=tables), new_uow)
