"""Backend of an application on PostgreSQL or SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_core import ID, AggregateRoot, ConfigError, IBackend, IHeartbeatStore
from cqrs_ddd_core.primitives import exceptions

from .engine import engines, is_postgres
from .engine.queue_signal import PostgresQueueSignal
from .event_store.event_store import SQLAlchemyEventStore
from .heartbeats.heartbeats import SQLAlchemyHeartbeatStore
from .inbox.inbox import SQLAlchemyInbox
from .outbox.outbox import SQLAlchemyOutboxStorage
from .repository.model_mapper import ModelMapper
from .repository.repository import SQLAlchemyRepository
from .schema import advanced_tables, installation
from .schema.tables import TABLES, Tables
from .unit_of_work import SQLAlchemyUnitOfWork

P = TypeVar("P")
T = TypeVar("T", bound=AggregateRoot)


class SQLAlchemyBackend(IBackend):
    """Backend on PostgreSQL with asyncpg, or on SQLite with aiosqlite.

    For a URL it creates its engines, one of them for ``background``, and disposes of them when it
    is closed. Its tables are those of the toolkit and of the models of its repositories.

    Args:
        database: URL, or an engine that the caller disposes of.
        background: second engine on the same database for relays and workers, which the caller
            disposes of; by default they use ``database``, if it is an engine.
        tables: tables of the toolkit.
        create_schema: whether ``open`` creates missing tables; otherwise it raises an error.

    Attributes:
        engine: engine of the application.
        session_factory: factory of sessions on the engine, for adapters that you create.
        tables: tables of the toolkit.

    Raises:
        ConfigError: the URL is malformed, its driver is not supported or not installed, or an
            engine is not usable.

    Example:
        ```python
        from cqrs_ddd_core import Application
        from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend

        # On a server: "postgresql+asyncpg://user@host/shop"
        backend = SQLAlchemyBackend("sqlite+aiosqlite://", create_schema=True)
        async with Application(backend) as app:
            assert (await app.health()).is_ready
        ```
    """

    def __init__(
        self,
        database: str | sa.URL | AsyncEngine,
        *,
        background: AsyncEngine | None = None,
        tables: Tables = TABLES,
        create_schema: bool = False,
    ) -> None:
        exceptions.arguments.ensure_instance(tables, Tables, "tables")
        self._owns_engines = not isinstance(database, AsyncEngine)
        self.engine, self._background_engine = engines.resolve_engines(database, background)
        self.session_factory = async_sessionmaker(self.engine, expire_on_commit=False)
        self.tables = tables
        self._creates_schema = create_schema
        self._metadata: set[sa.MetaData] = set()
        self._open_signals: AsyncExitStack | None = None

    @cached_property
    def event_store(self) -> SQLAlchemyEventStore:
        """Event store in the table of events."""
        return SQLAlchemyEventStore(self.session_factory, tables=self.tables, signal=self.signal)

    @cached_property
    def outbox(self) -> SQLAlchemyOutboxStorage:
        """Outbox in its table."""
        return SQLAlchemyOutboxStorage(self.session_factory, tables=self.tables)

    @cached_property
    def inbox(self) -> SQLAlchemyInbox:
        """Inbox in its table."""
        return SQLAlchemyInbox(self.session_factory, tables=self.tables)

    @cached_property
    def signal(self) -> PostgresQueueSignal | None:
        """Wake-up notifications on PostgreSQL; None on SQLite, where readers poll."""
        return PostgresQueueSignal(self.engine) if is_postgres(self.engine) else None

    @cached_property
    def background(self) -> SQLAlchemyBackend:
        """Backend on the engine for relays and workers; this one if there is no such engine."""
        if self._background_engine is self.engine:
            return self
        return SQLAlchemyBackend(self._background_engine, tables=self.tables)

    def unit_of_work(self, *, read_only: bool = False) -> SQLAlchemyUnitOfWork:
        """Return a new unit of work, which opens its connection at the first use."""
        return SQLAlchemyUnitOfWork(
            session_factory=self.session_factory,
            tables=self.tables,
            signal=self.signal,
            read_only=read_only,
        )

    def repository(self, entity_type: type[T], model: object = None) -> SQLAlchemyRepository[T, ID]:
        """Return a repository of aggregates in the table of a model.

        Args:
            entity_type: class of the aggregates.
            model: declarative class, or a ``ModelMapper`` with its own names and relations.

        Raises:
            ConfigError: there is no model, or it does not fit the class.
        """
        if isinstance(model, ModelMapper):
            mapper: ModelMapper[T] = model
        elif isinstance(model, type):
            mapper = ModelMapper(entity_type, model)
        else:
            name = entity_type.__name__
            raise ConfigError(
                f"repository({name}) got {model!r} as the model of its table; pass a declarative "
                f"class or a ModelMapper: repository({name}, {name}Model)"
            )
        self._metadata.add(mapper.table.metadata)
        return SQLAlchemyRepository(entity_type, mapper.model, self.session_factory, mapper=mapper)

    def part(self, port: Callable[..., P], default: Callable[[], P]) -> P:
        """Return the adapter of ``IHeartbeatStore``, or of a port of the advanced package.

        Args:
            port: class of the port.
            default: not used.

        Raises:
            ConfigError: there is no adapter of the port, or the extra ``advanced`` is missing.
        """
        if port not in self._parts:
            known = ", ".join(sorted(each.__name__ for each in self._parts))
            advice = "pass an adapter of your own to the service that needs it"
            if not advanced_tables.is_advanced_installed():
                advice = 'run pip install "cqrs-ddd-persistence-sqlalchemy[advanced]", or ' + advice
            raise ConfigError(
                f"{type(self).__name__} has no adapter of {port!r}, only of {known}; {advice}"
            )
        part: P = self._parts[port]
        return part

    @cached_property
    def _parts(self) -> Mapping[Any, Any]:
        heartbeats = SQLAlchemyHeartbeatStore(self.session_factory, tables=self.tables)
        if not advanced_tables.is_advanced_installed():
            return {IHeartbeatStore: heartbeats}
        from .advanced.backend_parts import create_parts

        advanced = create_parts(self.session_factory, self.tables, self.signal)
        return {IHeartbeatStore: heartbeats, **advanced}

    async def open(self) -> None:
        """Check the tables, or create them with ``create_schema=True``; then listen for signals.

        Opening an open backend does nothing.

        Raises:
            ConfigError: tables or columns are missing, or have another version.
            PersistenceError: the database cannot be reached.
        """
        if self._open_signals is not None:
            return
        try:
            await (self.create_schema() if self._creates_schema else self.check_schema())
            async with AsyncExitStack() as signals:
                for each in {self, self.background}:
                    if each.signal is not None:
                        await signals.enter_async_context(each.signal)
                self._open_signals = signals.pop_all()
        except BaseException:
            await self.close()
            raise

    async def create_schema(self) -> None:
        """Create the missing tables of the toolkit and of the models of the repositories.

        Raises:
            PersistenceError: the tables have another version, or the database cannot be reached.
        """
        await installation.create_schema(self.engine, self.tables, metadata=self._metadata)

    async def check_schema(self) -> None:
        """Check the tables of the toolkit and of the models of the repositories.

        Raises:
            ConfigError: tables or columns are missing, or have another version.
        """
        await installation.check(self.engine, self.tables, metadata=self._metadata)

    async def close(self) -> None:
        """Stop listening, and dispose of the engines unless the caller has passed them.

        A closed backend connects again when it is used, and listens again when it is opened.
        """
        signals, self._open_signals = self._open_signals, None
        try:
            if signals is not None:
                await signals.aclose()
        finally:
            if self._owns_engines:
                await self._background_engine.dispose()
                await self.engine.dispose()
