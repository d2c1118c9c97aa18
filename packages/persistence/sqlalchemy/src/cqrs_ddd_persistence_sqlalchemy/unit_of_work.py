"""The unit of work of an application: a transaction, and the adapters that take part in it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from cqrs_ddd_core import IQueueSignal

from .engine import SessionFactory, SQLAlchemyTransaction
from .event_store.event_store import SQLAlchemyEventStore
from .inbox.inbox import SQLAlchemyInbox
from .outbox.outbox import SQLAlchemyOutboxStorage
from .schema.tables import TABLES, Tables

if TYPE_CHECKING:
    from .advanced import SQLAlchemyProjectionStore


class SQLAlchemyUnitOfWork(SQLAlchemyTransaction):
    """Transaction on one connection, with the adapters that take part in it.

    After an error of the database it can only be rolled back.

    Args:
        session: session of the caller, who closes it.
        session_factory: makes ``session`` at the first use, where no session is given.
        tables: the tables of the event store, the outbox and the inbox.
        signal: notified of new events after the commit, so that ``wait_for`` need not poll.
    """

    def __init__(
        self,
        session: AsyncSession | None = None,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        signal: IQueueSignal | None = None,
    ) -> None:
        super().__init__(session, session_factory, signal=signal)
        self._tables = tables

    @cached_property
    def event_store(self) -> SQLAlchemyEventStore:
        """Event store in this transaction."""
        return SQLAlchemyEventStore(
            self._session_factory, tables=self._tables, signal=self._signal, uow=self
        )

    @cached_property
    def outbox(self) -> SQLAlchemyOutboxStorage:
        """Outbox whose saves and marks take part in this transaction."""
        return SQLAlchemyOutboxStorage(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def inbox(self) -> SQLAlchemyInbox:
        """Inbox in this transaction."""
        return SQLAlchemyInbox(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def projections(self) -> SQLAlchemyProjectionStore:
        """Store of documents in this transaction; it needs the extra ``advanced``."""
        from .advanced import SQLAlchemyProjectionStore

        return SQLAlchemyProjectionStore(self._session_factory, tables=self._tables, uow=self)
