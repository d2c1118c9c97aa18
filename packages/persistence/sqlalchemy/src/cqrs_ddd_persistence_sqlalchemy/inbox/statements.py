"""The SQL of the inbox."""

from __future__ import annotations

from functools import lru_cache, partial

from ..engine import sql_text
from ..schema.tables import Tables


class InboxStatements:
    """Statements for one set of tables; the time is a datetime on PostgreSQL, else a text."""

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        inbox = sql_text.quote_table(tables.inbox, is_postgres)
        outcome = "CAST($1 AS json)" if is_postgres else "$1"
        adapt = partial(sql_text.adapt_parameters, is_postgres=is_postgres)
        self.register = adapt(
            f"INSERT INTO {inbox} (consumer, message_id, fingerprint, registered_at) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1"
        )
        self.known = adapt(
            f"SELECT fingerprint, CAST(outcome AS text) FROM {inbox} "
            "WHERE consumer = $1 AND message_id = $2"
        )
        self.store_outcome = adapt(
            f"UPDATE {inbox} SET outcome = {outcome} "
            "WHERE consumer = $2 AND message_id = $3 RETURNING 1"
        )


@lru_cache(maxsize=64)
def inbox_statements(tables: Tables, is_postgres: bool) -> InboxStatements:
    return InboxStatements(tables, is_postgres)
