"""Catalog of the collections, and access to their tables with a retry after a replacement."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from cqrs_ddd_advanced_core.exceptions import DocumentError, ProjectionStoreError
from cqrs_ddd_advanced_core.spi.document_fields import DocumentFields
from cqrs_ddd_advanced_core.spi.documents import ensure_collection_name
from cqrs_ddd_core import ConcurrencyError, UnitOfWork, ValidationError

from ...engine import AsyncConnection, Connections, SQLAlchemyTransaction, is_postgres
from ...engine.driver_errors import DriverError, sqlstate
from ...schema.installation import begin_changes
from ...schema.tables import Tables
from .collection_tables import CollectionTable

T = TypeVar("T")
Work = Callable[[AsyncConnection, CollectionTable], Awaitable[T]]

_REPLACED_STATES = {"42P01", "42703", "42804", "42883", "0A000"}
"""Codes for a missing table, a missing column, other types, and a changed result type."""
_REPLACED_ON_SQLITE = re.compile(r"no such (table|column): |has no column named ")
_TRIES = 5
Name = tuple[str | None, str, str]
"""Schema, prefix and collection."""

_known: WeakKeyDictionary[sa.pool.Pool, dict[Name, CollectionTable]] = WeakKeyDictionary()
_replaced: WeakKeyDictionary[SQLAlchemyTransaction, dict[Name, CollectionTable | None]] = (
    WeakKeyDictionary()
)
"""Changes of uncommitted transactions."""


class CollectionAccess:
    """Access to tables of collections, which detects a replaced table by a failing statement.

    A call in its own transaction, and any call on SQLite, then repeats the work. In a unit of work
    on PostgreSQL the transaction has failed, and ``ConcurrencyError`` is raised.

    Args:
        catalog: finds the tables.
        connections: transactions and connections of the store.
    """

    def __init__(self, catalog: CollectionCatalog, connections: Connections) -> None:
        self._catalog = catalog
        self._connections = connections

    async def change(
        self, collection: str, uow: UnitOfWork | None, operation: str, work: Work[T]
    ) -> T:
        """Run ``work`` on the table of the collection, in a transaction.

        Args:
            collection: name of the collection.
            uow: the ``uow`` argument of the call.
            operation: the work, for error messages.
            work: runs statements on a connection and the table.

        Raises:
            ProjectionStoreError: the collection does not exist.
            ConcurrencyError: the table was replaced while the unit of work used it.
        """
        ensure_collection_name(collection)

        async def attempt() -> T:
            async with self._connections.join_transaction(uow, operation) as active:
                connection = await active.connection()
                return await self._work_on(collection, connection, active, work)

        return await _retry(attempt, is_alone=self._connections.current(uow) is None)

    async def read(
        self, collection: str, uow: UnitOfWork | None, operation: str, work: Work[T]
    ) -> T:
        """Run ``work`` on the table of the collection, in the current transaction if there is one.

        Parameters and errors are the same as for ``change``.
        """
        ensure_collection_name(collection)

        async def attempt() -> T:
            async with self._connections.read_connection(uow, operation) as connection:
                current = self._connections.current(uow)
                return await self._work_on(collection, connection, current, work)

        return await _retry(attempt, is_alone=self._connections.current(uow) is None)

    async def _work_on(
        self, collection: str, connection: AsyncConnection, uow: UnitOfWork | None, work: Work[T]
    ) -> T:
        within = uow if isinstance(uow, SQLAlchemyTransaction) else None
        find_table = partial(self._catalog.find_table, collection, connection, within)
        for _ in range(_TRIES):
            table = await find_table()
            try:
                return await work(connection, table)
            except (ValidationError, DocumentError):
                # The document may be valid for the fields of a new table.
                self._catalog.invalidate(collection, connection)
                if (await find_table()).number == table.number:
                    raise
            except (DriverError, sa.exc.DBAPIError) as error:
                if not _is_replaced(error):
                    raise
                self._catalog.invalidate(collection, connection)
                if table.is_postgres:
                    raise _replaced_error(collection) from error
        raise _replaced_error(collection)


class _ReplacedError(ConcurrencyError):
    """Statement on a table that was replaced at the same time."""


def _replaced_error(collection: str) -> _ReplacedError:
    return _ReplacedError(f"{collection} was replaced at the same time; retry the command")


async def _retry(attempt: Callable[[], Awaitable[T]], *, is_alone: bool) -> T:
    for _ in range(_TRIES if is_alone else 0):
        with suppress(_ReplacedError):
            return await attempt()
    return await attempt()


def _is_replaced(error: DriverError | sa.exc.DBAPIError) -> bool:
    code = sqlstate(error)
    if code is not None:
        return code in _REPLACED_STATES
    return _REPLACED_ON_SQLITE.search(str(error.orig)) is not None


class CollectionCatalog:
    """Catalog that is read once for each collection, until a statement finds another table.

    Args:
        tables: tables of the toolkit.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def find_table(
        self, collection: str, connection: AsyncConnection, uow: SQLAlchemyTransaction | None = None
    ) -> CollectionTable:
        """Return the table of the collection, as changed by ``uow``.

        Raises:
            ProjectionStoreError: the collection does not exist.
        """
        found = await self.find_existing(collection, connection, uow)
        if found is None:
            raise ProjectionStoreError.no_collection(collection)
        return found

    async def find_existing(
        self, collection: str, connection: AsyncConnection, uow: SQLAlchemyTransaction | None = None
    ) -> CollectionTable | None:
        """Return the table of the collection, as changed by ``uow``, or None."""
        name = self._qualify_name(collection)
        replaced = _replaced.get(uow, {}) if uow is not None else {}
        known = _get_known_tables(connection)
        found = replaced[name] if name in replaced else known.get(name)
        if found is None and name not in replaced:
            found = await connection.run_sync(self._read_table, collection)
            if found is not None:
                known[name] = found
        return found

    def invalidate(self, collection: str, connection: AsyncConnection) -> None:
        """Remove the collection from the cached catalog of the engine."""
        _get_known_tables(connection).pop(self._qualify_name(collection), None)

    def ensure(
        self, connection: sa.Connection, collection: str, asked: DocumentFields
    ) -> CollectionTable:
        """Return the table of the collection, created with these fields unless it exists."""
        begin_changes(connection, self._tables)
        found = self._read_table(connection, collection)
        if found is not None:
            return found
        views = self._tables.advanced.views
        number = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(views.c.number), 0) + 1))
        assert number is not None
        made = CollectionTable(self._tables, collection, number, asked, is_postgres(connection))
        made.table.create(connection)
        row = {
            "collection": collection,
            "number": number,
            "fields": to_json(asked.type_names).decode(),
        }
        connection.execute(sa.insert(views).values(row))
        return made

    def drop(self, connection: sa.Connection, collection: str) -> None:
        """Drop the table of the collection, if it exists."""
        begin_changes(connection, self._tables)
        found = self._read_table(connection, collection)
        if found is not None:
            found.table.drop(connection)
            self._remove(connection, collection)

    def replace(self, connection: sa.Connection, collection: str, by: str) -> CollectionTable:
        """Rename the table of ``by``, and return it under its new name.

        Raises:
            ProjectionStoreError: ``by`` does not exist.
        """
        begin_changes(connection, self._tables)
        old, new = self._read_table(connection, collection), self._read_table(connection, by)
        if new is None:
            raise ProjectionStoreError.no_collection(by)
        taken = CollectionTable(self._tables, collection, new.number, new.fields, new.is_postgres)
        gone = [each.quoted_name for each in (old, new) if each is not None]
        if new.is_postgres:
            # Both tables at once, or the readers of one would wait for the readers of the other.
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(gone)} IN ACCESS EXCLUSIVE MODE")
        if old is not None:
            old.table.drop(connection)
            self._remove(connection, collection)
        to = connection.dialect.identifier_preparer.quote(taken.name)
        connection.exec_driver_sql(f"ALTER TABLE {new.quoted_name} RENAME TO {to}")
        views = self._tables.advanced.views
        connection.execute(
            sa.update(views).where(views.c.collection == by).values(collection=collection)
        )
        return taken

    def record_changes(
        self,
        uow: SQLAlchemyTransaction,
        connection: AsyncConnection,
        tables: Mapping[str, CollectionTable | None],
    ) -> None:
        """Show the changes to ``uow`` at once, and to other transactions after its commit."""
        changes = {self._qualify_name(collection): table for collection, table in tables.items()}
        _replaced.setdefault(uow, {}).update(changes)
        uow.on_commit(partial(_apply_changes, _get_known_tables(connection), changes))

    def _read_table(self, connection: sa.Connection, collection: str) -> CollectionTable | None:
        views = self._tables.advanced.views
        query = sa.select(views.c.number, views.c.fields).where(views.c.collection == collection)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        fields = DocumentFields.parse(from_json(row.fields))
        return CollectionTable(
            self._tables, collection, row.number, fields, is_postgres(connection)
        )

    def _remove(self, connection: sa.Connection, collection: str) -> None:
        views = self._tables.advanced.views
        connection.execute(sa.delete(views).where(views.c.collection == collection))

    def _qualify_name(self, collection: str) -> Name:
        return (self._tables.schema, self._tables.prefix, collection)


def ensure_same_fields(found: CollectionTable, asked: DocumentFields) -> None:
    """Raise ``ProjectionStoreError`` if the table has other fields."""
    if found.fields != asked:
        raise ProjectionStoreError.other_fields(
            found.collection, asked.type_names, found.fields.type_names
        )


async def _apply_changes(
    known: dict[Name, CollectionTable], changes: dict[Name, CollectionTable | None]
) -> None:
    for name, table in changes.items():
        if table is None:
            known.pop(name, None)
        else:
            known[name] = table


def _get_known_tables(connection: AsyncConnection) -> dict[Name, CollectionTable]:
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    return _known.setdefault(sync_connection.engine.pool, {})
