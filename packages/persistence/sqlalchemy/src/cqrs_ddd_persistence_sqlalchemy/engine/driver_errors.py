"""Errors of drivers and of SQLAlchemy, translated into errors of the toolkit."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm.exc import StaleDataError

from cqrs_ddd_core.primitives import exceptions

# https://www.postgresql.org/docs/current/errcodes-appendix.html
UNIQUE_VIOLATION = "23505"
_CONFLICTS = {"40001": "serialization failure", "40P01": "deadlock"}
_MISSING = ("42P01", "42883", "3F000")
"""A table, a function, a schema."""
_POSTGRES_UNIQUE = re.compile(r'unique constraint "(.+?)"')
_SQLITE_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")


class DriverError(Exception):
    """Error of a driver, kept as ``orig``, until ``translate_errors`` translates it."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(str(orig))
        self.orig = orig


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of the error; None on SQLite and if the server did not answer."""
    code = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return code if isinstance(code, str) else None


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the server did not answer, so that its work may or may not be done."""
    if isinstance(error, (asyncio.TimeoutError, OSError)):
        return True
    if not isinstance(error, (DriverError, sa.exc.DBAPIError)):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return False
    # 08: the connection; 57P: the server was stopped.
    code = sqlstate(error)
    return code is None or code.startswith(("08", "57P"))


@contextmanager
def translate_errors(kind: type[exceptions.InfrastructureError], operation: str) -> Iterator[None]:
    """Translate the errors of a block; see ``raise_translated``."""
    try:
        yield
    except Exception as error:
        raise_translated(error, kind, operation)
        raise


def raise_translated(
    error: Exception, kind: type[exceptions.InfrastructureError], operation: str
) -> None:
    """Raise the error of the toolkit for an error of the driver or of SQLAlchemy.

    Return if the error comes from neither, so that the caller can raise it again.

    Args:
        kind: class of the error if there is no more exact one.
        operation: the work that failed, for the message: ``cannot {operation}: ...``.
    """
    if isinstance(error, sa.exc.StatementError) and isinstance(error.orig, exceptions.CQRSDDDError):
        raise error.orig from None  # The type of a column rejected the value.
    database = (sa.exc.SQLAlchemyError, DriverError, OSError, sqlite3.Error, UnicodeEncodeError)
    # SQLAlchemy 2.0 does not wrap errors before its first statement, such as when connecting.
    if isinstance(error, database) or type(error).__module__.startswith("asyncpg."):
        raise _to_toolkit_error(error, kind, operation) from error
    if isinstance(error, OverflowError) and "SQLite" in str(error):
        raise kind(f"cannot {operation}: {error}; a whole number has 64 bits at most") from error


def _to_toolkit_error(
    error: Exception, kind: type[exceptions.InfrastructureError], operation: str
) -> exceptions.CQRSDDDError:
    code, text = sqlstate(error), (str(error).strip() or repr(error)).splitlines()[0]
    if isinstance(error, StaleDataError):
        return exceptions.OptimisticConcurrencyError(
            f"cannot {operation}: {text}; reload it and retry"
        )
    if code in _CONFLICTS:
        return exceptions.ConcurrencyError(
            f"cannot {operation}: {_CONFLICTS[code]} ({text}); retry it"
        )
    if isinstance(error, sa.exc.IntegrityError) and (constraint := _find_unique_constraint(error)):
        return exceptions.DuplicateKeyError(
            f"cannot {operation}: another row has the same values for {constraint}; choose others",
            constraint=constraint,
        )
    advice = ""
    if code in _MISSING or "no such table" in text:
        advice = "; run create_schema(engine), or your migrations, to create the toolkit's tables"
    elif "database is locked" in text:
        advice = "; another writer has locked it, see busy_timeout of configure_sqlite"
    return kind(f"cannot {operation}: {text}{advice}")


def _find_unique_constraint(error: sa.exc.IntegrityError) -> str | None:
    """Return its name on PostgreSQL, its columns (or a partial index's name) on SQLite."""
    pattern = _POSTGRES_UNIQUE if sqlstate(error) == UNIQUE_VIOLATION else _SQLITE_UNIQUE
    found = pattern.search(str(error.orig))
    return found.group(1) if found else None
