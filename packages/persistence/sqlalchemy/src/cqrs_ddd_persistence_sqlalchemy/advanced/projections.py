"""Documents in tables, one for each collection."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

from sqlalchemy import Select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_advanced_core.adapters.document_fields import DocumentFields
from cqrs_ddd_advanced_core.adapters.documents import (
    MAX_COLLECTION_NAME,
    possible_ids,
    read_document,
    refuse_name,
    refuse_replacing_itself,
    written_document,
)
from cqrs_ddd_advanced_core.exceptions import ProjectionStoreError
from cqrs_ddd_advanced_core.ports.projections import Document, Fields, IProjectionStore
from cqrs_ddd_core.adapters.refusals import refuse_other_criteria
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    ConfigError,
)

from ..driver import (
    autocommitting,
    driver_of,
    execute_many,
    fetch,
    is_postgres,
    sqlstate,
    translated,
)
from ..engines import SessionFactory, engine_of, refuse_unusable
from ..joining import joined
from ..models import TABLES, Tables
from ..row_stream import RowStream
from ..schema import lock_key
from ..unit_of_work import SQLAlchemyUnitOfWork
from .collection_access import CollectionAccess, Work
from .collection_catalogue import CollectionCatalogue, refuse_other_fields
from .collection_tables import CollectionTable

_LONGEST_NAME = 63
"""Bytes of a name on PostgreSQL, which would cut off the rest."""
_LOCK_NOT_AVAILABLE = "55P03"
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
        self._session_factory = session_factory
        self._tables = tables
        self._uow = uow
        self._catalogue = CollectionCatalogue(tables)
        self._access = CollectionAccess(self._catalogue, session_factory, uow)
        if len(tables.advanced.view_prefix.encode()) + MAX_COLLECTION_NAME > _LONGEST_NAME:
            raise ConfigError(
                f"the prefix {tables.prefix!r} is too long for tables of collections; take one of "
                f"{_LONGEST_NAME - MAX_COLLECTION_NAME - len('view_')} bytes at most"
            )

    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        refuse_name(collection)
        asked = DocumentFields(fields)
        engine = self._engine()
        doing = f"make the collection {collection}"
        with translated(ProjectionStoreError, doing):
            async with autocommitting(engine) as connection:
                self._catalogue.forget(collection, connection)
                try:
                    found = await self._catalogue.table_of(collection, connection)
                except ProjectionStoreError:
                    pass
                else:
                    refuse_other_fields(found, asked)
                    return
            with _in_use(doing):
                async with (
                    engine.begin() as connection,
                    self._waiting(connection, self.making_timeout),
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
            documents = [
                written_document(collection, doc_id, doc, table.fields)
                for doc_id, doc in docs.items()
            ]
            # In one order for all, or two writers would each wait for a row of the other.
            documents.sort(key=lambda each: each.doc_id)
            if not documents:
                return
            if table.is_postgres:
                await fetch(connection, table.upsert, *table.given(documents))
            else:
                await execute_many(connection, table.upsert, table.given(documents))

        await self._access.change(collection, uow, f"write to {collection}", write)

    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None:
        found = await self.get_batch(collection, [doc_id], uow=uow)
        return found.get(doc_id)

    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        wanted = possible_ids(doc_ids)

        async def read(
            connection: AsyncConnection, table: CollectionTable
        ) -> dict[str, dict[str, Any]]:
            if len(wanted) == 1:
                rows = await fetch(connection, table.get, *wanted)
            elif wanted:
                rows = await fetch(connection, table.get_many, table.given_ids(wanted))
            else:
                rows = []
            documents = {row[0]: row[1] for row in rows}
            return {each: read_document(documents[each]) for each in wanted if each in documents}

        return await self._access.read(collection, uow, f"read {collection}", read)

    async def find(
        self,
        collection: str,
        criteria: ISpecification[Any] | IQueryOptions[Any],
        *,
        uow: UnitOfWork | None = None,
    ) -> SearchResult[dict[str, Any]]:
        refuse_other_criteria(criteria)
        doing = f"search {collection}"

        async def prepare(
            connection: AsyncConnection, table: CollectionTable
        ) -> tuple[CollectionTable, Select[Any]]:
            return table, table.query(criteria)

        known, prepared = await self._access.read(collection, uow, doing, prepare)

        def query_on(table: CollectionTable) -> Select[Any]:
            return prepared if table is known else table.query(criteria)

        async def search(
            connection: AsyncConnection, table: CollectionTable
        ) -> list[dict[str, Any]]:
            rows = await connection.execute(query_on(table))
            return [read_document(row[0]) for row in rows.all()]

        return SearchResult(
            lambda: self._access.read(collection, uow, doing, search),
            lambda size: self._stream(collection, query_on, size, uow),
        )

    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        await self.delete_batch(collection, [doc_id], uow=uow)

    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        gone = possible_ids(doc_ids)

        async def delete(connection: AsyncConnection, table: CollectionTable) -> None:
            if gone:
                await fetch(connection, table.delete_many, table.given_ids(gone))

        await self._access.change(collection, uow, f"delete from {collection}", delete)

    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        async def delete(connection: AsyncConnection, table: CollectionTable) -> None:
            await fetch(connection, table.delete_all)

        await self._access.change(collection, uow, f"truncate {collection}", delete)

    async def drop_collection(self, collection: str) -> None:
        refuse_name(collection)
        doing = f"drop {collection}"
        with translated(ProjectionStoreError, doing), _in_use(doing):
            async with self._engine().begin() as connection:
                async with self._waiting(connection):
                    await connection.run_sync(self._catalogue.drop, collection)
                self._catalogue.forget(collection, connection)

    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        ids = possible_ids(doc_ids)

        async def take(connection: AsyncConnection, table: CollectionTable) -> None:
            if table.is_postgres:
                # In one order for all, or two would each wait for a lock of the other.
                keys = sorted(
                    lock_key(self._tables, "documents", f"{collection} {doc_id}") for doc_id in ids
                )
                await fetch(connection, _TAKE_LOCKS, keys)
            elif not driver_of(connection).in_transaction:
                await fetch(connection, "BEGIN IMMEDIATE")

        await self._access.change(collection, uow, f"lock documents of {collection}", take)

    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        refuse_name(collection)
        refuse_name(by)
        refuse_replacing_itself(collection, by)
        doing = f"replace {collection} by {by}"
        async with joined(uow or self._uow, self._session_factory, doing) as active:
            with translated(ProjectionStoreError, doing), _in_use(doing):
                connection = await active.connection()
                async with self._waiting(connection):
                    new = await connection.run_sync(self._catalogue.replace, collection, by)
                self._catalogue.replaced(active, connection, by, new)

    async def _stream(
        self,
        collection: str,
        query_on: Callable[[CollectionTable], Select[Any]],
        size: int,
        uow: UnitOfWork | None,
    ) -> AsyncIterator[dict[str, Any]]:
        doing = f"search {collection}"
        given = uow or self._uow or get_current_uow()
        if given is None:
            # While it can be sent again to a table that took the place of another one.
            await self._access.read(collection, None, doing, _nothing_of(query_on))
        # One of our own is not entered, or it would be the current one of whoever iterates.
        shared = given or SQLAlchemyUnitOfWork(session_factory=self._session_factory)
        cursor: RowStream | None = None
        has_begun = False

        async def fetch_rows(connection: AsyncConnection, table: CollectionTable) -> Sequence[Any]:
            nonlocal cursor
            if cursor is None or not has_begun:
                cursor = RowStream(query_on(table), size)
            return await cursor.fetch(connection)

        try:
            while cursor is None or not cursor.is_at_end:
                # Taken for a batch: in between the unit of work is the consumer's.
                rows = await self._access.change(collection, shared, doing, fetch_rows)
                has_begun = True
                for row in rows:
                    yield read_document(row[0])
        finally:
            try:
                if cursor is not None:
                    await cursor.leave(shared)
            finally:
                if given is None:
                    await shared.rollback()

    @asynccontextmanager
    async def _waiting(
        self, connection: AsyncConnection, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Not for long: whoever waits for the readers of a table lets new readers wait behind."""
        if not is_postgres(connection):
            yield
            return
        setting = text("SELECT set_config('lock_timeout', :value, true)")
        before = await connection.scalar(text("SELECT current_setting('lock_timeout')"))
        await connection.execute(
            setting, {"value": f"{round(1000 * (seconds or self.lock_timeout))}ms"}
        )
        yield
        await connection.execute(setting, {"value": before})

    def _engine(self) -> AsyncEngine:
        engine = engine_of(self._session_factory) if self._session_factory is not None else None
        if engine is None and isinstance(self._uow, SQLAlchemyUnitOfWork):
            engine = self._uow.engine
        if engine is None:
            raise ConfigError(
                "to make or drop a collection takes an engine; give the store "
                "async_sessionmaker(engine)"
            )
        refuse_unusable(engine)
        return engine


def _nothing_of(query_on: Callable[[CollectionTable], Select[Any]]) -> Work[None]:
    async def ask(connection: AsyncConnection, table: CollectionTable) -> None:
        await connection.execute(query_on(table).limit(0))

    return ask


@contextmanager
def _in_use(doing: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) != _LOCK_NOT_AVAILABLE:
            raise
        raise ConcurrencyError(
            f"cannot {doing}: others use the collection for too long; try it again"
        ) from error
