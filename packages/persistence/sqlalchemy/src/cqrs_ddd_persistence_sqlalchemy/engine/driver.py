"""Statements straight to the driver, and the errors of drivers in our words.

What is left out is SQLAlchemy's compiler, cursor and result, which cost more than the statement.
The driver commits by itself what comes before a BEGIN: see ADR 8.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import Insert as SQLiteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm.exc import StaleDataError

from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    ConfigError,
    CQRSDDDError,
    InfrastructureError,
    OptimisticConcurrencyError,
    PersistenceError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONFLICTS = {"40001": "serialization failure", "40P01": "deadlock"}
_MISSING = ("42P01", "42883", "3F000")
"""A table, a function, a schema."""

_isolation_levels: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()
_autocommitting: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


class DriverError(Exception):
    """What a driver raised, as ``orig``; ``translated`` turns it into an error of ours."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(str(orig))
        self.orig = orig


def is_postgres(bind: AsyncEngine | AsyncConnection | Connection) -> bool:
    return bind.dialect.name == "postgresql"


async def fetch(connection: AsyncConnection, statement: str, *values: Any) -> Sequence[Any]:
    """The rows of a statement whose parameters are ``$1``, ``$2``, on SQLite ``?``."""
    driver = driver_of(connection)
    try:
        if is_postgres(connection):
            rows: Sequence[Any] = await driver.fetch(statement, *values)
            return rows
        # One hop to the thread of the connection; a cursor would take four.
        return list(await driver.execute_fetchall(statement, values))
    except _errors(connection) as error:
        raise await _noticed(connection, error) from error


async def execute_many(
    connection: AsyncConnection, statement: str, rows: Sequence[Sequence[Any]]
) -> None:
    """On SQLite, where one statement takes all rows in one hop to the thread."""
    try:
        await (await driver_of(connection).executemany(statement, rows)).close()
    except _errors(connection) as error:
        raise DriverError(error) from error


async def execute(connection: AsyncConnection, statement: str) -> str:
    """What PostgreSQL answers to the statement, such as ``COMMIT``."""
    try:
        status: str = await driver_of(connection).execute(statement)
        return status
    except _errors(connection) as error:
        raise await _noticed(connection, error) from error


async def begin(connection: AsyncConnection) -> None:
    """Begin a transaction that ``commit`` ends."""
    if not is_postgres(connection):
        refuse_autocommit(connection)
        return  # The sqlite3 module says BEGIN before the first change.
    engine = connection.engine.sync_engine
    if engine not in _isolation_levels:
        _isolation_levels[engine] = await connection.run_sync(_isolation_level)
    options = (
        connection.sync_connection.get_execution_options() if connection.sync_connection else {}
    )
    modes = [f"ISOLATION LEVEL {_isolation_levels[engine]}"]
    modes += ["READ ONLY"] if options.get("postgresql_readonly") else []
    modes += ["DEFERRABLE"] if options.get("postgresql_deferrable") else []
    await execute(connection, f"BEGIN {', '.join(modes)}")


async def commit(connection: AsyncConnection) -> None:
    """Raises ``PersistenceError`` where PostgreSQL has rolled back instead."""
    if not is_postgres(connection):
        if connection.in_transaction():  # SQLAlchemy has joined, and is to know of the end.
            await connection.commit()
        else:
            await driver_of(connection).commit()
    elif (status := await execute(connection, "COMMIT")) != "COMMIT":
        raise PersistenceError(
            f"cannot commit: PostgreSQL answered {status}, so a statement has failed before "
            "and its error was caught; let such an error end the unit of work, or use a "
            "savepoint of the session"
        )


async def rollback(connection: AsyncConnection) -> None:
    """Also on SQLite, where not every pool rolls back what is given back to it."""
    if is_postgres(connection):
        await execute(connection, "ROLLBACK")
        return
    try:
        await driver_of(connection).rollback()
    except _errors(connection) as error:
        raise DriverError(error) from error


def refuse_autocommit(connection: AsyncConnection) -> None:
    """Raises ``ConfigError`` unless a transaction is open, or will be with the first change."""
    driver = driver_of(connection)
    if is_postgres(connection):
        holds: bool = driver.is_in_transaction()
    else:
        holds = driver.isolation_level == "IMMEDIATE"
    if not holds:
        raise ConfigError(
            "the engine is in AUTOCOMMIT mode, so nothing could be rolled back; make it without"
        )


def share_transaction(connection: AsyncConnection) -> None:
    """Its statements become part of the transaction that we began.

    This changes what SQLAlchemy says to its adapter, and says nothing to the database. To be done
    before its first statement.
    """
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    if is_postgres(connection):
        sync_connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        sync_connection.begin()


def driver_of(connection: AsyncConnection) -> Any:
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    return sync_connection.connection.driver_connection


def is_connection_lost(error: BaseException) -> bool:
    """Whether the error says that no answer came, and nothing of what the database has done."""
    if isinstance(error, (asyncio.TimeoutError, OSError)):
        return True
    if not isinstance(error, (DriverError, DBAPIError)) or isinstance(error.orig, sqlite3.Error):
        return False
    # 08: the connection; 57P: the server was stopped.
    code = sqlstate(error)
    return code is None or code.startswith(("08", "57P"))


def _isolation_level(connection: Connection) -> str:
    """What the engine was made with, or else the server's default."""
    level = connection.get_isolation_level()
    connection.connection.rollback()
    return level


def _errors(connection: AsyncConnection) -> tuple[type[Exception], ...]:
    if is_postgres(connection):
        import asyncpg  # An extra; whoever has a connection has it.

        return asyncpg.PostgresError, asyncpg.InterfaceError
    return connection.dialect.loaded_dbapi.Error, UnicodeEncodeError


async def _noticed(connection: AsyncConnection, error: Exception) -> DriverError:
    if is_postgres(connection) and driver_of(connection).is_closed():
        # SQLAlchemy has not seen the error, and would hand the dead connection out again.
        await connection.invalidate(error)
    return DriverError(error)


@asynccontextmanager
async def autocommitting(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for statements that each see what is committed, without BEGIN and COMMIT."""
    if is_postgres(engine):
        if engine not in _autocommitting:
            _autocommitting[engine] = engine.execution_options(isolation_level="AUTOCOMMIT")
        engine = _autocommitting[engine]
    async with engine.connect() as connection:
        yield connection


@contextmanager
def translate_errors(kind: type[InfrastructureError], operation: str) -> Iterator[None]:
    """Errors of the driver and of SQLAlchemy become ours; ``operation`` says what failed."""
    try:
        yield
    except (SQLAlchemyError, DriverError, OSError, sqlite3.Error, UnicodeEncodeError) as error:
        raise _ours(kind, operation, error) from error
    except Exception as error:
        # SQLAlchemy 2.0 lets through what fails before a statement of its own, such as connecting.
        if not type(error).__module__.startswith("asyncpg."):
            raise
        raise _ours(kind, operation, error) from error


def _ours(kind: type[InfrastructureError], operation: str, error: Exception) -> CQRSDDDError:
    code, text = sqlstate(error), (str(error).strip() or repr(error)).splitlines()[0]
    if isinstance(error, StaleDataError):
        return OptimisticConcurrencyError(f"cannot {operation}: {text}; reload it and retry")
    if code in _CONFLICTS:
        return ConcurrencyError(f"cannot {operation}: {_CONFLICTS[code]} ({text}); retry it")
    advice = ""
    if code in _MISSING or "no such table" in text:
        advice = "; what is the toolkit's is made by create_schema(engine)"
    elif "database is locked" in text:
        advice = "; another writer has it, see busy_timeout of configure_sqlite"
    return kind(f"cannot {operation}: {text}{advice}")


def sqlstate(error: BaseException) -> str | None:
    """The code that PostgreSQL gave; None where no answer came, and for SQLite."""
    code = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return code if isinstance(code, str) else None


def upsert_statement(
    connection: AsyncConnection | Connection, table: Table
) -> PostgresInsert | SQLiteInsert:
    """An insert that knows ON CONFLICT."""
    return postgres_insert(table) if is_postgres(connection) else sqlite_insert(table)
