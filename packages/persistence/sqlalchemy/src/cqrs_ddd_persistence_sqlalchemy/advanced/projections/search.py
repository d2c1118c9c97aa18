"""Searches in collections, and streams of their results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core import SearchResult, UnitOfWork
from cqrs_ddd_core.spi.checks import ensure_searchable

from ...engine import AsyncConnection, Connections
from ...repository.row_cursor import RowCursor
from ...specifications import Criteria
from .collection_access import CollectionAccess, Work
from .collection_tables import CollectionTable

SelectFrom = Callable[[CollectionTable], sa.Select[Any]]


class CollectionSearch:
    """Search that validates its criteria at once, and reads the rows when they are awaited."""

    def __init__(self, access: CollectionAccess, connections: Connections) -> None:
        self._access = access
        self._connections = connections

    async def find(
        self,
        collection: str,
        criteria: Criteria,
        uow: UnitOfWork | None,
    ) -> SearchResult[dict[str, Any]]:
        ensure_searchable(criteria)
        operation = f"search {collection}"

        async def prepare(
            connection: AsyncConnection, table: CollectionTable
        ) -> tuple[CollectionTable, sa.Select[Any]]:
            return table, table.select(criteria)

        known, prepared = await self._access.read(collection, uow, operation, prepare)

        def select_from(table: CollectionTable) -> sa.Select[Any]:
            return prepared if table is known else table.select(criteria)

        async def search(
            connection: AsyncConnection, table: CollectionTable
        ) -> list[dict[str, Any]]:
            rows = await connection.execute(select_from(table))
            return [table.read_row(row) for row in rows.all()]

        return SearchResult(
            lambda: self._access.read(collection, uow, operation, search),
            lambda size: self._stream(collection, select_from, size, uow),
        )

    async def _stream(
        self, collection: str, select_from: SelectFrom, size: int, uow: UnitOfWork | None
    ) -> AsyncIterator[dict[str, Any]]:
        operation = f"search {collection}"
        if self._connections.current(uow) is None:
            # A replaced table is detected here, where the statement can be repeated.
            await self._access.read(collection, None, operation, _probe(select_from))
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


def _probe(select_from: SelectFrom) -> Work[None]:
    async def execute(connection: AsyncConnection, table: CollectionTable) -> None:
        await connection.execute(select_from(table).limit(0))

    return execute
