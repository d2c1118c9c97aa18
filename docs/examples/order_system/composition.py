"""Where the application meets its adapters: the one place to change them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_core import (
    EventStorePersistenceMiddleware,
    HandlerRegistry,
    IRepository,
    Mediator,
    UnitOfWork,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryInbox,
    InMemoryOutbox,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.config import EnvConfig
from cqrs_ddd_core.messaging import InboxConsumer, OutboxRelay
from cqrs_ddd_core.middleware import IdempotencyMiddleware, OutboxMiddleware
from cqrs_ddd_core.ports import ILeasedOutbox, IMessagePublisher, OutboxMessage
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    configure_sqlite,
    schema,
)

from . import tables
from .application import OrderHandlers
from .domain import Order, events
from .sales import CountrySales, CustomerSales, OrderSummary, SalesProjection, SalesQueries

BATCH = 10
"""Messages are handled one after the other, and all of a batch within the lease."""
_KINDS = (
    "it should be like sqlite+aiosqlite:///orders.db or "
    "postgresql+asyncpg://user:password@host/database"
)

Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]


@dataclass(frozen=True)
class Settings(EnvConfig):
    """From the environment, in capital letters."""

    database_url: str = ""
    backend: Literal["database", "memory"] = "database"
    style: tables.Style = "state"
    busy_seconds: Seconds = 5.0
    """How long a writer waits for another one on SQLite."""
    lease_seconds: Seconds = 8.0
    """How long the messages of a relay that was killed wait for the next one."""

    @classmethod
    def for_file(cls, path: Path) -> Settings:
        """Unless the environment says another, a database beside us that is named as the file."""
        settings = cls.from_env()
        if "DATABASE_URL" in os.environ:
            return settings
        ending = "db" if settings.style == "state" else "events.db"
        url = URL.create("sqlite+aiosqlite", database=f"{path.stem}.{ending}")
        return replace(settings, database_url=url.render_as_string())


@dataclass(frozen=True)
class System:
    """The application, ready to use."""

    mediator: Mediator
    relay: OutboxRelay
    outbox: ILeasedOutbox
    uow_factory: Callable[[], UnitOfWork]


@dataclass(frozen=True)
class _Adapters:
    """What differs from one back end to the next."""

    uow_factory: Callable[[], UnitOfWork]
    outbox: ILeasedOutbox
    placed: IRepository[Order, str]
    orders: IRepository[OrderSummary, str]
    customers: IRepository[CustomerSales, str]
    countries: IRepository[CountrySales, str]


@asynccontextmanager
async def open_system(settings: Settings, *, read_only: bool = False) -> AsyncIterator[System]:
    """Makes the tables that are missing, unless it is for reading only.

    Raises ``ConfigError`` or ``InfrastructureError`` when the database cannot be used.
    """
    if settings.backend == "memory":
        yield _assembled(_in_memory(), settings)
        return
    engine = _engine(settings, read_only=read_only)
    try:
        await _prepare(engine, settings.style, read_only=read_only)
        yield _assembled(_on(engine), settings)
    finally:
        await engine.dispose()


def _assembled(adapters: _Adapters, settings: Settings) -> System:
    handlers = HandlerRegistry()
    placed = adapters.placed
    if settings.style == "events":
        # On every back end, since the event store comes with the unit of work.
        placed = EventSourcedRepository(Order, registry=events)
    OrderHandlers(placed).register(handlers)
    SalesQueries(adapters).register(handlers)
    mediator = Mediator(
        handlers,
        uow_factory=adapters.uow_factory,
        middlewares=[
            IdempotencyMiddleware(),
            EventStorePersistenceMiddleware(),
            OutboxMiddleware(),
        ],
    )
    consumer = InboxConsumer("sales", SalesProjection(adapters), uow_factory=adapters.uow_factory)
    relay = OutboxRelay(
        adapters.outbox,
        _Handover(consumer),
        retry=ExponentialBackoffPolicy(max_attempts=20, base=0.05, maximum=2.0),
        batch=BATCH,
        lease=settings.lease_seconds,
        # Above `busy_seconds`, which the consumer may have to wait.
        publish_timeout=settings.lease_seconds * 3 / 4,
    )
    return System(mediator, relay, adapters.outbox, adapters.uow_factory)


class _Handover(IMessagePublisher):
    """In place of a broker: who publishes waits until the message is handled.

    One at a time, since most of them change the row of the same country.
    """

    def __init__(self, consumer: InboxConsumer) -> None:
        self._consumer = consumer
        self._turn = asyncio.Lock()

    async def publish(self, message: OutboxMessage) -> None:
        async with self._turn:
            await self._consumer(message)


def _in_memory() -> _Adapters:
    event_store, outbox, inbox = InMemoryEventStore(), InMemoryOutbox(), InMemoryInbox()
    return _Adapters(
        uow_factory=lambda: InMemoryUnitOfWork(event_store, outbox, inbox),
        outbox=outbox,
        placed=InMemoryRepository(Order),
        orders=InMemoryRepository(OrderSummary),
        customers=InMemoryRepository(CustomerSales),
        countries=InMemoryRepository(CountrySales),
    )


def _on(engine: AsyncEngine) -> _Adapters:
    sessions = async_sessionmaker(engine)
    return _Adapters(
        uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions),
        outbox=SQLAlchemyOutboxStorage(sessions),
        placed=SQLAlchemyRepository(Order, tables.OrderModel, sessions),
        orders=SQLAlchemyRepository(OrderSummary, tables.OrderSummaryModel, sessions),
        customers=SQLAlchemyRepository(CustomerSales, tables.CustomerSalesModel, sessions),
        countries=SQLAlchemyRepository(CountrySales, tables.CountrySalesModel, sessions),
    )


def _engine(settings: Settings, *, read_only: bool) -> AsyncEngine:
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"DATABASE_URL names no database: {_KINDS}") from None
    if url.drivername == "sqlite+aiosqlite":
        _refuse_absent_place(url, read_only=read_only)
        # The unit of work has rolled back or committed; the pool need not roll back once more.
        engine = create_async_engine(url, pool_reset_on_return=None)
        return configure_sqlite(engine, busy_timeout=settings.busy_seconds)
    if url.drivername == "postgresql+asyncpg":
        return create_async_engine(url, connect_args={"timeout": 10})
    raise ConfigError(f"DATABASE_URL begins with {url.drivername}: {_KINDS}")


def _refuse_absent_place(url: URL, *, read_only: bool) -> None:
    if not url.database or "uri" in url.query:
        return
    path = Path(url.database)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for the database {path}")
    if read_only and not path.exists():
        raise ConfigError(f"there is no database {path}; import the file first")


async def _prepare(engine: AsyncEngine, style: tables.Style, *, read_only: bool) -> None:
    try:
        await schema.check(engine)
    except ConfigError:
        if read_only:
            raise
    try:
        async with engine.begin() as connection:
            await connection.run_sync(tables.check if read_only else tables.install, style)
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"cannot use the database {engine.url!r}: {reason}") from error
