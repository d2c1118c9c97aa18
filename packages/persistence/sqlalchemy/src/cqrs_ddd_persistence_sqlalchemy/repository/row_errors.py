"""Errors of statements on the rows of a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError, StatementError

from cqrs_ddd_core.primitives.exceptions import CQRSDDDError, DuplicateKeyError, PersistenceError

from ..engine.driver import sqlstate, translate_errors

_UNIQUE_VIOLATION = "23505"
_ON_POSTGRES = re.compile(r'unique constraint "(.+?)"')
_ON_SQLITE = re.compile(r"UNIQUE constraint failed: (.+)")


@contextmanager
def translate_row_errors(operation: str) -> Iterator[None]:
    """As ``translate_errors``; a second row with a unique value is a ``DuplicateKeyError``."""
    with translate_errors(PersistenceError, operation):
        try:
            yield
        except IntegrityError as error:
            constraint = _unique_constraint_of(error)
            if constraint is None:
                raise
            raise DuplicateKeyError(
                f"cannot {operation}: another row has the same values for {constraint}; "
                "choose others",
                constraint=constraint,
            ) from error
        except StatementError as error:
            if isinstance(error.orig, CQRSDDDError):  # A type of a column refused a value.
                raise error.orig from None
            raise
        except OverflowError as error:
            raise PersistenceError(
                f"cannot {operation}: {error}; a whole number has 64 bits at most"
            ) from error


def _unique_constraint_of(error: IntegrityError) -> str | None:
    """The name on PostgreSQL, the columns (or the name of a partial index) on SQLite."""
    pattern = _ON_POSTGRES if sqlstate(error) == _UNIQUE_VIOLATION else _ON_SQLITE
    found = pattern.search(str(error.orig))
    return found.group(1) if found else None
