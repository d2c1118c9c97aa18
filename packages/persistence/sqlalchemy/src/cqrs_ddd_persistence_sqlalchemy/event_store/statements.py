"""The SQL of the event store."""

from __future__ import annotations

import re
from functools import lru_cache

from sqlalchemy.dialects import postgresql, sqlite

from ..schema.tables import Tables
from .event_rows import COLUMNS, read_columns


class EventStatements:
    """For one set of tables.

    PostgreSQL takes a list as an array, and one array a column inserts any number of rows; SQLite
    takes a list as JSON, and rows as values.
    """

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        dialect = postgresql.dialect() if is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]
        quote = dialect.identifier_preparer
        events, names = quote.format_table(tables.events), ", ".join(COLUMNS)
        stream = "aggregate_type = $1 AND aggregate_id = $2"
        span, page = "position > $1 AND position <= $2", "ORDER BY position LIMIT"
        read = f"SELECT {read_columns()} FROM {events} WHERE "
        lists = _POSTGRES_LISTS if is_postgres else _SQLITE_LISTS

        def numbered(statement: str) -> str:
            # Each number comes once and in its order.
            return statement if is_postgres else re.sub(r"\$\d", "?", statement)

        self.stream = numbered(f"{read} {stream} AND version > $3 ORDER BY version")
        self.by_id = numbered(
            f"{read} aggregate_id = $1 AND version > $2 ORDER BY aggregate_type, version"
        )
        self.streams = numbered(
            f"{read} version > $1 AND (aggregate_type, aggregate_id) IN ({lists['streams']}) "
            "ORDER BY aggregate_type, aggregate_id, version"
        )
        self.types = numbered(
            f"SELECT DISTINCT aggregate_type FROM {events} WHERE aggregate_id = $1"
        )
        self.after = numbered(f"{read} {span} {page} $3")
        self.of_types = numbered(f"{read} {span} AND event_type IN ({lists['types']}) {page} $4")
        self.between = numbered(
            f"{read} {span} AND occurred_at >= $3 AND occurred_at < $4 {page} $5"
        )
        self.latest = numbered(
            f"SELECT coalesce(max(position), 0) FROM {events} WHERE position <= $1"
        )
        self.last_version = numbered(
            f"SELECT coalesce((SELECT version FROM {events} WHERE {stream} "
            "ORDER BY version DESC LIMIT 1), 0)"
        )
        self.places = numbered(
            f"SELECT version, position FROM {events} WHERE {stream} AND version >= $3"
        )
        self._insert = f"INSERT INTO {events} ({names}) "
        if is_postgres:
            schema = "" if tables.schema is None else f"{quote.quote(tables.schema)}."
            self.safe_position = f"SELECT {schema}{quote.quote(f'{tables.prefix}safe_position')}()"

        self.insert_arrays = self._insert_arrays("ON CONFLICT DO NOTHING")
        self.insert_arrays_or_fail = self._insert_arrays("")

    def _insert_arrays(self, on_conflict: str) -> str:
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(COLUMNS.values(), 1))
        columns = ", ".join(f"{c}::json" if c in ("payload", "metadata") else c for c in COLUMNS)
        return (
            f"{self._insert} SELECT {columns} FROM unnest({arrays}) AS given({', '.join(COLUMNS)}) "
            f"{on_conflict} RETURNING position"
        )

    def insert_values(self, rows: int) -> str:
        row = f"({', '.join('?' * len(COLUMNS))})"
        return (
            f"{self._insert} VALUES {', '.join([row] * rows)} "
            "ON CONFLICT DO NOTHING RETURNING position"
        )


_POSTGRES_LISTS = {
    "streams": "SELECT * FROM unnest($2::text[], $3::text[])",
    "types": "SELECT unnest($3::text[])",
}
_SQLITE_LISTS = {
    "streams": "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each($2)",
    "types": "SELECT value FROM json_each($3)",
}


@lru_cache(maxsize=64)
def statements(tables: Tables, is_postgres: bool) -> EventStatements:
    return EventStatements(tables, is_postgres)
