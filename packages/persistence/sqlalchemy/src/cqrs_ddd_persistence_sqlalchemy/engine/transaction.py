"""Database transactions that adapters join."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import SessionTransaction

from cqrs_ddd_core import IQueueSignal, UnitOfWork
from cqrs_ddd_core.ports.event_store import EVENTS_CHANNEL
from cqrs_ddd_core.primitives import exceptions

from . import driver, engines
from .driver_errors import DriverError, is_connection_lost, translate_errors
from .read_only import connect_read_only, forbid_writes, get_read_only_engine

logger = logging.getLogger(__name__)


class SQLAlchemyTransaction(UnitOfWork):
    """Unit of work on one connection, which is opened at its first use.

    After a database error it can only be rolled back. Pass either ``session`` or
    ``session_factory``.

    Args:
        session: session that the caller creates and closes.
        session_factory: creates ``session`` at its first use.
        signal: notified of new events after the commit, so that ``wait_for`` of the event store
            need not poll.
        read_only: True to let the database reject every change; this takes a ``session_factory`` on
            an engine. Each statement then sees the rows committed before it.

    Raises:
        ConfigError: both or neither of ``session`` and ``session_factory`` are passed, or one of
            another type, or ``read_only`` without an engine.
    """

    commit_timeout: ClassVar[float] = 30.0
    """Seconds to wait for the reply to COMMIT; then ``CommitOutcomeUnknownError`` is raised."""

    def __init__(
        self,
        session: AsyncSession | None = None,
        session_factory: engines.SessionFactory | None = None,
        *,
        signal: IQueueSignal | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__()
        if (session is None) == (session_factory is None):
            raise exceptions.ConfigError(
                f"{type(self).__name__} takes either a session or a session_factory; "
                "pass for example session_factory=async_sessionmaker(engine)"
            )
        if session is not None:
            engines.ensure_session(session)
        else:
            engines.ensure_session_factory(session_factory)
        if read_only and (session_factory is None or engines.find_engine(session_factory) is None):
            raise exceptions.ConfigError(
                f"a read-only {type(self).__name__} opens its own connection; pass "
                "session_factory=async_sessionmaker(engine)"
            )
        self.read_only = read_only
        self._session = session
        self._session_factory = session_factory
        self._owns_session = session is None
        self._connection: AsyncConnection | None = None
        self._driver: Any = None  # Only on PostgreSQL.
        self._is_joined = False
        self._is_interrupted = False
        self._appended: dict[sa.Table, list[int]] = {}
        self._last_position: int | None = None
        self._signal = signal

    @property
    def session(self) -> AsyncSession:
        """Session in this transaction; commit or roll back the unit of work, not the session."""
        if self._session is None:
            self.ensure_open("make a session")
            assert self._session_factory is not None
            bound: dict[str, Any] = {}
            if self._connection is not None:
                self._share_transaction()
                bound = {"bind": self._connection}
            elif self.read_only and self.engine is not None:
                bound = {"bind": get_read_only_engine(self.engine)}
            self._session = self._session_factory(**bound)
            sa.event.listen(self._session.sync_session, "after_soft_rollback", self._on_session_end)
        return self._session

    @property
    def engine(self) -> AsyncEngine | None:
        """Engine of the factory or the session, if one engine serves all tables."""
        if self._session_factory is not None:
            return engines.find_engine(self._session_factory)
        bind = engines.get_bind(self.session)
        return bind if isinstance(bind, AsyncEngine) else None

    async def connection(self) -> AsyncConnection:
        """Return the connection of this transaction, for statements of SQLAlchemy."""
        connection = await self.driver_connection()
        self._share_transaction()
        return connection

    async def driver_connection(self) -> AsyncConnection:
        """Return the same connection, for statements sent directly to the driver."""
        self.ensure_open("use its connection")
        if self._session is not None:
            # Through the session, so that its savepoints apply to these statements too.
            return await self._open_session_connection(self._session)
        if self._connection is None:
            engine = self.engine
            if engine is None:
                return await self._open_session_connection(self.session)
            engines.ensure_usable(engine)
            connection = await (
                connect_read_only(engine)
                if self.read_only
                else driver.open_connection(engine.connect())
            )
            if not self.is_open:
                await connection.close()
                self.ensure_open("use a connection that was opened too late")
            self._connection = connection
            if driver.is_postgres(connection):
                self._driver = driver.get_driver(connection)
            try:
                # The first statement finds a connection that was lost in the pool.
                with translate_errors(exceptions.PersistenceError, "begin a transaction"):
                    await driver.begin(connection)
                if self.read_only:
                    await forbid_writes(connection)
            except BaseException:
                self.mark_interrupted()
                raise
        return self._connection

    async def _open_session_connection(self, session: AsyncSession) -> AsyncConnection:
        bind = engines.get_bind(session)
        if bind is None:
            raise exceptions.ConfigError(
                "the session has no engine for all tables; create it with bind=, not with binds="
            )
        engine = bind.engine
        engines.ensure_usable(engine if isinstance(engine, AsyncEngine) else AsyncEngine(engine))
        is_open = session.in_transaction()
        opening = session.connection()
        connection = await (opening if is_open else driver.open_connection(opening))
        if not self.is_open:
            await session.close()
            self.ensure_open("use a connection that was opened too late")
        if self._connection is None:
            if driver.is_postgres(connection):
                self._driver = driver.get_driver(connection)
                if not self._driver.is_in_transaction():
                    await connection.exec_driver_sql(
                        "SELECT 1"
                    )  # It begins with the first statement.
            driver.ensure_transactional(connection)
        return connection

    def _share_transaction(self) -> None:
        if self._connection is not None and not self._is_joined:
            driver.share_transaction(self._connection)
            self._is_joined = True

    def record_append(self, positions: Sequence[int], events: sa.Table) -> None:
        """Record positions of new rows of an event table, to notify waiters after the commit."""
        if not self._appended and self._signal is not None:
            self.on_commit(partial(self._signal.notify, EVENTS_CHANNEL))
        self._appended.setdefault(events, []).extend(sorted(positions))
        self._last_position = max(positions)

    def get_appended(self, events: sa.Table) -> Sequence[int]:
        """Return the positions of this transaction in an event table, in ascending order."""
        return self._appended.get(events, ())

    def can_retry_insert(self, events: sa.Table) -> bool:
        """Return whether a failing statement would undo no savepoint and no earlier append."""
        return self._session is None and not self._is_joined and events not in self._appended

    async def restart_transaction(self, failure: Exception) -> None:
        """Begin again to find the cause of ``failure``; a later commit raises an error."""
        assert self._connection is not None
        self.mark_failed(failure)  # Before a cancellation can come.
        await driver.rollback(self._connection)
        await driver.begin(self._connection)

    def mark_failed(self, error: BaseException) -> None:
        """Allow only a rollback from now on, since an operation was done in part."""
        if not isinstance(error, Exception):
            error = exceptions.InvalidOperationError(
                f"work was interrupted by {type(error).__name__}"
            )
        self._failure = error

    def mark_interrupted(self) -> None:
        """Discard the connection at the rollback, since a statement may still run on it."""
        self._is_interrupted = True

    async def end_reading(self) -> None:
        """Flush the session, so that its pending changes are rejected, and roll back."""
        if self._session is not None:
            await self._session.flush()
        await self.rollback()

    async def commit(self) -> None:
        """Flush the session, commit the transaction and close the connection.

        Raises:
            CommitOutcomeUnknownError: no reply came within ``commit_timeout``, or the connection
                was lost.
            PersistenceError: the database has rolled back.
        """
        with translate_errors(exceptions.PersistenceError, "commit"):
            if self._session is not None:
                await self._flush(self._session)
            await self._send_commit()
        self.committed_position = self._last_position
        try:
            await self._close(interrupted=False)
        except Exception as error:
            logger.warning(
                "closing after a commit failed; the commit stands",
                exc_info=exceptions.ConcealedError(error),
            )

    async def rollback(self) -> None:
        """Roll back and close the connection, or discard it if a statement may still run on it."""
        connection = self._connection
        interrupted = self._is_interrupted
        if connection is not None and connection.invalidated:
            # The server has rolled back, and a statement would open a new connection.
            interrupted = True
        # SQLite ends an interrupted statement in its thread, and then rolls back.
        elif connection is not None and not (interrupted and driver.is_postgres(connection)):
            try:
                await driver.rollback(connection)
            except (DriverError, sa.exc.SQLAlchemyError):  # The connection is already closed.
                interrupted = True
        with translate_errors(exceptions.PersistenceError, "roll back"):
            await self._close(interrupted=interrupted)

    async def _flush(self, session: AsyncSession) -> None:
        await session.flush()
        if self._connection is None and session.in_transaction():
            # PostgreSQL replies ROLLBACK to COMMIT if an earlier statement has failed, and
            # SQLAlchemy does not report it: this statement then raises an error.
            connection = await session.connection()
            if driver.is_postgres(connection):
                self._driver = driver.get_driver(connection)
                await driver.fetch(connection, "SELECT 1")

    async def _send_commit(self) -> None:
        if self._connection is not None and driver.is_closed(self._connection):
            raise exceptions.PersistenceError(
                "cannot commit: an earlier statement has lost the connection, so the server has "
                "rolled back; retry the work in a new unit of work"
            )
        # Terminate the connection instead of cancelling: a cancellation waits for the server too.
        deadline = asyncio.get_running_loop().call_later(self.commit_timeout, self._cut_off)
        try:
            # A session bound to self._connection does not end the transaction.
            if self._session is not None:
                await self._session.commit()
            if self._connection is not None:
                await driver.commit(self._connection)
        except Exception as error:
            if isinstance(error, exceptions.PersistenceError) or not is_connection_lost(error):
                raise
            await self._close(interrupted=True)
            raise exceptions.CommitOutcomeUnknownError(
                f"no reply to the commit ({exceptions.describe_error(error)}), so the "
                "changes may or may not be stored; "
                "check, or send the command again with the same id"
            ) from DriverError.conceal(error)
        finally:
            deadline.cancel()

    def _on_session_end(self, session: object, transaction: SessionTransaction) -> None:
        # After a rollback of the session its writes are still in the transaction; only a savepoint
        # has undone its own writes.
        if self.is_open and self._connection is not None and not transaction.nested:
            self.mark_failed(
                exceptions.InvalidOperationError(
                    "the session was rolled back without its unit of work"
                )
            )

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
                if interrupted and driver.is_postgres(connection):
                    await connection.invalidate()
            finally:
                await connection.close()
        if session is not None:
            bind = engines.get_bind(session)
            # SQLite ends the statement in its thread, and a database in memory has one connection.
            is_sqlite = bind is not None and not driver.is_postgres(bind)
            if interrupted and connection is None and not is_sqlite:
                await session.invalidate()
            elif self._owns_session:
                await session.close()
            else:
                await session.rollback()
