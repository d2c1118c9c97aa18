"""A transaction of a database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import SessionTransaction

from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL
from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    CommitOutcomeUnknownError,
    ConfigError,
    InvalidOperationError,
    PersistenceError,
)

from .engine.driver import (
    DriverError,
    begin,
    commit,
    driver_of,
    fetch,
    is_connection_lost,
    is_postgres,
    refuse_autocommit,
    rollback,
    share_transaction,
    translate_errors,
)
from .engine.engines import SessionFactory, bind_of, engine_of, refuse_unusable
from .schema.tables import TABLES, Tables

if TYPE_CHECKING:
    from .advanced.projections.store import SQLAlchemyProjectionStore
    from .event_store.event_store import SQLAlchemyEventStore
    from .inbox.inbox import SQLAlchemyInbox
    from .outbox.outbox import SQLAlchemyOutboxStorage

logger = logging.getLogger(__name__)


class SQLAlchemyUnitOfWork(UnitOfWork):
    """One transaction on one connection, which is opened at the first use.

    Give it a factory, or a session of your own, which stays yours to close. ``session`` is made
    when somebody asks for it. After an error of the database nothing can be committed any more.

    Args:
        tables: where the event store, the outbox and the inbox keep their rows.
        signal: told of new events after the commit, so that ``wait_for`` need not poll.
    """

    commit_timeout: ClassVar[float] = 30.0
    """Seconds after which a commit without an answer is of unknown outcome."""

    def __init__(
        self,
        session: AsyncSession | None = None,
        session_factory: SessionFactory | None = None,
        *,
        tables: Tables = TABLES,
        signal: IQueueSignal | None = None,
    ) -> None:
        super().__init__()
        if (session is None) == (session_factory is None):
            raise ConfigError(
                "SQLAlchemyUnitOfWork takes a session or a session_factory, one of them; "
                "for example session_factory=async_sessionmaker(engine)"
            )
        self._session = session
        self._session_factory = session_factory
        self._owns_session = session is None
        self._tables = tables
        self._connection: AsyncConnection | None = None
        self._driver: Any = None  # Of PostgreSQL.
        self._is_joined = False
        self._is_interrupted = False
        self._first_positions: dict[Tables, int] = {}
        self._last_position: int | None = None
        self._signal = signal

    @property
    def session(self) -> AsyncSession:
        """A session in this transaction; commit and roll back here, not there."""
        if self._session is None:
            self.ensure_open("make a session")
            assert self._session_factory is not None
            bound: dict[str, Any] = {}
            if self._connection is not None:
                self._share_transaction()
                bound = {"bind": self._connection}
            self._session = self._session_factory(**bound)
            event.listen(self._session.sync_session, "after_soft_rollback", self._session_ended)
        return self._session

    @cached_property
    def event_store(self) -> SQLAlchemyEventStore:
        """The event store, in this transaction."""
        from .event_store.event_store import SQLAlchemyEventStore

        return SQLAlchemyEventStore(
            self._session_factory, tables=self._tables, signal=self._signal, uow=self
        )

    @cached_property
    def outbox(self) -> SQLAlchemyOutboxStorage:
        """The outbox; what is saved and marked takes part in this transaction."""
        from .outbox.outbox import SQLAlchemyOutboxStorage

        return SQLAlchemyOutboxStorage(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def inbox(self) -> SQLAlchemyInbox:
        """The inbox, in this transaction."""
        from .inbox.inbox import SQLAlchemyInbox

        return SQLAlchemyInbox(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def projections(self) -> SQLAlchemyProjectionStore:
        """The store of documents, in this transaction; it comes with the extra ``advanced``."""
        from .advanced import SQLAlchemyProjectionStore

        return SQLAlchemyProjectionStore(self._session_factory, tables=self._tables, uow=self)

    @property
    def engine(self) -> AsyncEngine | None:
        """The engine, where the factory or the session has one for all tables."""
        if self._session_factory is not None:
            return engine_of(self._session_factory)
        bind = bind_of(self.session)
        return bind if isinstance(bind, AsyncEngine) else None

    async def connection(self) -> AsyncConnection:
        """The connection of this transaction, for statements and adapters of your own."""
        connection = await self.driver_connection()
        self._share_transaction()
        return connection

    async def driver_connection(self) -> AsyncConnection:
        """The same, for statements that go straight to the driver."""
        self.ensure_open("use its connection")
        if self._session is not None:
            # By way of the session, so that a savepoint of the session holds for us too.
            return await self._connection_of(self._session)
        if self._connection is None:
            engine = self.engine
            if engine is None:
                return await self._connection_of(self.session)
            refuse_unusable(engine)
            connection = await engine.connect()
            if not self.is_open:
                await connection.close()
                self.ensure_open("go on with a connection that came too late")
            self._connection = connection
            if is_postgres(connection):
                self._driver = driver_of(connection)
            try:
                await begin(connection)
            except BaseException:
                self.mark_interrupted()
                raise
        return self._connection

    async def _connection_of(self, session: AsyncSession) -> AsyncConnection:
        bind = bind_of(session)
        if bind is None:
            raise ConfigError(
                "the session has no engine for all tables; make it with bind=, not with binds="
            )
        engine = bind.engine
        refuse_unusable(engine if isinstance(engine, AsyncEngine) else AsyncEngine(engine))
        connection = await session.connection()
        if not self.is_open:
            await session.close()
            self.ensure_open("go on with a connection that came too late")
        if self._connection is None:
            if is_postgres(connection):
                self._driver = driver_of(connection)
                if not self._driver.is_in_transaction():
                    await connection.exec_driver_sql("SELECT 1")  # Not before does it begin.
            refuse_autocommit(connection)
        return connection

    def _share_transaction(self) -> None:
        if self._connection is not None and not self._is_joined:
            share_transaction(self._connection)
            self._is_joined = True

    def record_append(self, positions: Sequence[int], tables: Tables) -> None:
        """An event store gave out these positions; others see them after the commit."""
        if not self._first_positions and self._signal is not None:
            self.on_commit(partial(self._signal.notify, EVENTS_CHANNEL))
        self._first_positions.setdefault(tables, min(positions))
        self._last_position = max(positions)

    def first_position(self, tables: Tables) -> int | None:
        """The first position that was given out in this transaction."""
        return self._first_positions.get(tables)

    def can_retry_insert(self, tables: Tables) -> bool:
        """Whether a statement that fails harms no savepoint, and no event appended before it."""
        return self._session is None and not self._is_joined and tables not in self._first_positions

    async def restart_transaction(self, failure: Exception) -> None:
        """Only to see why a statement failed: nothing can be committed here any more."""
        assert self._connection is not None
        self.mark_failed(failure)  # Before a cancellation can come.
        await rollback(self._connection)
        await begin(self._connection)

    def mark_failed(self, error: BaseException) -> None:
        """Something was done in part, so from here on it can only be rolled back."""
        if not isinstance(error, Exception):
            error = InvalidOperationError(f"work was interrupted by {error!r}")
        self._failure = error

    def mark_interrupted(self) -> None:
        """A statement was left alone on its way, so its connection cannot be used again."""
        self._is_interrupted = True

    async def commit(self) -> None:
        with translate_errors(PersistenceError, "commit"):
            if self._session is not None:
                await self._session.flush()
                if self._connection is None and self._session.in_transaction():
                    # PostgreSQL answers COMMIT with ROLLBACK when a statement has failed before,
                    # and SQLAlchemy does not tell.
                    connection = await self._session.connection()
                    if is_postgres(connection):
                        self._driver = driver_of(connection)
                        await fetch(connection, "SELECT 1")
        # Cut off rather than cancelled, since a cancellation waits for the server as well.
        deadline = asyncio.get_running_loop().call_later(self.commit_timeout, self._cut_off)
        try:
            await self._send_commit()
        except PersistenceError:
            raise
        except Exception as error:
            if is_connection_lost(error):
                await self._close(interrupted=True)
                raise CommitOutcomeUnknownError(
                    f"no answer to the commit came ({error!r}), so the work may or may not be "
                    "stored; look, or send the command again under its id"
                ) from error
            with translate_errors(PersistenceError, "commit"):
                raise
        finally:
            deadline.cancel()
        self.committed_position = self._last_position
        try:
            await self._close(interrupted=False)
        except Exception:
            logger.warning("closing after a commit failed; the commit stands", exc_info=True)

    async def rollback(self) -> None:
        connection = self._connection
        interrupted = self._is_interrupted
        # SQLite ends an interrupted statement in its thread, and then rolls back.
        if connection is not None and not (interrupted and is_postgres(connection)):
            try:
                await rollback(connection)
            except (DriverError, SQLAlchemyError):  # Such as: the connection is closed already.
                interrupted = True
        with translate_errors(PersistenceError, "roll back"):
            await self._close(interrupted=interrupted)

    async def _send_commit(self) -> None:
        # A session that was bound to our connection leaves the transaction to us.
        if self._session is not None:
            await self._session.commit()
        if self._connection is not None:
            await commit(self._connection)

    def _session_ended(self, session: object, transaction: SessionTransaction) -> None:
        # What it wrote is still in the transaction; a savepoint it has undone itself.
        if self.is_open and self._connection is not None and not transaction.nested:
            self.mark_failed(InvalidOperationError("the session was rolled back by itself"))

    def _cut_off(self) -> None:
        if self._driver is not None:
            self._driver.terminate()

    async def _close(self, *, interrupted: bool) -> None:
        session, connection = self._session, self._connection
        self._connection = None
        if interrupted:
            self._cut_off()
        if connection is not None:
            try:
                if interrupted and is_postgres(connection):
                    await connection.invalidate()
            finally:
                await connection.close()
        if session is not None:
            if interrupted and connection is None:
                await session.invalidate()
            elif self._owns_session:
                await session.close()
            else:
                await session.rollback()
