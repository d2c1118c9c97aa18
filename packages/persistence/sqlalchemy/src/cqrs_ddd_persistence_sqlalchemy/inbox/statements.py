"""The SQL of the inbox."""

from __future__ import annotations

import re
from functools import lru_cache

from sqlalchemy.dialects import postgresql, sqlite

from ..schema.tables import Tables


class InboxStatements:
    """For one set of tables; the parameters are texts, on PostgreSQL the time is a datetime."""

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        dialect = postgresql.dialect() if is_postgres else sqlite.dialect()  # type: ignore[no-untyped-call]
        inbox = dialect.identifier_preparer.format_table(tables.inbox)
        outcome = "CAST($1 AS json)" if is_postgres else "$1"

        def numbered(statement: str) -> str:
            return statement if is_postgres else re.sub(r"\$\d", "?", statement)

        self.register = numbered(
            f"INSERT INTO {inbox} (consumer, message_id, fingerprint, registered_at) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1"
        )
        self.known = numbered(
            f"SELECT fingerprint, CAST(outcome AS text) FROM {inbox} "
            "WHERE consumer = $1 AND message_id = $2"
        )
        self.store_outcome = numbered(
            f"UPDATE {inbox} SET outcome = {outcome} "
            "WHERE consumer = $2 AND message_id = $3 RETURNING 1"
        )


@lru_cache(maxsize=64)
def inbox_statements(tables: Tables, is_postgres: bool) -> InboxStatements:
    return InboxStatements(tables, is_postgres)
