"""Inbox of handled messages in a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from typing import Any

from pydantic_core import from_json

from cqrs_ddd_core import IInbox, InboxEntry, InboxError, UnitOfWork
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..engine import Connections, SessionFactory, driver, fetch, is_postgres
from ..schema.column_types import iso_utc
from ..schema.tables import TABLES, Tables


class SQLAlchemyInbox(IInbox):
    """Inbox in a table, whose ``register`` waits for an open transaction with the same message.

    Args:
        session_factory: makes a transaction where no unit of work is given or current.
        tables: the tables of the toolkit.
        uow: unit of work that all calls without one join.
    """

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._connections = Connections(session_factory, InboxError, uow)
        self._tables = tables

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        entry = InboxEntry(consumer, message_id, fingerprint)
        now = datetime.now(timezone.utc)
        async with self._connections.join_transaction(uow, "register a message") as active:
            connection = await active.driver_connection()
            sql = inbox_statements(self._tables, is_postgres(connection))
            at = now if is_postgres(connection) else iso_utc(now)
            if await fetch(connection, sql.register, consumer, message_id, fingerprint, at):
                return None
            # A new statement, so it sees the row that the first transaction has committed.
            ((known, outcome),) = await fetch(connection, sql.known, consumer, message_id)
        entry = replace(
            entry, fingerprint=known, outcome=None if outcome is None else from_json(outcome)
        )
        entry.ensure_same_content(fingerprint)
        return entry

    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None:
        encoded = encode_json(
            outcome, f"the outcome of message {message_id}", type_name=type(outcome).__name__
        )
        async with self._connections.join_transaction(uow, "store an outcome") as active:
            connection = await active.driver_connection()
            sql = inbox_statements(self._tables, is_postgres(connection))
            # Bytes on SQLite: it would convert a text of digits to a number and lose some digits.
            stored = encoded.decode() if is_postgres(connection) else encoded
            value = None if outcome is None else stored
            if not await fetch(connection, sql.store_outcome, value, consumer, message_id):
                raise InboxError.not_registered(consumer, message_id)


class InboxStatements:
    """Statements for one set of tables; the time is a datetime on PostgreSQL, else a text."""

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        inbox = driver.quote_table(tables.inbox, is_postgres)
        outcome = "CAST($1 AS json)" if is_postgres else "$1"
        adapt = partial(driver.adapt_parameters, is_postgres=is_postgres)
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
