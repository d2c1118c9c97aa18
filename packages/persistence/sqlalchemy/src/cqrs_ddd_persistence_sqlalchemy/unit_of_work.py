"""Unit of work of an application: a transaction, and the adapters that take part in it."""

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
    """Unit of work on one database connection, with the adapters that take part in it.

    After a database error it can only be rolled back. Pass either ``session`` or
    ``session_factory``.

    Args:
        session: session that the caller creates and closes.
        session_factory: creates ``session`` at its first use.
        tables: tables of the toolkit.
        signal: notified of new events after the commit, so that ``wait_for`` of the event store
            need not poll.
        read_only: True to let the database reject every change, as for a query; this takes a
            ``session_factory`` on an engine. Each statement then sees the rows committed before it.

    Raises:
        ConfigError: both or neither of ``session`` and ``session_factory`` are passed, or
            ``read_only`` without an engine.
    """

    def __init__(
        self,
        session: AsyncSession | None = None,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        signal: IQueueSignal | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(session, session_factory, signal=signal, read_only=read_only)
        self._tables = tables

    @cached_property
    def event_store(self) -> SQLAlchemyEventStore:
        """Event store in this transaction."""
        return SQLAlchemyEventStore(
            self._session_factory, tables=self._tables, signal=self._signal, uow=self
        )

    @cached_property
    def outbox(self) -> SQLAlchemyOutboxStorage:
        """Outbox; saving and marking messages takes part in this transaction."""
        return SQLAlchemyOutboxStorage(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def inbox(self) -> SQLAlchemyInbox:
        """Inbox in this transaction."""
        return SQLAlchemyInbox(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def projections(self) -> SQLAlchemyProjectionStore:
        """Projection store in this transaction; it requires the extra ``advanced``."""
        from .advanced import SQLAlchemyProjectionStore

        return SQLAlchemyProjectionStore(self._session_factory, tables=self._tables, uow=self)
