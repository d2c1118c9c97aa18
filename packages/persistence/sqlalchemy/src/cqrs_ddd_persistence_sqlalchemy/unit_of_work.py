"""A transaction of a database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import (
    CommitOutcomeUnknownError,
    ConfigError,
    InvalidOperationError,
    PersistenceError,
)
from cqrs_ddd_core.primitives.shielding import within

from .driver import autocommitting, fetch, is_postgres, sqlstate, translated
from .models import TABLES, Tables
from .sqlite import is_configured

if TYPE_CHECKING:
    from .event_store import SQLAlchemyEventStore
    from .inbox import SQLAlchemyInbox
    from .outbox import SQLAlchemyOutboxStorage

logger = logging.getLogger(__name__)

SessionFactory = async_sessionmaker[AsyncSession]

EVENTS_CHANNEL = "cqrs_ddd_events"
"""The channel of ``IQueueSignal`` on which waiters are told of new events."""

_FAILED = "cqrs_ddd_failed"
"""In the info of a connection: a statement on it has failed."""

_engines: WeakKeyDictionary[SessionFactory, AsyncEngine | None] = WeakKeyDictionary()
_watched: WeakSet[AsyncEngine] = WeakSet()


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
        self._is_interrupted = False
        self.first_position: int | None = None
        self._last_position: int | None = None
        self._signal = signal

    @property
    def session(self) -> AsyncSession:
        """A session in this transaction; commit and roll back here, not there."""
        if self._session is None:
            self.ensure_open("make a session")
            assert self._session_factory is not None
            bound: dict[str, Any] = {"bind": self._connection} if self._connection else {}
            self._session = self._session_factory(**bound)
        return self._session

    @cached_property
    def event_store(self) -> SQLAlchemyEventStore:
        """The event store, in this transaction."""
        from .event_store import SQLAlchemyEventStore

        return SQLAlchemyEventStore(
            self._session_factory, tables=self._tables, signal=self._signal, uow=self
        )

    @cached_property
    def outbox(self) -> SQLAlchemyOutboxStorage:
        """The outbox; what is saved and marked takes part in this transaction."""
        from .outbox import SQLAlchemyOutboxStorage

        return SQLAlchemyOutboxStorage(self._session_factory, tables=self._tables, uow=self)

    @cached_property
    def inbox(self) -> SQLAlchemyInbox:
        """The inbox, in this transaction."""
        from .inbox import SQLAlchemyInbox

        return SQLAlchemyInbox(self._session_factory, tables=self._tables, uow=self)

    @property
    def engine(self) -> AsyncEngine | None:
        """The engine, where the factory or the session has one for all tables."""
        if self._session_factory is not None:
            return engine_of(self._session_factory)
        return _engine_of(self.session)

    async def connection(self) -> AsyncConnection:
        """The connection of this transaction, which has begun, for adapters of your own."""
        self.ensure_open("use its connection")
        engine = self.engine
        if engine is not None:
            watch(engine)
        if self._session is not None or engine is None:
            # By way of the session, so that a savepoint of the session holds for us too.
            return await self.session.connection()
        if self._connection is None:
            self._connection = await engine.connect()
            await self._connection.begin()
        return self._connection

    def appended(self, positions: Sequence[int]) -> None:
        """The event store gave out these positions; others see them after the commit."""
        if self.first_position is None:
            self.first_position = min(positions)
            if self._signal is not None:
                self.on_commit(partial(self._signal.notify, EVENTS_CHANNEL))
        self._last_position = max(positions)

    def interrupted(self) -> None:
        """A statement was left alone on its way, so its connection cannot be used again."""
        self._is_interrupted = True

    async def commit(self) -> None:
        with translated(PersistenceError, "commit"):
            if self._session is not None:
                await self._session.flush()
            await self._refuse_a_failed_transaction()
        try:
            await within(self.commit_timeout, self._send_commit())
        except Exception as error:
            if self._says_nothing(error):
                await self._close(interrupted=True)
                raise CommitOutcomeUnknownError(
                    f"no answer to the commit came ({error!r}), so the work may or may not be "
                    "stored; look, or send the command again under its id"
                ) from error
            with translated(PersistenceError, "commit"):
                raise
        self.committed_position = self._last_position
        try:
            await self._close(interrupted=False)
        except Exception:
            logger.warning("closing after a commit failed; the commit stands", exc_info=True)

    async def rollback(self) -> None:
        with translated(PersistenceError, "roll back"):
            await self._close(interrupted=self._is_interrupted)

    async def _send_commit(self) -> None:
        # A session that was bound to our connection leaves the transaction to us.
        if self._session is not None:
            await self._session.commit()
        if self._connection is not None:
            await self._connection.commit()

    async def _refuse_a_failed_transaction(self) -> None:
        """PostgreSQL answers COMMIT with a silent ROLLBACK when a statement has failed before."""
        connection = self._connection
        if connection is None and self._session is not None and self._session.in_transaction():
            connection = await self._session.connection()
        if connection is not None and is_postgres(connection):
            sync_connection = connection.sync_connection
            if sync_connection is not None and sync_connection.info.pop(_FAILED, False):
                await fetch(connection, "SELECT 1")

    def _says_nothing(self, error: Exception) -> bool:
        if isinstance(error, asyncio.TimeoutError):
            return True
        engine = self.engine
        if engine is None or not is_postgres(engine):
            return False
        # 08: the connection; 57P: the server was stopped.
        code = sqlstate(error)
        return code is None or code.startswith(("08", "57P"))

    async def _close(self, *, interrupted: bool) -> None:
        session, connection = self._session, self._connection
        self._connection = None
        if connection is not None:
            try:
                # SQLite ends the statement in its thread, and then rolls back.
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


def engine_of(session_factory: SessionFactory) -> AsyncEngine | None:
    """The one engine of the sessions; None where tables are bound to different ones."""
    if session_factory not in _engines:
        _engines[session_factory] = _engine_of(session_factory())
    return _engines[session_factory]


def _engine_of(session: AsyncSession) -> AsyncEngine | None:
    return session.bind if isinstance(session.bind, AsyncEngine) else None


def watch(engine: AsyncEngine) -> None:
    """Raises ``ConfigError`` for an engine on SQLite that is not configured."""
    if engine in _watched:
        return
    if is_postgres(engine):
        event.listen(engine.sync_engine, "handle_error", _remember_failure)
    elif engine.dialect.name != "sqlite":
        raise ConfigError(f"{engine.dialect.name} is not supported; use PostgreSQL or SQLite")
    elif not is_configured(engine):
        raise ConfigError("call configure_sqlite(engine) before the first connection of the engine")
    _watched.add(engine)


def _remember_failure(context: ExceptionContext) -> None:
    if context.connection is not None and not context.connection.invalidated:
        context.connection.info[_FAILED] = True


@asynccontextmanager
async def joined(
    uow: UnitOfWork | None, session_factory: SessionFactory | None, operation: str
) -> AsyncIterator[SQLAlchemyUnitOfWork]:
    """Take part in ``uow``, else in the open one, else in a short one of its own."""
    current = uow or get_current_uow()
    if current is None:
        async with SQLAlchemyUnitOfWork(session_factory=session_factory) as own:
            yield own
        return
    if not isinstance(current, SQLAlchemyUnitOfWork):
        raise InvalidOperationError(
            f"{operation} happens in a database and cannot join a {type(current).__name__}; "
            "use a SQLAlchemyUnitOfWork"
        )
    _refuse_another_database(current, session_factory, operation)
    with current.exclusive(operation):
        try:
            yield current
        except (asyncio.CancelledError, GeneratorExit):
            current.interrupted()
            raise


@asynccontextmanager
async def reading(
    uow: UnitOfWork | None, session_factory: SessionFactory | None, operation: str
) -> AsyncIterator[AsyncConnection]:
    """The connection of ``uow``, else of the open one, else one without a transaction."""
    engine = engine_of(session_factory) if session_factory is not None else None
    if engine is not None and uow is None and get_current_uow() is None:
        watch(engine)
        async with autocommitting(engine) as connection:
            yield connection
        return
    async with joined(uow, session_factory, operation) as current:
        yield await current.connection()


def _refuse_another_database(
    current: SQLAlchemyUnitOfWork, session_factory: SessionFactory | None, operation: str
) -> None:
    mine = engine_of(session_factory) if session_factory is not None else None
    if mine is not None and current.engine is not None and mine is not current.engine:
        raise InvalidOperationError(
            f"cannot {operation}: the unit of work is on {current.engine.url!r}, this adapter on "
            f"{mine.url!r}; pass a unit of work on the same engine"
        )
