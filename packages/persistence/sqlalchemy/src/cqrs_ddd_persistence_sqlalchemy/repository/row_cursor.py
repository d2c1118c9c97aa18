"""Database cursor that returns the rows of a query in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from cqrs_ddd_core import InfrastructureError, InvalidOperationError, UnitOfWork

from ..engine import AsyncConnection, Connections, is_postgres

_cursors: WeakKeyDictionary[sa.Connection, set[str]] = WeakKeyDictionary()
"""Names of open cursors on PostgreSQL, where a cursor lives as long as its transaction."""
_watched: WeakSet[sa.Engine] = WeakSet()
_UNFINISHED = "cqrs_ddd_unfinished"


class RowCursor:
    """Cursor over the rows that match at the first ``fetch``; later changes do not affect it.

    Args:
        query: the rows to read.
        size: rows of a batch.
    """

    def __init__(self, query: sa.Select[Any], size: int) -> None:
        self._query = query
        self._size = size
        self._connection: AsyncConnection | None = None
        self._task: ref[asyncio.Task[object]] | None = None
        self._name = ""
        self._rows: sa.TextualSelect | None = None
        self._result: sa.CursorResult[Any] | None = None
        self.is_at_end = False

    async def fetch(self, connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
        """Return the next ``size`` rows, or fewer rows at the end."""
        self._connection = None  # After an interrupted fetch the transaction closes the cursor.
        if is_postgres(connection):
            if self._rows is None:
                self._rows = await self._declare(connection)
            rows = (await connection.execute(self._rows)).all()
        else:
            rows = await connection.run_sync(self._fetch_on_sqlite)
        if len(rows) < self._size:
            self.is_at_end = True
            await self._close(connection)
            return rows
        self._connection = connection
        if (task := asyncio.current_task()) is not None:
            # A strong reference would keep a cancelled task and its stream alive in a cycle.
            self._task = ref(task)
        return rows

    async def leave(self, uow: UnitOfWork) -> None:
        """Close the cursor if possible; otherwise it ends with the transaction."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._result is not None:
            await connection.run_sync(self._close_on_sqlite)
        elif self._task is not None and self._task() is asyncio.current_task():
            # Otherwise the garbage collector closes the stream, and another task may be using the
            # unit of work.
            with suppress(InvalidOperationError, InfrastructureError):
                async with Connections(None).join_transaction(uow, "close a cursor"):
                    await self._close(connection)

    async def _close(self, connection: AsyncConnection) -> None:
        if is_postgres(connection):
            await connection.execute(sa.text(f"CLOSE {self._name}"))
            _get_cursor_names(connection).discard(self._name)
        else:
            await connection.run_sync(self._close_on_sqlite)

    async def _declare(self, connection: AsyncConnection) -> sa.TextualSelect:
        # DECLARE, since asyncpg's cursors require a transaction that asyncpg has begun itself.
        # Names are reused, or they would fill the caches of prepared statements; but only for the
        # same columns, to which a prepared FETCH is bound.
        taken = _get_cursor_names(connection)
        columns = crc32(" ".join(map(str, self._query.selected_columns)).encode())
        names = (f"cqrs_ddd_{columns:08x}_{n}" for n in count(1))
        self._name = next(name for name in names if name not in taken)
        taken.add(self._name)
        await connection.execute(_Declare(self._name, self._query))
        fetch = sa.text(f"FETCH {self._size} FROM {self._name}")
        return fetch.columns(*self._query.selected_columns)

    def _fetch_on_sqlite(self, connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        if self._result is None:
            # MATERIALIZED, or a change between two batches could repeat or skip a row.
            rows = sa.select(self._query.cte("cqrs_ddd_found").prefix_with("MATERIALIZED"))
            self._result = connection.execute(rows, execution_options={"yield_per": self._size})
            self._close_at_checkin(connection)
        return self._result.fetchmany(self._size)

    def _close_on_sqlite(self, connection: object = None) -> None:
        if self._result is not None:
            self._result.close()

    def _close_at_checkin(self, connection: sa.Connection) -> None:
        # An open cursor would show an old snapshot to the next user of the connection.
        connection.connection.info.setdefault(_UNFINISHED, WeakSet()).add(self)
        if connection.engine not in _watched:
            sa.event.listen(connection.engine, "checkin", _close_unfinished)
            _watched.add(connection.engine)


def _get_cursor_names(connection: AsyncConnection) -> set[str]:
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    return _cursors.setdefault(sync_connection, set())


def _close_unfinished(driver_connection: object, entry: sa.pool.ConnectionPoolEntry) -> None:
    for stream in entry.info.pop(_UNFINISHED, ()):
        if driver_connection is not None:  # A closed connection has closed its cursors.
            stream._close_on_sqlite()


class _Declare(sa.Executable, sa.ClauseElement):
    inherit_cache = False

    def __init__(self, name: str, query: sa.Select[Any]) -> None:
        self.name = name
        self.query = query


@compiles(_Declare)
def _compile_declare(element: _Declare, compiler: SQLCompiler, **kw: object) -> str:
    query = compiler.process(element.query, **kw)
    return f"DECLARE {element.name} NO SCROLL CURSOR FOR {query}"
