"""Text of SQL for statements that go straight to the driver."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def get_dialect(is_postgres: bool) -> sa.Dialect:
    dialect: sa.Dialect = postgresql.dialect() if is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]
    return dialect


def quote_table(table: sa.Table, is_postgres: bool) -> str:
    return get_dialect(is_postgres).identifier_preparer.format_table(table)


def adapt_parameters(statement: str, is_postgres: bool) -> str:
    """Replace ``$1``, ``$2`` by ``?`` on SQLite; each number occurs once and in its order."""
    return statement if is_postgres else re.sub(r"\$\d", "?", statement)


def insert_arrays(
    table: str, columns: Mapping[str, str], returning: str, on_conflict: str = "DO NOTHING"
) -> str:
    """Return an INSERT for PostgreSQL that takes an array for each column, by its SQL type."""
    names = ", ".join(columns)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), 1))
    values = ", ".join(f"{c}::json" if c in ("payload", "metadata") else c for c in columns)
    conflict = f"ON CONFLICT {on_conflict}" if on_conflict else ""
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) AS given({names}) "
        f"{conflict} RETURNING {returning}"
    )


def insert_values(table: str, columns: Mapping[str, str], returning: str, rows: int) -> str:
    """Return an INSERT for SQLite that takes the values of so many rows."""
    row = f"({', '.join('?' * len(columns))})"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} "
        f"ON CONFLICT DO NOTHING RETURNING {returning}"
    )
