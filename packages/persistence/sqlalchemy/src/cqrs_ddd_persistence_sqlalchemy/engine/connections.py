"""Transactions and connections in which an adapter runs its statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives import exceptions

from . import driver, engines
from .driver_errors import DriverError, is_write_rejected, raise_translated, translate_errors
from .transaction import SQLAlchemyTransaction


class Connections:
    """Source of transactions and connections for one adapter, with translation of errors.

    A call joins its ``uow`` argument, else the unit of work of the adapter, else the current unit
    of work; without any of them it runs in a new transaction.

    Args:
        session_factory: creates new transactions and connections; None if the adapter has none.
        error: class of the errors into which database errors are translated.
        uow: unit of work of the adapter.

    Raises:
        ConfigError: ``session_factory`` is something else, such as an engine.
    """

    __slots__ = ("_error", "_uow", "session_factory")

    def __init__(
        self,
        session_factory: engines.SessionFactory | None,
        error: type[exceptions.InfrastructureError] = exceptions.PersistenceError,
        uow: UnitOfWork | None = None,
    ) -> None:
        if session_factory is not None:
            engines.ensure_session_factory(session_factory)
        self.session_factory = session_factory
        self._error = error
        self._uow = uow

    @property
    def engine(self) -> AsyncEngine | None:
        """Engine of the session factory, None if it has several engines or a connection."""
        return None if self.session_factory is None else engines.find_engine(self.session_factory)

    def require_engine(self) -> AsyncEngine:
        """Return the engine of the factory or of the adapter's unit of work.

        Raises:
            ConfigError: neither has an engine, or the toolkit does not support it.
        """
        engine = self.engine
        if engine is None and isinstance(self._uow, SQLAlchemyTransaction):
            engine = self._uow.engine
        if engine is None:
            raise exceptions.ConfigError(
                "cannot create or drop a collection without an engine; pass the store "
                "async_sessionmaker(engine)"
            )
        engines.ensure_usable(engine)
        return engine

    def current(self, uow: UnitOfWork | None = None) -> UnitOfWork | None:
        """Return the unit of work that a call joins, or None if it needs a new transaction."""
        return uow or self._uow or get_current_uow()

    @asynccontextmanager
    async def join_transaction(
        self, uow: UnitOfWork | None, operation: str
    ) -> AsyncIterator[SQLAlchemyTransaction]:
        """Join the current transaction, or begin a new one that is committed at the end.

        Args:
            uow: the ``uow`` argument of the call.
            operation: the work, for error messages: ``cannot {operation}: ...``.

        Raises:
            InvalidOperationError: the unit of work is not in this database.
            ConcurrentUseError: another task is using the unit of work.
        """
        current = uow or self._uow or get_current_uow()
        if current is None:
            async with SQLAlchemyTransaction(session_factory=self.session_factory) as new:
                with translate_errors(self._error, operation):
                    yield new
            return
        transaction = self._ensure_joinable(current, operation)
        with transaction.guard_exclusive(operation):
            try:
                yield transaction
            except (asyncio.CancelledError, GeneratorExit):
                transaction.mark_interrupted()
                raise
            except Exception as error:
                if transaction.read_only and is_write_rejected(error):
                    raise exceptions.ReadOnlyError.rejected(operation) from DriverError.conceal(
                        error
                    )
                raise_translated(error, self._error, operation)
                raise

    @asynccontextmanager
    async def read_connection(
        self, uow: UnitOfWork | None, operation: str
    ) -> AsyncIterator[AsyncConnection]:
        """Read in the current transaction, or without a transaction if the factory has an engine.

        Args:
            uow: the ``uow`` argument of the call.
            operation: the work, for error messages.
        """
        engine = self.engine
        if engine is None or self.current(uow) is not None:
            async with self.join_transaction(uow, operation) as transaction:
                yield await transaction.connection()
            return
        engines.ensure_usable(engine)
        with translate_errors(self._error, operation):
            async with driver.autocommit_connection(engine) as connection:
                yield connection

    @asynccontextmanager
    async def new_transaction(self, operation: str) -> AsyncIterator[SQLAlchemyTransaction]:
        """Begin a transaction independent of the current one, and commit it at the end.

        Raises:
            InvalidOperationError: the adapter has no session factory.
        """
        if self.session_factory is None:
            raise exceptions.InvalidOperationError(
                f"cannot {operation}: it requires its own transaction, and this adapter has only "
                "one session; pass it a session_factory"
            )
        async with SQLAlchemyTransaction(session_factory=self.session_factory) as new:
            with translate_errors(self._error, operation):
                yield new

    @asynccontextmanager
    async def autocommit_connection(self, operation: str) -> AsyncIterator[AsyncConnection]:
        """Read committed rows independently of the current transaction."""
        engine = self.engine
        if engine is None:
            async with self.new_transaction(operation) as transaction:
                yield await transaction.connection()
            return
        engines.ensure_usable(engine)
        with translate_errors(self._error, operation):
            async with driver.autocommit_connection(engine) as connection:
                yield connection

    def stream_transaction(self, uow: UnitOfWork | None) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a context manager of the unit of work that a stream joins for each batch.

        A new transaction is rolled back at the end.
        """
        current = self.current(uow)
        if current is not None:
            return nullcontext(current)
        return _Rollback(SQLAlchemyTransaction(session_factory=self.session_factory))

    def _ensure_joinable(self, current: UnitOfWork, operation: str) -> SQLAlchemyTransaction:
        if not isinstance(current, SQLAlchemyTransaction):
            raise exceptions.InvalidOperationError(
                f"cannot {operation}: a database adapter cannot join a {type(current).__name__}; "
                "use a SQLAlchemyUnitOfWork"
            )
        mine, its = self.engine, current.engine
        if mine is not None and its is not None and not engines.is_same_database(mine, its):
            raise exceptions.InvalidOperationError(
                f"cannot {operation}: the unit of work is on {its.url!r}, this adapter on "
                f"{mine.url!r}; pass a unit of work on the same engine"
            )
        return current


@dataclass
class _Rollback(AbstractAsyncContextManager[UnitOfWork]):
    """Context manager that rolls back the transaction of a stream.

    It does not enter the transaction, which would become the current unit of work of the stream's
    reader. It is a class because an event loop closes all generators at once when it ends.
    """

    transaction: UnitOfWork

    async def __aenter__(self) -> UnitOfWork:
        return self.transaction

    async def __aexit__(self, *error: object) -> None:
        await self.transaction.rollback()
