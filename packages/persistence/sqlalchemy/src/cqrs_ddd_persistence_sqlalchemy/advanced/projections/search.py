"""Searches in collections, and the streams of what they find."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.spi.checks import ensure_searchable

from ...engine.connections import Connections
from ...repository.row_cursor import RowCursor
from .collection_access import CollectionAccess, Work
from .collection_tables import CollectionTable

QueryOn = Callable[[CollectionTable], Select[Any]]


class CollectionSearch:
    """Asks at once whether a search can be, and for its rows when somebody awaits them."""

    def __init__(self, access: CollectionAccess, connections: Connections) -> None:
        self._access = access
        self._connections = connections

    async def find(
        self,
        collection: str,
        criteria: ISpecification[Any] | IQueryOptions[Any],
        uow: UnitOfWork | None,
    ) -> SearchResult[dict[str, Any]]:
        ensure_searchable(criteria)
        operation = f"search {collection}"

        async def prepare(
            connection: AsyncConnection, table: CollectionTable
        ) -> tuple[CollectionTable, Select[Any]]:
            return table, table.query(criteria)

        known, prepared = await self._access.read(collection, uow, operation, prepare)

        def query_on(table: CollectionTable) -> Select[Any]:
            return prepared if table is known else table.query(criteria)

        async def search(
            connection: AsyncConnection, table: CollectionTable
        ) -> list[dict[str, Any]]:
            rows = await connection.execute(query_on(table))
            return [table.document(row) for row in rows.all()]

        return SearchResult(
            lambda: self._access.read(collection, uow, operation, search),
            lambda size: self._stream(collection, query_on, size, uow),
        )

    async def _stream(
        self, collection: str, query_on: QueryOn, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[dict[str, Any]]:
        operation = f"search {collection}"
        if self._connections.current(uow) is None:
            # While it can be sent again to a table that took the place of another one.
            await self._access.read(collection, None, operation, _nothing_of(query_on))
        cursor: RowCursor | None = None
        has_begun = False

        async def fetch_documents(
            connection: AsyncConnection, table: CollectionTable
        ) -> Sequence[dict[str, Any]]:
            nonlocal cursor
            if cursor is None or not has_begun:
                cursor = RowCursor(query_on(table), size)
            return [table.document(row) for row in await cursor.fetch(connection)]

        async with self._connections.stream_transaction(uow) as shared:
            try:
                while cursor is None or not cursor.is_at_end:
                    # Joined for each batch: in between the unit of work is the consumer's.
                    documents = await self._access.change(
                        collection, shared, operation, fetch_documents
                    )
                    has_begun = True
                    for document in documents:
                        yield document
            finally:
                if cursor is not None:
                    await cursor.leave(shared)


def _nothing_of(query_on: QueryOn) -> Work[None]:
    async def ask(connection: AsyncConnection, table: CollectionTable) -> None:
        await connection.execute(query_on(table).limit(0))

    return ask
