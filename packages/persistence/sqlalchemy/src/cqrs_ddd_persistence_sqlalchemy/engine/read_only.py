"""Read-only transactions, in which the database rejects every change."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core.primitives.exceptions import ReadOnlyError

from . import driver
from .driver_errors import DriverError, is_write_rejected
from .sqlite import QUERY_ONLY, keeps_query_only

_FORBID_WRITES = "PRAGMA query_only = ON"
_READ_ONLY = "cqrs_ddd_read_only"
_engines: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


def get_read_only_engine(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine on the same pool whose transactions only read, also those of sessions.

    Each statement sees the rows committed before it, whatever the isolation level of ``engine``.
    PostgreSQL learns it with the BEGIN. SQLite has a setting of the connection for it, which
    ``configure_sqlite`` switches back when a writer takes the connection from the pool.
    """
    found = _engines.get(engine)
    if found is None:
        options: dict[str, Any] = {_READ_ONLY: True}
        if driver.is_postgres(engine):
            options.update(isolation_level="READ COMMITTED", postgresql_readonly=True)
        found = _engines[engine] = engine.execution_options(**options)
        sa.event.listen(found.sync_engine, "handle_error", _raise_read_only_error)
        if not driver.is_postgres(engine):
            sa.event.listen(found.sync_engine, "begin", _forbid_writes_of_session)
    return found


async def connect_read_only(engine: AsyncEngine) -> AsyncConnection:
    """Take a connection from the pool; on SQLite it may reject changes already."""
    token = keeps_query_only.set(True)
    try:
        return await driver.open_connection(get_read_only_engine(engine).connect())
    finally:
        keeps_query_only.reset(token)


async def forbid_writes(connection: AsyncConnection) -> None:
    """Reject changes on a connection of a read-only engine, where BEGIN does not: on SQLite."""
    if not driver.is_postgres(connection):
        assert connection.sync_connection is not None
        notes = connection.sync_connection.connection.info
        if not notes.get(QUERY_ONLY):
            notes[QUERY_ONLY] = False  # A cancelled statement has to be undone as well.
            await driver.fetch(connection, _FORBID_WRITES)
            notes[QUERY_ONLY] = True


def _forbid_writes_of_session(connection: sa.Connection) -> None:
    pooled = connection.connection
    if not pooled.info.get(QUERY_ONLY):
        pooled.info[QUERY_ONLY] = False
        adapted: Any = pooled.dbapi_connection
        adapted.run_async(lambda driver: driver.execute_fetchall(_FORBID_WRITES))
        pooled.info[QUERY_ONLY] = True


def _raise_read_only_error(context: sa.engine.ExceptionContext) -> None:
    # The events of errors belong to the dialect, which the ordinary engine shares.
    connection = context.connection
    if (
        connection is not None
        and _READ_ONLY in connection.get_execution_options()
        and is_write_rejected(context.original_exception)
    ):
        raise ReadOnlyError.rejected("change the database") from DriverError.conceal(
            context.original_exception
        )
