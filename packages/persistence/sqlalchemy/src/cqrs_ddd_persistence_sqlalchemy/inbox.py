"""Handled messages in a table."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from pydantic_core import from_json
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cqrs_ddd_core.adapters.refusals import json_of, not_registered, refuse_another_content
from cqrs_ddd_core.ports.inbox import IInbox, InboxEntry
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InboxError

from .driver import inserting, translated
from .engines import SessionFactory
from .joining import joined
from .models import TABLES, Tables


class SQLAlchemyInbox(IInbox):
    """The inbox table. Who registers a message that an open transaction has registered waits."""

    def __init__(
        self,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        uow: UnitOfWork | None = None,
    ) -> None:
        self._session_factory = session_factory
        self._inbox = tables.inbox
        self._uow = uow

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        row = {
            "consumer": consumer,
            "message_id": message_id,
            "fingerprint": fingerprint,
            "registered_at": datetime.now(timezone.utc),
        }
        async with joined(uow or self._uow, self._session_factory, "register a message") as active:
            with translated(InboxError, "register a message"):
                connection = await active.connection()
                insert = inserting(connection, self._inbox).values(row).on_conflict_do_nothing()
                if (await connection.execute(insert)).rowcount:
                    return None
                # A new statement, so it sees what the one that came first has committed.
                known = await self._known(connection, consumer, message_id)
        refuse_another_content(known, fingerprint)
        return known

    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None:
        written = json_of(outcome, f"the outcome of message {message_id}", type(outcome).__name__)
        inbox = self._inbox
        async with joined(uow or self._uow, self._session_factory, "store an outcome") as active:
            with translated(InboxError, "store an outcome"):
                result = await (await active.connection()).execute(
                    update(inbox)
                    .where(inbox.c.consumer == consumer, inbox.c.message_id == message_id)
                    .values(outcome=from_json(written))
                )
            if not result.rowcount:
                raise not_registered(consumer, message_id)

    async def _known(
        self, connection: AsyncConnection, consumer: str, message_id: str
    ) -> InboxEntry:
        inbox = self._inbox
        found = await connection.execute(
            select(inbox.c.fingerprint, inbox.c.outcome).where(
                inbox.c.consumer == consumer, inbox.c.message_id == message_id
            )
        )
        fingerprint, outcome = found.one()
        return InboxEntry(consumer, message_id, fingerprint, outcome)
