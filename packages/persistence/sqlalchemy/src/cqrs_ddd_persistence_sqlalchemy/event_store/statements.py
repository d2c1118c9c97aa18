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
        stream = "tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3"
        # NULL reads the events of all tenants.
        visible = "(CAST($3 AS text) IS NULL OR tenant_id = $3)"
        span, page = f"position > $1 AND position <= $2 AND {visible}", "ORDER BY position LIMIT"
        read = f"SELECT {read_columns()} FROM {events} WHERE "
        lists = _POSTGRES_LISTS if is_postgres else _SQLITE_LISTS
        adapt = partial(driver.adapt_parameters, is_postgres=is_postgres)
        part = f"{read} {stream} AND version > $4 AND version <= $5 ORDER BY version"
        self.stream = adapt(f"{part} LIMIT $6")
        self.latest_of_stream = adapt(f"{part} DESC LIMIT $6")
        self.by_id = adapt(
            f"{read} tenant_id = $1 AND aggregate_id = $2 ORDER BY aggregate_type, version"
        )
        self.streams = adapt(
            f"{read} tenant_id = $1 AND version > $2 "
            f"AND (aggregate_type, aggregate_id) IN ({lists['streams']}) "
            "ORDER BY aggregate_type, aggregate_id, version"
        )
        self.types = adapt(
            f"SELECT DISTINCT aggregate_type FROM {events} "
            "WHERE tenant_id = $1 AND aggregate_id = $2"
        )
        self.after = adapt(f"{read} {span} {page} $4")
        self.of_types = adapt(f"{read} {span} AND event_type IN ({lists['types']}) {page} $5")
        self.between = adapt(f"{read} {span} AND occurred_at >= $4 AND occurred_at < $5 {page} $6")
        self.latest = adapt(f"SELECT coalesce(max(position), 0) FROM {events} WHERE position <= $1")
        self.last_version = adapt(
            f"SELECT coalesce((SELECT version FROM {events} WHERE {stream} "
            "ORDER BY version DESC LIMIT 1), 0)"
        )
        self.places = adapt(
            f"SELECT version, position FROM {events} WHERE {stream} AND version >= $4"
        )

        def build_later(tenant: str, kind: str, id_: str, version: str) -> str:
            # LIMIT makes PostgreSQL use the index, whatever number of rows it expects.
            return (
                f"EXISTS (SELECT 1 FROM {events} WHERE tenant_id = {tenant} AND aggregate_type = "
                f"{kind} AND aggregate_id = {id_} AND version >= {version} LIMIT 1)"
            )

        later = build_later("first.tenant", "first.kind", "first.id", "first.version")
        are_new = f"NOT EXISTS (SELECT 1 FROM {lists['firsts']} WHERE {later})"
        is_new = f"NOT {build_later('$13', '$14', '$15', '$16')}"
        insert = partial(driver.insert_arrays, events, COLUMNS, "position")
        self.insert_streams = insert(condition=are_new)
        self.insert_streams_or_fail = insert(condition=are_new, on_conflict="")
        self.insert_stream = insert(condition=is_new)
        self.insert_stream_or_fail = insert(condition=is_new, on_conflict="")
        place = (f"${1 + list(COLUMNS).index(name)}" for name in _PLACE)
        self.insert_event = driver.insert_row(
            events, COLUMNS, "position", condition=f"NOT {build_later(*place)}"
        )
        self._are_new = are_new
        self._events = events
        if is_postgres:
            quote = driver.get_dialect(is_postgres).identifier_preparer.quote
            schema = "" if tables.schema is None else f"{quote(tables.schema)}."
            self.safe_position = f"SELECT {schema}{quote(f'{tables.prefix}safe_position')}()"

    def insert_values(self, rows: int) -> str:
        """Return an INSERT for SQLite that takes the values of ``rows`` rows."""
        return driver.insert_values(self._events, COLUMNS, "position", rows, self._are_new)


_PLACE = ("tenant_id", "aggregate_type", "aggregate_id", "version")
_POSTGRES_LISTS = {
    "streams": "SELECT * FROM unnest($3::text[], $4::text[])",
    "types": "SELECT unnest($4::text[])",
    "firsts": "unnest($13::text[], $14::text[], $15::text[], $16::bigint[]) "
    "AS first(tenant, kind, id, version)",
}
_SQLITE_LISTS = {
    "streams": "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each($3)",
    "types": "SELECT value FROM json_each($4)",
    "firsts": "(SELECT json_extract(value, '$[0]') AS tenant, json_extract(value, '$[1]') AS kind, "
    "json_extract(value, '$[2]') AS id, json_extract(value, '$[3]') AS version "
    "FROM json_each(?)) AS first",
}


@lru_cache(maxsize=64)
def event_statements(tables: Tables, is_postgres: bool) -> EventStatements:
    """Return the statements, built once per set of tables and database."""
    return EventStatements(tables, is_postgres)
