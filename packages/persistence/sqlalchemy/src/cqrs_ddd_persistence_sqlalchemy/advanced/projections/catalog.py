"""Which collections there are, with which fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import Pool

from cqrs_ddd_advanced_core.exceptions import ProjectionStoreError
from cqrs_ddd_advanced_core.spi.document_fields import DocumentFields

from ...engine.driver import is_postgres
from ...engine.transaction import SQLAlchemyTransaction
from ...schema.installation import begin_changes
from ...schema.tables import Tables
from .collection_tables import CollectionTable

Name = tuple[str | None, str, str]
"""Schema, prefix, collection."""

_known: WeakKeyDictionary[Pool, dict[Name, CollectionTable]] = WeakKeyDictionary()
_replaced: WeakKeyDictionary[SQLAlchemyTransaction, dict[Name, CollectionTable | None]] = (
    WeakKeyDictionary()
)
"""Within units of work that are not committed yet."""


class CollectionCatalog:
    """Read once for each collection, until a statement tells of another table."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def table_of(
        self,
        collection: str,
        connection: AsyncConnection,
        uow: SQLAlchemyTransaction | None = None,
    ) -> CollectionTable:
        """Raises ``ProjectionStoreError`` for one that there is not."""
        name = self._name(collection)
        replaced = _replaced.get(uow, {}) if uow is not None else {}
        known = _known_by(connection)
        found = replaced[name] if name in replaced else known.get(name)
        if found is None and name not in replaced:
            found = await connection.run_sync(self._read, collection)
            if found is not None:
                known[name] = found
        if found is None:
            raise ProjectionStoreError.no_collection(collection)
        return found

    def forget(self, collection: str, connection: AsyncConnection) -> None:
        _known_by(connection).pop(self._name(collection), None)

    def ensure(self, connection: Connection, collection: str, asked: DocumentFields) -> None:
        """Make the table, in a transaction; raises ``ProjectionStoreError`` for other fields."""
        begin_changes(connection, self._tables)
        found = self._read(connection, collection)
        if found is not None:
            ensure_same_fields(found, asked)
            return
        views = self._tables.advanced.views
        number = connection.scalar(select(func.coalesce(func.max(views.c.number), 0) + 1))
        assert number is not None
        made = CollectionTable(self._tables, collection, number, asked, is_postgres(connection))
        made.table.create(connection)
        row = {"collection": collection, "number": number, "fields": _written(asked)}
        connection.execute(insert(views).values(row))

    def drop(self, connection: Connection, collection: str) -> None:
        begin_changes(connection, self._tables)
        found = self._read(connection, collection)
        if found is not None:
            found.table.drop(connection)
            self._remove(connection, collection)

    def replace(self, connection: Connection, collection: str, by: str) -> CollectionTable:
        """Answers the table under its new name."""
        begin_changes(connection, self._tables)
        old, new = self._read(connection, collection), self._read(connection, by)
        if new is None:
            raise ProjectionStoreError.no_collection(by)
        taken = CollectionTable(self._tables, collection, new.number, new.fields, new.is_postgres)
        gone = [each.quoted_name for each in (old, new) if each is not None]
        if new.is_postgres:
            # At once, so that no reader of the one waits while we wait for readers of the other.
            connection.execute(text(f"LOCK TABLE {', '.join(gone)} IN ACCESS EXCLUSIVE MODE"))
        if old is not None:
            old.table.drop(connection)
            self._remove(connection, collection)
        to = connection.dialect.identifier_preparer.quote(taken.name)
        connection.execute(text(f"ALTER TABLE {new.quoted_name} RENAME TO {to}"))
        views = self._tables.advanced.views
        connection.execute(
            update(views).where(views.c.collection == by).values(collection=collection)
        )
        return taken

    def changed(
        self,
        uow: SQLAlchemyTransaction,
        connection: AsyncConnection,
        tables: Mapping[str, CollectionTable | None],
    ) -> None:
        """``uow`` sees it from now on, the others from its commit on."""
        changes = {self._name(collection): table for collection, table in tables.items()}
        _replaced.setdefault(uow, {}).update(changes)
        uow.on_commit(partial(_keep, _known_by(connection), changes))

    def _read(self, connection: Connection, collection: str) -> CollectionTable | None:
        views = self._tables.advanced.views
        query = select(views.c.number, views.c.fields).where(views.c.collection == collection)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        fields = DocumentFields.parse(from_json(row.fields))
        return CollectionTable(
            self._tables, collection, row.number, fields, is_postgres(connection)
        )

    def _remove(self, connection: Connection, collection: str) -> None:
        views = self._tables.advanced.views
        connection.execute(delete(views).where(views.c.collection == collection))

    def _name(self, collection: str) -> Name:
        return (self._tables.schema, self._tables.prefix, collection)


def ensure_same_fields(found: CollectionTable, asked: DocumentFields) -> None:
    if found.fields != asked:
        raise ProjectionStoreError.other_fields(
            found.collection, asked.type_names, found.fields.type_names
        )


async def _keep(
    known: dict[Name, CollectionTable], changes: dict[Name, CollectionTable | None]
) -> None:
    for name, table in changes.items():
        if table is None:
            known.pop(name, None)
        else:
            known[name] = table


def _known_by(connection: AsyncConnection) -> dict[Name, CollectionTable]:
    sync_connection: Any = connection.sync_connection
    return _known.setdefault(sync_connection.engine.pool, {})


def _written(fields: DocumentFields) -> str:
    return to_json(fields.type_names).decode()
