"""Work on the table of a collection, and again where that has become another one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_advanced_core.exceptions import DocumentError
from cqrs_ddd_advanced_core.spi.documents import ensure_collection_name
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, ValidationError

from ...engine.connections import Connections
from ...engine.driver_errors import DriverError, sqlstate
from ...engine.transaction import SQLAlchemyTransaction
from .catalog import CollectionCatalog
from .collection_tables import CollectionTable

T = TypeVar("T")
Work = Callable[[AsyncConnection, CollectionTable], Awaitable[T]]

_OF_ANOTHER_TABLE = {"42P01", "42703", "42804", "42883", "0A000"}
"""No such table, no such column, other types, other results than the statement was prepared for."""
_OF_ANOTHER_ON_SQLITE = re.compile(r"no such (table|column): |has no column named ")
_TRIES = 5


class CollectionAccess:
    """A table that was replaced meanwhile is noticed by the statement that fails.

    Alone, and on SQLite, the work is then done again. In a unit of work on PostgreSQL nothing can
    be done any more, and ``ConcurrencyError`` is raised.
    """

    def __init__(self, catalogue: CollectionCatalog, connections: Connections) -> None:
        self._catalogue = catalogue
        self._connections = connections

    async def change(
        self, collection: str, uow: UnitOfWork | None, operation: str, work: Work[T]
    ) -> T:
        ensure_collection_name(collection)

        async def attempt() -> T:
            async with self._connections.join_transaction(uow, operation) as active:
                connection = await active.connection()
                return await self._work_on(collection, connection, active, work)

        return await _retry(attempt, is_alone=self._connections.current(uow) is None)

    async def read(
        self, collection: str, uow: UnitOfWork | None, operation: str, work: Work[T]
    ) -> T:
        ensure_collection_name(collection)

        async def attempt() -> T:
            async with self._connections.read_connection(uow, operation) as connection:
                current = self._connections.current(uow)
                return await self._work_on(collection, connection, current, work)

        return await _retry(attempt, is_alone=self._connections.current(uow) is None)

    async def _work_on(
        self,
        collection: str,
        connection: AsyncConnection,
        uow: UnitOfWork | None,
        work: Work[T],
    ) -> T:
        within = uow if isinstance(uow, SQLAlchemyTransaction) else None
        table_of = partial(self._catalogue.table_of, collection, connection, within)
        for _ in range(_TRIES):
            table = await table_of()
            try:
                return await work(connection, table)
            except (ValidationError, DocumentError):
                # What is refused may be fine by now.
                self._catalogue.forget(collection, connection)
                if (await table_of()).number == table.number:
                    raise
            except (DriverError, DBAPIError) as error:
                if not _is_of_another_table(error):
                    raise
                self._catalogue.forget(collection, connection)
                if table.is_postgres:
                    raise _replaced(collection) from error
        raise _replaced(collection)


class _ReplacedError(ConcurrencyError):
    """The statement was for a table that is another one by now."""


def _replaced(collection: str) -> _ReplacedError:
    return _ReplacedError(f"{collection} was replaced in the meantime; retry")


async def _retry(attempt: Callable[[], Awaitable[T]], *, is_alone: bool) -> T:
    for _ in range(_TRIES if is_alone else 0):
        with suppress(_ReplacedError):
            return await attempt()
    return await attempt()


def _is_of_another_table(error: DriverError | DBAPIError) -> bool:
    code = sqlstate(error)
    if code is not None:
        return code in _OF_ANOTHER_TABLE
    return _OF_ANOTHER_ON_SQLITE.search(str(error.orig)) is not None
