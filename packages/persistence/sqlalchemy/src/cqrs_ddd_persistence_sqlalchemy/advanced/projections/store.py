"""Documents in tables, one table for each collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from cqrs_ddd_advanced_core import Document, Fields, IProjectionStore, ProjectionStoreError
from cqrs_ddd_advanced_core.ports.projections import MAX_COLLECTION_NAME
from cqrs_ddd_advanced_core.spi import documents
from cqrs_ddd_advanced_core.spi.document_fields import DocumentFields
from cqrs_ddd_core import ConfigError, SearchResult, UnitOfWork
from cqrs_ddd_core.spi import tenancy
from cqrs_ddd_core.spi.checks import ensure_searchable

from ...engine import AsyncConnection, Connections, SessionFactory, driver
from ...engine.driver_errors import translate_errors
from ...repository.row_cursor import RowCursor
from ...schema.installation import lock_key, scope_lock
from ...schema.tables import TABLES, Tables
from ...specifications import Criteria, options
from .collection_access import CollectionAccess, CollectionCatalog, ensure_same_fields
from .collection_tables import CollectionTable

_LONGEST_NAME = 63
"""Bytes of a name on PostgreSQL, which truncates longer names."""
_TAKE_LOCKS = (
    f"SELECT pg_advisory_xact_lock({scope_lock('key', '$2')}) FROM unnest($1::bigint[]) AS key"
)
SelectFrom = Callable[[CollectionTable], sa.Select[Any]]
Limit = Callable[[sa.Select[Any]], sa.Select[Any]]


class SQLAlchemyProjectionStore(IProjectionStore):
    """Documents in a table for each collection, with a column for each declared field.

    All tenants share the table; the tenant of a document is part of its primary key.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
        uow: unit of work that calls without ``uow`` join.

    Raises:
        ConfigError: the prefix of ``tables`` is too long for the names of collections.
    """

    lock_timeout: ClassVar[float] = 2.0
    """Seconds for which a replacement waits for readers on PostgreSQL; new readers wait too."""
    creation_timeout: ClassVar[float] = 30.0
    """Seconds for which a new collection waits for concurrent creations and replacements."""

    def __init__(
        self,
        session_factory: SessionFactory | None,
        *,
        tables: Tables = TABLES,
        uow: UnitOfWork | None = None,
    ) -> None:
        super().__init__()
        self._connections = Connections(session_factory, ProjectionStoreError, uow)
        self._tables = tables
        self._catalog = CollectionCatalog(tables)
        self._access = CollectionAccess(self._catalog, self._connections)
        if len(tables.advanced.view_prefix.encode()) + MAX_COLLECTION_NAME > _LONGEST_NAME:
            raise ConfigError(
                f"the prefix {tables.prefix!r} is too long for tables of collections; use at most "
                f"{_LONGEST_NAME - MAX_COLLECTION_NAME - len('view_')} bytes"
            )

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        """Create the table of the collection in its own transaction, unless it exists.

        Raises:
            ProjectionStoreError: the collection exists with other fields.
            ConcurrencyError: other creations took longer than ``creation_timeout`` seconds.
        """
        documents.ensure_collection_name(collection)
        engine = self._connections.require_engine()
        asked = DocumentFields(fields)
        operation = f"create the collection {collection}"
        with translate_errors(ProjectionStoreError, operation):
            async with driver.autocommit_connection(engine) as connection:
                self._catalog.invalidate(collection, connection)
                found = await self._catalog.find_existing(collection, connection)
            if found is None:
                async with (
                    engine.begin() as connection,
                    driver.lock_timeout(self.creation_timeout, connection, operation),
                ):
                    found = await connection.run_sync(self._catalog.ensure, collection, asked)
        if fields is not None:
            ensure_same_fields(found, asked)

    async def open_collection(
        self, collection: str, fields: Fields | None = None, *, uow: UnitOfWork
    ) -> bool:
        """Create the table of the collection in the unit of work, unless it exists.

        Raises:
            ConcurrencyError: other creations took longer than ``creation_timeout`` seconds.
        """
        documents.ensure_collection_name(collection)
        asked = DocumentFields(fields)
        operation = f"open {collection}"
        async with self._connections.join_transaction(uow, operation) as active:
            connection = await active.connection()
            found = await self._catalog.find_existing(collection, connection, active)
            if found is None and not active.read_only:
                async with driver.lock_timeout(self.creation_timeout, connection, operation):
                    found = await connection.run_sync(self._catalog.ensure, collection, asked)
                self._catalog.record_changes(active, connection, {collection: found})
        return found is not None

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        """Insert or replace a document.

        Raises:
            DocumentError: a value does not fit its declared field.
        """
        await self.upsert_batch(collection, {doc_id: doc}, uow=uow)

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        """Insert or replace documents by one statement, in the order of their ids.

        Raises:
            DocumentError: a value does not fit its declared field.
        """
        operation = f"write to {collection}"
        tenant_id = tenancy.get_row_tenant(operation)
        await self._access.change(
            collection, uow, operation, lambda c, table: table.write(c, tenant_id, docs)
        )

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None:
        """Return a document by primary key, or None."""
        found = await self.get_batch(collection, [doc_id], uow=uow)
        return found.get(doc_id)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return documents by id, by one statement."""
        operation, wanted = f"read {collection}", documents.filter_doc_ids(doc_ids)
        tenant_id = tenancy.get_row_tenant(operation)
        return await self._access.read(
            collection, uow, operation, lambda c, table: table.read(c, tenant_id, wanted)
        )

    async def find(
        self, collection: str, criteria: Criteria, *, uow: UnitOfWork | None = None
    ) -> SearchResult[dict[str, Any]]:
        """Return a search by the columns of the fields, which runs when it is awaited or streamed.

        Raises:
            SpecificationError: the fields do not support the criteria.
        """
        ensure_searchable(criteria)
        operation = f"search {collection}"
        tenant_id = tenancy.get_row_tenant(operation)

        async def prepare(
            connection: AsyncConnection, table: CollectionTable
        ) -> tuple[CollectionTable, sa.Select[Any]]:
            return table, table.select(criteria, tenant_id)

        known, prepared = await self._access.read(collection, uow, operation, prepare)

        def select_from(table: CollectionTable) -> sa.Select[Any]:
            return prepared if table is known else table.select(criteria, tenant_id)

        def read(limit: Limit = lambda query: query) -> Awaitable[list[dict[str, Any]]]:
            async def search(
                connection: AsyncConnection, table: CollectionTable
            ) -> list[dict[str, Any]]:
                rows = await connection.execute(limit(select_from(table)))
                return [table.read_row(row) for row in rows.all()]

            return self._access.read(collection, uow, operation, search)

        async def count(connection: AsyncConnection, table: CollectionTable) -> int:
            counting = table.count(criteria, tenant_id)
            found: int = (await connection.execute(counting)).scalar_one()
            return found

        return SearchResult(
            read,
            lambda size: self._stream(collection, select_from, size, uow),
            take=lambda count: read(lambda query: options.take_rows(query, criteria, count)),
            count=lambda: self._access.read(collection, uow, f"count {collection}", count),
        )

    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete a document by primary key."""
        await self.delete_batch(collection, [doc_id], uow=uow)

    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        """Delete documents by one statement, locked in the order of their ids."""
        operation, ids = f"delete from {collection}", documents.filter_doc_ids(doc_ids)
        tenant_id = tenancy.get_row_tenant(operation)
        await self._access.change(
            collection, uow, operation, lambda c, table: table.delete(c, tenant_id, ids)
        )

    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete the documents of the tenant, or of all inside ``system_tenant``, by DELETE.

        DELETE does not block readers.
        """
        operation, tenant_id = f"truncate {collection}", tenancy.get_visible_tenant()
        await self._access.change(
            collection, uow, operation, lambda c, table: table.delete_all(c, tenant_id)
        )

    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        """Drop the table with the documents of all tenants, for other transactions at the commit.

        Raises:
            InvalidOperationError: the call is in the request of one tenant.
            ConcurrencyError: readers used the table for longer than ``lock_timeout`` seconds.
        """
        documents.ensure_collection_name(collection)
        operation = f"drop {collection}"
        tenancy.ensure_all_tenants(operation)
        async with self._connections.join_transaction(uow, operation) as active:
            connection = await active.connection()
            async with driver.lock_timeout(self.lock_timeout, connection, operation):
                await connection.run_sync(self._catalog.drop, collection)
            self._catalog.record_changes(active, connection, {collection: None})

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        """Lock documents until the transaction ends, even if they do not exist yet.

        PostgreSQL takes an advisory lock per id, SQLite the write lock of the file.
        """
        operation, ids = f"lock documents of {collection}", documents.filter_doc_ids(doc_ids)
        tenant_id = tenancy.get_row_tenant(operation)

        async def take_locks(connection: AsyncConnection, table: CollectionTable) -> None:
            if driver.is_postgres(connection):
                # All writers use the same order, or two could deadlock.
                places = (f"{collection} {tenant_id!r} {doc_id}" for doc_id in ids)
                keys = sorted(lock_key(self._tables, "documents", place) for place in places)
                views = driver.quote_table(self._tables.advanced.views, is_postgres=True)
                await driver.fetch(connection, _TAKE_LOCKS, keys, views)
            else:
                await driver.take_write_lock(connection)

        await self._access.change(collection, uow, operation, take_locks)

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        """Rename the table of ``by``, visible to other transactions after the commit.

        The documents of all tenants are replaced.

        Raises:
            InvalidOperationError: the call is in the request of one tenant.
            ProjectionStoreError: ``by`` does not exist.
            ConcurrencyError: readers used a table for longer than ``lock_timeout`` seconds.
        """
        documents.ensure_collection_name(collection)
        documents.ensure_collection_name(by)
        documents.ensure_other_collection(collection, by)
        operation = f"replace {collection} by {by}"
        tenancy.ensure_all_tenants(operation)
        async with self._connections.join_transaction(uow, operation) as active:
            connection = await active.connection()
            async with driver.lock_timeout(self.lock_timeout, connection, operation):
                new = await connection.run_sync(self._catalog.replace, collection, by)
            self._catalog.record_changes(active, connection, {collection: new, by: None})

    async def _stream(
        self, collection: str, select_from: SelectFrom, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[dict[str, Any]]:
        operation = f"search {collection}"
        if self._connections.current(uow) is None:
            # Detect a replaced table here, where the statement can be repeated.
            await self._access.read(
                collection, None, operation, lambda c, table: c.execute(select_from(table).limit(0))
            )
        cursor: RowCursor | None = None
        has_begun = False

        async def fetch_documents(
            connection: AsyncConnection, table: CollectionTable
        ) -> Sequence[dict[str, Any]]:
            nonlocal cursor
            if cursor is None or not has_begun:
                cursor = RowCursor(select_from(table), size)
            return [table.read_row(row) for row in await cursor.fetch(connection)]

        async with self._connections.stream_transaction(uow) as shared:
            try:
                while cursor is None or not cursor.is_at_end:
                    # Joined for each batch: in between, the consumer may use the unit of work.
                    batch = await self._access.change(
                        collection, shared, operation, fetch_documents
                    )
                    has_begun = True
                    for document in batch:
                        yield document
            finally:
                if cursor is not None:
                    await cursor.leave(shared)
