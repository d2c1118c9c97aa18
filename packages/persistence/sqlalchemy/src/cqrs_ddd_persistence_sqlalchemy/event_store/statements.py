"""SQL of the event store."""

from __future__ import annotations

from functools import lru_cache, partial

from ..engine import driver
from ..schema.tables import Tables
from .event_rows import COLUMNS, read_columns


class EventStatements:
    """SQL of the event store for one set of tables.

    PostgreSQL takes a list as an array, and inserts any number of rows from one array per column;
    SQLite takes a list as JSON, and rows as values.
    """

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        events = driver.quote_table(tables.events, is_postgres)
        stream = "aggregate_type = $1 AND aggregate_id = $2"
        span, page = "position > $1 AND position <= $2", "ORDER BY position LIMIT"
        read = f"SELECT {read_columns()} FROM {events} WHERE "
        lists = _POSTGRES_LISTS if is_postgres else _SQLITE_LISTS
        adapt = partial(driver.adapt_parameters, is_postgres=is_postgres)
        self.stream = adapt(f"{read} {stream} AND version > $3 ORDER BY version")
        self.by_id = adapt(
            f"{read} aggregate_id = $1 AND version > $2 ORDER BY aggregate_type, version"
        )
        self.streams = adapt(
            f"{read} version > $1 AND (aggregate_type, aggregate_id) IN ({lists['streams']}) "
            "ORDER BY aggregate_type, aggregate_id, version"
        )
        self.types = adapt(f"SELECT DISTINCT aggregate_type FROM {events} WHERE aggregate_id = $1")
        self.after = adapt(f"{read} {span} {page} $3")
        self.of_types = adapt(f"{read} {span} AND event_type IN ({lists['types']}) {page} $4")
        self.between = adapt(f"{read} {span} AND occurred_at >= $3 AND occurred_at < $4 {page} $5")
        self.latest = adapt(f"SELECT coalesce(max(position), 0) FROM {events} WHERE position <= $1")
        self.last_version = adapt(
            f"SELECT coalesce((SELECT version FROM {events} WHERE {stream} "
            "ORDER BY version DESC LIMIT 1), 0)"
        )
        self.places = adapt(
            f"SELECT version, position FROM {events} WHERE {stream} AND version >= $3"
        )
        self.insert_arrays = driver.insert_arrays(events, COLUMNS, "position")
        self.insert_arrays_or_fail = driver.insert_arrays(events, COLUMNS, "position", "")
        self._events = events
        if is_postgres:
            quote = driver.get_dialect(is_postgres).identifier_preparer.quote
            schema = "" if tables.schema is None else f"{quote(tables.schema)}."
            self.safe_position = f"SELECT {schema}{quote(f'{tables.prefix}safe_position')}()"

    def insert_values(self, rows: int) -> str:
        """Return an INSERT for SQLite that takes the values of ``rows`` rows."""
        return driver.insert_values(self._events, COLUMNS, "position", rows)


_POSTGRES_LISTS = {
    "streams": "SELECT * FROM unnest($2::text[], $3::text[])",
    "types": "SELECT unnest($3::text[])",
}
_SQLITE_LISTS = {
    "streams": "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each($2)",
    "types": "SELECT value FROM json_each($3)",
}


@lru_cache(maxsize=64)
def event_statements(tables: Tables, is_postgres: bool) -> EventStatements:
    """Return the statements, built once per set of tables and database."""
    return EventStatements(tables, is_postgres)
