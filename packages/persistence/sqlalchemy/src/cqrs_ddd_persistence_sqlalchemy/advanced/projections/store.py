"""Documents in tables, one for each collection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_advanced_core.exceptions import ProjectionStoreError
from cqrs_ddd_advanced_core.ports.projections import (
    MAX_COLLECTION_NAME,
    Document,
    Fields,
    IProjectionStore,
)
from cqrs_ddd_advanced_core.spi.document_fields import DocumentFields
from cqrs_ddd_advanced_core.spi.documents import (
    ensure_collection_name,
    ensure_other_collection,
    filter_doc_ids,
)
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
)

from ...engine.connections import Connections
from ...engine.driver import autocommit_connection, driver_of, fetch, is_postgres
from ...engine.driver_errors import translate_errors
from ...engine.engines import SessionFactory, ensure_usable
from ...engine.lock_timeout import lock_timeout
from ...engine.transaction import SQLAlchemyTransaction
from ...schema.installation import lock_key
from ...schema.tables import TABLES, Tables
from .catalog import (
    CollectionCatalog,
    ensure_same_fields,
)
from .collection_access import CollectionAccess
from .collection_tables import CollectionTable
from .search import CollectionSearch

_LONGEST_NAME = 63
"""Bytes of a name on PostgreSQL, which would cut off the rest."""
_TAKE_LOCKS = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"


class SQLAlchemyProjectionStore(IProjectionStore):
    """A table for each collection: the document as JSON, and a column for each declared field."""

    lock_timeout: ClassVar[float] = 2.0
    """Seconds for which a replacement waits for readers of PostgreSQL; other readers wait too."""
    making_timeout: ClassVar[float] = 30.0
    """Seconds for which a new collection waits for others that are made or replaced."""

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
        self._uow = uow
        self._catalogue = CollectionCatalog(tables)
        self._access = CollectionAccess(self._catalogue, self._connections)
        self._search = CollectionSearch(self._access, self._connections)
        if len(tables.advanced.view_prefix.encode()) + MAX_COLLECTION_NAME > _LONGEST_NAME:
            raise ConfigError(
                f"the prefix {tables.prefix!r} is too long for tables of collections; take one of "
                f"{_LONGEST_NAME - MAX_COLLECTION_NAME - len('view_')} bytes at most"
            )

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        ensure_collection_name(collection)
        engine = self._engine()
        asked = DocumentFields(fields)
        operation = f"make the collection {collection}"
        with translate_errors(ProjectionStoreError, operation):
            async with autocommit_connection(engine) as connection:
                self._catalogue.forget(collection, connection)
                try:
                    found = await self._catalogue.table_of(collection, connection)
                except ProjectionStoreError:
                    pass
                else:
                    ensure_same_fields(found, asked)
                    return
            async with (
                engine.begin() as connection,
                lock_timeout(self.making_timeout, connection, operation),
            ):
                await connection.run_sync(self._catalogue.ensure, collection, asked)

    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        await self.upsert_batch(collection, {doc_id: doc}, uow=uow)

    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        async def write(connection: AsyncConnection, table: CollectionTable) -> None:
            if docs:
                await table.write(connection, docs)

        await self._access.change(collection, uow, f"write to {collection}", write)

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None:
        found = await self.get_batch(collection, [doc_id], uow=uow)
        return found.get(doc_id)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        wanted = filter_doc_ids(doc_ids)

        async def read(
            connection: AsyncConnection, table: CollectionTable
        ) -> dict[str, dict[str, Any]]:
            return await table.read(connection, wanted) if wanted else {}

        return await self._access.read(collection, uow, f"read {collection}", read)

    async def find(
        self,
        collection: str,
        criteria: ISpecification[Any] | IQueryOptions[Any],
        *,
        uow: UnitOfWork | None = None,
    ) -> SearchResult[dict[str, Any]]:
        return await self._search.find(collection, criteria, uow)

    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        await self.delete_batch(collection, [doc_id], uow=uow)

    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        gone = filter_doc_ids(doc_ids)

        async def delete(connection: AsyncConnection, table: CollectionTable) -> None:
            if gone:
                await table.delete(connection, gone)

        await self._access.change(collection, uow, f"delete from {collection}", delete)

    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        async def delete(connection: AsyncConnection, table: CollectionTable) -> None:
            await table.delete_all(connection)

        await self._access.change(collection, uow, f"truncate {collection}", delete)

    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        ensure_collection_name(collection)
        operation = f"drop {collection}"
        async with self._connections.join_transaction(uow, operation) as active:
            connection = await active.connection()
            async with lock_timeout(self.lock_timeout, connection, operation):
                await connection.run_sync(self._catalogue.drop, collection)
            self._catalogue.changed(active, connection, {collection: None})

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        ids = filter_doc_ids(doc_ids)

        async def take(connection: AsyncConnection, table: CollectionTable) -> None:
            if is_postgres(connection):
                # In one order for all, or two would each wait for a lock of the other.
                keys = sorted(
                    lock_key(self._tables, "documents", f"{collection} {doc_id}") for doc_id in ids
                )
                await fetch(connection, _TAKE_LOCKS, keys)
            elif not driver_of(connection).in_transaction:
                await fetch(connection, "BEGIN IMMEDIATE")

        await self._access.change(collection, uow, f"lock documents of {collection}", take)

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        ensure_collection_name(collection)
        ensure_collection_name(by)
        ensure_other_collection(collection, by)
        operation = f"replace {collection} by {by}"
        async with self._connections.join_transaction(uow, operation) as active:
            connection = await active.connection()
            async with lock_timeout(self.lock_timeout, connection, operation):
                new = await connection.run_sync(self._catalogue.replace, collection, by)
            self._catalogue.changed(active, connection, {collection: new, by: None})

    def _engine(self) -> AsyncEngine:
        engine = self._connections.engine
        if engine is None and isinstance(self._uow, SQLAlchemyTransaction):
            engine = self._uow.engine
        if engine is None:
            raise ConfigError(
                "to make or drop a collection takes an engine; give the store "
                "async_sessionmaker(engine)"
            )
        ensure_usable(engine)
        return engine
