"""Statements sent directly to the driver, and the begin and end of its transactions.

These statements bypass the compiler, cursor and result of SQLAlchemy, which cost more time than the
statement. The driver autocommits each statement before a BEGIN: see ADR 8.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core import ConcurrencyError, ConfigError, PersistenceError
from cqrs_ddd_core.instrumentation import hooks

from .driver_errors import DriverError, raise_translated, sqlstate

_isolation_levels: WeakKeyDictionary[sa.Engine, str] = WeakKeyDictionary()
_autocommit_engines: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()
_CLOSE_TIMEOUT = 1.0
"""Seconds that a cancelled reader waits until its connection is back in the pool."""
_JSON = ("payload", "metadata")
"""Columns that take a text as JSON."""
_LOCK_NOT_AVAILABLE = "55P03"
_SELECT_LOCK_TIMEOUT = sa.text("SELECT current_setting('lock_timeout')")
_SET_LOCK_TIMEOUT = sa.text("SELECT set_config('lock_timeout', :value, true)")


def is_postgres(bind: AsyncEngine | AsyncConnection | sa.Connection) -> bool:
    """Return whether the database is PostgreSQL; otherwise it is SQLite."""
    return bind.dialect.name == "postgresql"


async def open_connection(opening: Awaitable[AsyncConnection]) -> AsyncConnection:
    """Await a connection of the pool, which may have to be opened.

    Raises:
        PersistenceError: the database cannot be reached, or the pool has no free connection.
    """
    with hooks.span("database.connect"):
        try:
            return await opening
        except Exception as error:
            raise_translated(error, PersistenceError, "connect to the database")
            raise


async def fetch(connection: AsyncConnection, statement: str, *values: Any) -> Sequence[Any]:
    """Return the rows of a statement with parameters ``$1``, ``$2``, or ``?`` on SQLite."""
    driver = get_driver(connection)
    try:
        if is_postgres(connection):
            rows: Sequence[Any] = await driver.fetch(statement, *values)
            return rows
        # One hop to the thread of the connection; a cursor would take four.
        return list(await driver.execute_fetchall(statement, values))
    except _list_driver_exceptions(connection) as error:
        raise await _to_driver_error(connection, error) from None


async def execute_many(
    connection: AsyncConnection, statement: str, rows: Sequence[Sequence[Any]]
) -> None:
    """Execute a statement for all rows in one hop to the driver's thread; on SQLite only."""
    try:
        await (await get_driver(connection).executemany(statement, rows)).close()
    except _list_driver_exceptions(connection) as error:
        raise DriverError(error) from None


async def execute(connection: AsyncConnection, statement: str) -> str:
    """Execute a statement and return PostgreSQL's status, such as ``COMMIT``."""
    try:
        status: str = await get_driver(connection).execute(statement)
        return status
    except _list_driver_exceptions(connection) as error:
        raise await _to_driver_error(connection, error) from None


async def begin(connection: AsyncConnection) -> None:
    """Begin a transaction that ``commit`` or ``rollback`` ends."""
    if not is_postgres(connection):
        ensure_transactional(connection)
        return  # The sqlite3 module sends BEGIN before the first change.
    engine = connection.engine.sync_engine
    if engine not in _isolation_levels:
        _isolation_levels[engine] = await connection.run_sync(_read_isolation_level)
    options = (
        connection.sync_connection.get_execution_options() if connection.sync_connection else {}
    )
    modes = [f"ISOLATION LEVEL {_isolation_levels[engine]}"]
    modes += ["READ ONLY"] if options.get("postgresql_readonly") else []
    modes += ["DEFERRABLE"] if options.get("postgresql_deferrable") else []
    await execute(connection, f"BEGIN {', '.join(modes)}")


async def commit(connection: AsyncConnection) -> None:
    """Commit the transaction.

    Raises:
        PersistenceError: PostgreSQL has rolled back instead.
    """
    if not is_postgres(connection):
        if connection.in_transaction():  # SQLAlchemy has joined and must track the end.
            await connection.commit()
        else:
            await get_driver(connection).commit()
    elif (status := await execute(connection, "COMMIT")) != "COMMIT":
        raise PersistenceError(
            f"cannot commit: PostgreSQL replied {status}, since an earlier statement has failed "
            "and its error was caught; let such an error end the unit of work, or use a "
            "savepoint of the session"
        )


async def rollback(connection: AsyncConnection) -> None:
    """Roll back; on SQLite too, since not every pool rolls back a returned connection."""
    if is_postgres(connection):
        await execute(connection, "ROLLBACK")
        return
    try:
        await get_driver(connection).rollback()
    except _list_driver_exceptions(connection) as error:
        raise DriverError(error) from None


def ensure_transactional(connection: AsyncConnection) -> None:
    """Raise ``ConfigError`` unless a transaction is open, or begins with the first change."""
    driver = get_driver(connection)
    if is_postgres(connection):
        is_transactional: bool = driver.is_in_transaction()
    else:
        is_transactional = driver.isolation_level == "IMMEDIATE"
    if not is_transactional:
        raise ConfigError(
            "the engine is in AUTOCOMMIT mode, so nothing could be rolled back; create it without "
            "isolation_level"
        )


def share_transaction(connection: AsyncConnection) -> None:
    """Make SQLAlchemy's statements on the connection take part in the driver's transaction.

    Call it before SQLAlchemy's first statement. It changes the settings of SQLAlchemy only, and
    sends no statement to the database.
    """
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    ensure_connected(connection)
    if is_postgres(connection):
        sync_connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        sync_connection.begin()


def is_closed(connection: AsyncConnection) -> bool:
    """Return whether a statement or the driver has noticed that the connection is lost."""
    if connection.invalidated or not is_postgres(connection):
        return connection.invalidated
    is_lost: bool = get_driver(connection).is_closed()
    return is_lost


def ensure_connected(connection: AsyncConnection) -> None:
    """Raise an error if an earlier statement has lost the connection."""
    # SQLAlchemy would open another connection at its next use, and here outside of its greenlet.
    if connection.invalidated:
        raise DriverError(ConnectionError("an earlier statement has lost the connection"))


def get_driver(connection: AsyncConnection) -> Any:
    """Return the connection of the driver, of asyncpg or aiosqlite."""
    ensure_connected(connection)
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    return sync_connection.connection.driver_connection


@asynccontextmanager
async def autocommit_connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection on which each statement sees the rows committed before it."""
    if is_postgres(engine):
        if engine not in _autocommit_engines:
            _autocommit_engines[engine] = engine.execution_options(isolation_level="AUTOCOMMIT")
        engine = _autocommit_engines[engine]
    connection = await open_connection(engine.connect())
    try:
        yield connection
    finally:
        # The connection returns to the pool even if the caller is cancelled.
        closing = asyncio.ensure_future(connection.close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait({closing}, timeout=_CLOSE_TIMEOUT)
            raise


async def take_write_lock(connection: AsyncConnection) -> None:
    """Begin a transaction with the write lock of the file, unless one is open; on SQLite only."""
    if not get_driver(connection).in_transaction:
        await fetch(connection, "BEGIN IMMEDIATE")


def get_database_time(connection: AsyncConnection) -> sa.ColumnElement[datetime] | datetime:
    """Return the time of the database as an expression, or the local time on SQLite."""
    if is_postgres(connection):
        return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
    # SQLite is one file on one host, so the local clock is shared by all processes.
    return datetime.now(timezone.utc)


@asynccontextmanager
async def lock_timeout(
    seconds: float, connection: AsyncConnection, operation: str
) -> AsyncIterator[None]:
    """Limit the wait for each lock of a block, since later callers queue behind the waiter.

    On SQLite the ``busy_timeout`` of the engine applies instead.

    Raises:
        ConcurrencyError: another transaction held a lock for longer than ``seconds``.
    """
    if not is_postgres(connection):
        yield
        return
    before = await connection.scalar(_SELECT_LOCK_TIMEOUT)
    await connection.execute(_SET_LOCK_TIMEOUT, {"value": f"{round(1000 * seconds)}ms"})
    try:
        yield
    except sa.exc.DBAPIError as error:
        if sqlstate(error) != _LOCK_NOT_AVAILABLE:
            raise
        raise ConcurrencyError(
            f"cannot {operation}: another transaction has held a lock for longer than {seconds} s; "
            "retry it"
        ) from DriverError.conceal(error)
    await connection.execute(_SET_LOCK_TIMEOUT, {"value": before})


def upsert_statement(
    connection: AsyncConnection | sa.Connection, table: sa.Table
) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT of the dialect, which supports ON CONFLICT."""
    return postgresql.insert(table) if is_postgres(connection) else sqlite.insert(table)


def get_dialect(is_postgres: bool) -> sa.Dialect:
    """Return a dialect for quoting names and encoding values, without a connection."""
    # With the parameters of asyncpg: the default ones would double each % of a name.
    dialect: sa.Dialect = (
        postgresql.dialect(paramstyle="numeric_dollar") if is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]
    )
    return dialect


def quote_table(table: sa.Table, is_postgres: bool) -> str:
    """Return the name of the table with its schema, quoted where necessary."""
    return get_dialect(is_postgres).identifier_preparer.format_table(table)


def adapt_parameters(statement: str, is_postgres: bool) -> str:
    """Replace ``$1``, ``$2`` by ``?1``, ``?2`` on SQLite."""
    if is_postgres:
        return statement
    # Not within a quoted name, or in the middle of another one.
    return re.sub(
        r'"[^"]*"|(?<![\w$])\$(\d+)',
        lambda found: f"?{found[1]}" if found[1] else found[0],
        statement,
    )


def insert_arrays(
    table: str,
    columns: Mapping[str, str],
    returning: str,
    on_conflict: str = "DO NOTHING",
    condition: str = "true",
) -> str:
    """Return an INSERT for PostgreSQL that takes one array per column, by SQL type."""
    names = ", ".join(columns)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), 1))
    values = ", ".join(f"{name}::json" if name in _JSON else name for name in columns)
    conflict = f"ON CONFLICT {on_conflict}" if on_conflict else ""
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) AS given({names}) "
        f"WHERE {condition} {conflict} RETURNING {returning}"
    )


def insert_row(table: str, columns: Mapping[str, str], returning: str, condition: str) -> str:
    """Return an INSERT for PostgreSQL of one row, which is faster than arrays of one value."""
    kinds = (f"{kind}::json" if name in _JSON else kind for name, kind in columns.items())
    values = ", ".join(f"${n}::{kind}" for n, kind in enumerate(kinds, 1))
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} WHERE {condition} "
        f"ON CONFLICT DO NOTHING RETURNING {returning}"
    )


def insert_values(
    table: str, columns: Mapping[str, str], returning: str, rows: int, condition: str = "true"
) -> str:
    """Return an INSERT for SQLite that takes the values of ``rows`` rows."""
    row = f"({', '.join('?' * len(columns))})"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT * FROM (VALUES {', '.join([row] * rows)}) WHERE {condition} "
        f"ON CONFLICT DO NOTHING RETURNING {returning}"
    )


def _read_isolation_level(connection: sa.Connection) -> str:
    """Return the isolation level set on the engine, or else the server's default."""
    level = connection.get_isolation_level()
    connection.connection.rollback()
    return level


def _list_driver_exceptions(connection: AsyncConnection) -> tuple[type[Exception], ...]:
    if is_postgres(connection):
        import asyncpg  # An extra, but no connection exists without it.

        return asyncpg.PostgresError, asyncpg.InterfaceError, OSError
    return connection.dialect.loaded_dbapi.Error, UnicodeEncodeError


async def _to_driver_error(connection: AsyncConnection, error: Exception) -> DriverError:
    is_lost = connection.invalidated
    if is_postgres(connection) and not is_lost and get_driver(connection).is_closed():
        # SQLAlchemy has not seen the error. When it does, it replaces all connections of its pool
        # that are older, since the server has restarted.
        with suppress(sa.exc.SQLAlchemyError):
            await connection.exec_driver_sql("SELECT 1")
        if not connection.invalidated:
            await connection.invalidate(error)
    return DriverError(error)
