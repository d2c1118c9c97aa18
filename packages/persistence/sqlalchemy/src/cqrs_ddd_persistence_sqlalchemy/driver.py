"""Statements straight to the driver, and the errors of drivers in our words.

The cursor of PEP 249 belongs to SQLAlchemy's connection, so its transaction has begun before the
statement; the driver's own connection would commit by itself. What is left out is the compiler
and the result object, which cost more than the statement: see ADR 8.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import Insert as SQLiteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm.exc import StaleDataError

from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    CQRSDDDError,
    InfrastructureError,
    OptimisticConcurrencyError,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONFLICTS = {"40001": "serialization failure", "40P01": "deadlock"}
_MISSING = ("42P01", "42883", "3F000")
"""A table, a function, a schema."""

_autocommitting: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


class DriverError(Exception):
    """What a driver raised, as ``orig``; ``translated`` turns it into an error of ours."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(str(orig))
        self.orig = orig


def is_postgres(bind: AsyncEngine | AsyncConnection | Connection) -> bool:
    return bind.dialect.name == "postgresql"


async def fetch(connection: AsyncConnection, statement: str, *values: Any) -> Sequence[Any]:
    """The rows of a statement whose parameters are numbered, ``$1`` or ``?1``."""
    try:
        if is_postgres(connection):
            rows: Sequence[Any] = await connection.run_sync(_fetch, statement, values)
            return rows
        # One hop to the thread of the connection; the cursor of PEP 249 would take four.
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        return list(await driver.execute_fetchall(statement, values))
    except connection.dialect.loaded_dbapi.Error as error:
        if is_postgres(connection):
            driver = (await connection.get_raw_connection()).driver_connection
            if driver is None or driver.is_closed():
                # SQLAlchemy has not seen the error, and would hand the dead connection out again.
                await connection.invalidate(error)
        raise DriverError(error) from error


def _fetch(connection: Connection, statement: str, values: Sequence[Any]) -> Sequence[Any]:
    cursor = connection.connection.cursor()
    cursor.execute(statement, values)
    return cursor.fetchall() if cursor.description else ()


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
def translated(kind: type[InfrastructureError], doing: str) -> Iterator[None]:
    """Errors of the driver and of SQLAlchemy become ours; ``doing`` says what failed."""
    try:
        yield
    except (SQLAlchemyError, DriverError, OSError) as error:
        raise _ours(kind, doing, error) from error


def _ours(kind: type[InfrastructureError], doing: str, error: Exception) -> CQRSDDDError:
    code, text = sqlstate(error), (str(error).strip() or repr(error)).splitlines()[0]
    if isinstance(error, StaleDataError):
        return OptimisticConcurrencyError(f"cannot {doing}: {text}; load it again and decide anew")
    if code in _CONFLICTS:
        return ConcurrencyError(f"cannot {doing}: {_CONFLICTS[code]} ({text}); decide anew")
    advice = ""
    if code in _MISSING or "no such table" in text:
        advice = "; what is the toolkit's is made by create_schema(engine)"
    elif "database is locked" in text:
        advice = "; another writer has it, see busy_timeout of configure_sqlite"
    return kind(f"cannot {doing}: {text}{advice}")


def sqlstate(error: BaseException) -> str | None:
    """The code that PostgreSQL gave; None where no answer came, and for SQLite."""
    code = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return code if isinstance(code, str) else None


def inserting(
    connection: AsyncConnection | Connection, table: Table
) -> PostgresInsert | SQLiteInsert:
    """An insert that knows ON CONFLICT."""
    return postgres_insert(table) if is_postgres(connection) else sqlite_insert(table)
