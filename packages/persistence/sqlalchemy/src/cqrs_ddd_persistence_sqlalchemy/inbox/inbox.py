"""Inbox of processed messages in a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from typing import Any

from pydantic_core import from_json

from cqrs_ddd_core import IInbox, InboxEntry, InboxError, InvalidOperationError, UnitOfWork
from cqrs_ddd_core.spi.json_fidelity import encode_json
from cqrs_ddd_core.spi.tenancy import get_row_tenant, get_visible_tenant

from ..engine import Connections, SessionFactory, driver, fetch, is_postgres
from ..schema.column_types import iso_utc
from ..schema.tables import TABLES, Tables
from ..schema.tenants import delete_old


class SQLAlchemyInbox(IInbox):
    """Inbox in a table with the primary key (tenant, consumer, message id).

    ``register`` waits for an open transaction that has registered the same message.

    Args:
        session_factory: creates a transaction for calls outside a unit of work.
        tables: tables of the toolkit.
        uow: unit of work that calls without ``uow`` join.
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
        """Insert the message and return None, or return the entry of its first delivery.

        Args:
            consumer: name of the consumer.
            message_id: id of the message.
            fingerprint: hash of the content, to detect another message with the same id.
            uow: unit of work in which the consumer stores its effects.

        Raises:
            DuplicateCommandError: the id was registered with another content.
        """
        tenant_id = get_row_tenant("register a message")
        entry = InboxEntry(consumer, message_id, fingerprint)
        now = datetime.now(timezone.utc)
        async with self._connections.join_transaction(uow, "register a message") as active:
            connection = await active.driver_connection()
            sql = inbox_statements(self._tables, is_postgres(connection))
            at = now if is_postgres(connection) else iso_utc(now)
            place = (tenant_id, consumer, message_id)
            while True:
                if await fetch(connection, sql.register, *place, fingerprint, at):
                    return None
                # A new statement, which sees the row that another transaction has just committed.
                # Without a row, a purge has deleted it in between.
                if rows := await fetch(connection, sql.known, *place):
                    break
            ((known, outcome),) = rows
        entry = replace(
            entry, fingerprint=known, outcome=None if outcome is None else from_json(outcome)
        )
        entry.ensure_same_content(fingerprint)
        return entry

    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None:
        """Update the row of a registered message with its outcome, as JSON.

        Raises:
            InvalidOperationError: the message is not registered.
            SerializationError: JSON cannot represent the outcome without loss.
        """
        place = get_row_tenant("store an outcome"), consumer, message_id
        encoded = encode_json(
            outcome, f"the outcome of message {message_id}", type_name=type(outcome).__name__
        )
        async with self._connections.join_transaction(uow, "store an outcome") as active:
            connection = await active.driver_connection()
            sql = inbox_statements(self._tables, is_postgres(connection))
            # Bytes on SQLite, which converts a text of digits to a number and loses some digits.
            stored = encoded.decode() if is_postgres(connection) else encoded
            value = None if outcome is None else stored
            if not await fetch(connection, sql.store_outcome, value, *place):
                raise InvalidOperationError.not_in_inbox(consumer, message_id)

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages registered earlier, the oldest first.

        Return their number. Rows that another transaction has locked are skipped.
        """
        statement = delete_old(
            self._tables.inbox.c.registered_at,
            registered_before,
            tenant_id=get_visible_tenant(),
            limit=limit,
        )
        async with self._connections.new_transaction("purge the inbox") as new:
            connection = await new.connection()
            return len((await connection.execute(statement)).all())


class InboxStatements:
    """SQL of the inbox for one set of tables; times are datetimes on PostgreSQL, text on SQLite."""

    def __init__(self, tables: Tables, is_postgres: bool) -> None:
        inbox = driver.quote_table(tables.inbox, is_postgres)
        outcome = "CAST($1 AS json)" if is_postgres else "$1"
        adapt = partial(driver.adapt_parameters, is_postgres=is_postgres)
        self.register = adapt(
            f"INSERT INTO {inbox} (tenant_id, consumer, message_id, fingerprint, registered_at) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING 1"
        )
        self.known = adapt(
            f"SELECT fingerprint, CAST(outcome AS text) FROM {inbox} "
            "WHERE tenant_id = $1 AND consumer = $2 AND message_id = $3"
        )
        self.store_outcome = adapt(
            f"UPDATE {inbox} SET outcome = {outcome} "
            "WHERE tenant_id = $2 AND consumer = $3 AND message_id = $4 RETURNING 1"
        )


@lru_cache(maxsize=64)
def inbox_statements(tables: Tables, is_postgres: bool) -> InboxStatements:
    """Return the statements, built once per set of tables and database."""
    return InboxStatements(tables, is_postgres)
