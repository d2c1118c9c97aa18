"""Translation of errors of drivers and of SQLAlchemy into errors of the toolkit."""

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
_READ_ONLY_TRANSACTION = "25006"
_CONFLICTS = {"40001": "serialization failure", "40P01": "deadlock"}
_MISSING = ("42P01", "42883", "3F000")
"""Codes for a missing table, function and schema."""
_STATEMENT_NAMES = ("26000", "42P05")
"""Codes for a prepared statement that is missing, or that another client has prepared."""
_RULES = {
    "23502": "a required value is missing",
    "23503": "a row that another one refers to is missing or still in use",
    UNIQUE_VIOLATION: "another row has the same values",
    "23514": "a value does not satisfy a CHECK",
    "23P01": "another row conflicts with the values",
}
"""Rules of constraints by the error code of PostgreSQL."""
_SQLITE_CODES = {
    "UNIQUE": UNIQUE_VIOLATION,
    "NOT NULL": "23502",
    "FOREIGN KEY": "23503",
    "CHECK": "23514",
}
_SQLITE_CONSTRAINT = re.compile(r"(UNIQUE|NOT NULL|FOREIGN KEY|CHECK) constraint failed(?:: (.+))?")
"""Text of SQLite, which is the same in every language."""
_SQLITE_HARMLESS = re.compile(
    r"(no such |database |disk I/O|attempt to write a readonly|unable to open|too many |file is "
    r"|table |there is already|cannot (?:start|commit|rollback)|not authorized|out of memory"
    r"|Cannot operate on a closed)"
)
_HARMLESS = ("08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
"""Classes of codes whose texts hold names of the schema and no values."""
_SYNTAX_ERROR = "42601"
"""Its text repeats a part of the statement."""
_INVALID_DATA = "22"
"""Class of the codes for values that a column or an expression cannot have."""


class DriverError(exceptions.ConcealedError):
    """Error of a driver without its text, which may repeat the values of a row.

    Attributes:
        orig: the error of the driver.
    """

    def __init__(self, orig: BaseException) -> None:
        super().__init__(orig)
        self.args = (_describe(orig),)

    @classmethod
    def conceal(cls, error: BaseException) -> DriverError:
        """Return the error itself, or a ``DriverError`` for an error of SQLAlchemy."""
        return error if isinstance(error, cls) else cls(getattr(error, "orig", None) or error)


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's error code; None on SQLite, and if the server did not reply."""
    code = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return code if isinstance(code, str) else None


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the server did not reply, so that the outcome is unknown."""
    if isinstance(error, (asyncio.TimeoutError, OSError)):
        return True
    if not isinstance(error, (DriverError, sa.exc.DBAPIError)):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return False
    # Class 08 is a lost connection; 57P a server that shuts down.
    code = sqlstate(error)
    return code is None or code.startswith(("08", "57P"))


def is_write_rejected(error: BaseException) -> bool:
    """Return whether the database rejected a change because it, or the transaction, only reads."""
    if sqlstate(error) == _READ_ONLY_TRANSACTION:
        return True
    orig = getattr(error, "orig", None) or error
    return isinstance(orig, sqlite3.OperationalError) and "readonly database" in str(orig)


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
    """Raise the toolkit's error for an error of the driver or of SQLAlchemy.

    Return if the error comes from neither, so that the caller can raise it again.

    Args:
        error: the error to translate.
        kind: class of the new error, if no more specific class applies.
        operation: the work that failed, for the message: ``cannot {operation}: ...``.
    """
    if isinstance(error, sa.exc.StatementError) and isinstance(error.orig, exceptions.CQRSDDDError):
        raise error.orig from None  # A column type rejected the value.
    database = (sa.exc.SQLAlchemyError, DriverError, OSError, sqlite3.Error, UnicodeEncodeError)
    # SQLAlchemy 2.0 does not wrap errors before its first statement, such as when connecting.
    if isinstance(error, database) or type(error).__module__.startswith("asyncpg."):
        raise _to_toolkit_error(error, kind, operation) from DriverError.conceal(error)
    if isinstance(error, OverflowError) and "SQLite" in str(error):
        raise exceptions.InvalidDataError(
            f"cannot {operation}: SQLite stores integers of at most 64 bits; check it before"
        ) from DriverError.conceal(error)


def _to_toolkit_error(
    error: Exception, kind: type[exceptions.InfrastructureError], operation: str
) -> exceptions.CQRSDDDError:
    code, text = sqlstate(error), _describe(error)
    if isinstance(error, sa.exc.PendingRollbackError):
        return exceptions.InvalidOperationError(
            f"cannot {operation}: the unit of work can only be rolled back, since a statement was "
            "cancelled or its connection was lost; start a new one"
        )
    if isinstance(error, StaleDataError):
        return exceptions.OptimisticConcurrencyError(
            f"cannot {operation}: {text}; reload it and retry the command"
        )
    if code in _CONFLICTS:
        return exceptions.ConcurrencyError(
            f"cannot {operation}: {_CONFLICTS[code]} ({text}); retry it"
        )
    if (violated := _find_violation(error)) is not None:
        return _build_violation(operation, *violated)
    if code is not None and code.startswith(_INVALID_DATA):
        # The server repeats the value, which may be personal, in its text.
        return exceptions.InvalidDataError(
            f"cannot {operation}: the database cannot store or compare a value (SQLSTATE {code}); "
            "check it before, or widen the column"
        )
    advice = ""
    if code in _MISSING or "no such table" in text:
        advice = "; run create_schema(engine), or your migrations, to create the missing tables"
    elif code in _STATEMENT_NAMES:
        advice = (
            "; behind PgBouncer create the engine with connect_args for statement_cache_size=0, "
            "prepared_statement_cache_size=0 and prepared_statement_name_func=lambda: ''"
        )
    elif isinstance(error, sa.exc.TimeoutError):
        advice = "; all connections of the pool are in use, so end units of work earlier"
    elif "database is locked" in text:
        advice = "; another writer has locked it: raise busy_timeout of configure_sqlite"
    return kind(f"cannot {operation}: {text}{advice}")


def _describe(error: BaseException) -> str:
    """Return the text of the server if it holds names only, else the class and the codes."""
    if isinstance(error, DriverError) and error.args:
        return str(error)
    orig, code = getattr(error, "orig", None) or error, sqlstate(error)
    first = (str(orig).strip() or "no text").splitlines()[0]
    if isinstance(orig, sqlite3.Error):
        is_harmless = _SQLITE_HARMLESS.match(first) is not None
    elif isinstance(orig, OSError):
        is_harmless = True
    elif code is not None:
        is_harmless = code.startswith(_HARMLESS) and code != _SYNTAX_ERROR
    else:
        # A StatementError of SQLAlchemy repeats parameters, a DataError of asyncpg an argument.
        is_harmless = not isinstance(orig, (sa.exc.StatementError, ValueError)) and (
            isinstance(orig, sa.exc.SQLAlchemyError) or type(orig).__name__ == "InterfaceError"
        )
    if not is_harmless:
        return exceptions.describe_error(error)
    return first if code is None else f"{first} (SQLSTATE {code})"


def _find_violation(error: Exception) -> tuple[str, str] | None:
    """Return the SQLSTATE and the name of the violated constraint, or None for other errors.

    SQLite names the columns instead of the constraint, or a partial index.
    """
    orig = getattr(error, "orig", None) or error
    if isinstance(orig, sqlite3.IntegrityError):
        found = _SQLITE_CONSTRAINT.search(str(orig))
        return None if found is None else (_SQLITE_CODES[found[1]], found[2] or found[1])
    code = sqlstate(error)
    if code is None or not code.startswith("23"):
        return None
    # SQLAlchemy raises an error of its own from that of asyncpg.
    facts = orig if hasattr(orig, "constraint_name") else orig.__cause__
    name = getattr(facts, "constraint_name", None) or getattr(facts, "column_name", None)
    return code, str(name or "")


def _build_violation(
    operation: str, code: str, constraint: str
) -> exceptions.ConstraintViolationError:
    is_duplicate = code == UNIQUE_VIOLATION
    kind = exceptions.DuplicateKeyError if is_duplicate else exceptions.ConstraintViolationError
    rule = _RULES.get(code, f"a constraint is violated (SQLSTATE {code})")
    return kind(
        f"cannot {operation}: {rule} for {constraint or 'a constraint'}; choose other values",
        constraint=constraint,
    )
