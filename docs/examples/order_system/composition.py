"""Composition root: the only module that chooses the adapters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.adapters.memory import (
    InMemoryDeadLetterStore,
    InMemoryPositionStore,
    InMemoryProjectionStore,
)
from cqrs_ddd_advanced_core.conflict import ConflictRetryMiddleware
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.ports.dead_letters import IDeadLetterStore
from cqrs_ddd_advanced_core.ports.positions import IPositionStore
from cqrs_ddd_advanced_core.ports.projections import IProjectionStore
from cqrs_ddd_advanced_core.projections import (
    InlineProjectionMiddleware,
    ProjectionRebuild,
    ProjectionWorker,
)
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
    InMemoryOutboxStorage,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.config import EnvConfig
from cqrs_ddd_core.messaging import InboxConsumer, OutboxRelay
from cqrs_ddd_core.middleware import IdempotencyMiddleware, OutboxMiddleware
from cqrs_ddd_core.ports import IEventLog, ILeasedOutbox, IMessagePublisher, OutboxMessage
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
)
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)

from . import tables
from .application import OrderHandlers
from .database import build_engine, prepare
from .domain import Order, events
from .projections import DailyRevenue, OrderSummaries
from .sales import CountrySales, CustomerSales, SalesProjection, SalesQueries

BATCH = 10
"""Messages of a relay batch, which are handled one by one and all within the lease."""
EVENTS = 100
"""Events of a projection batch, which are in memory at the same time."""


Seconds = Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)]


@dataclass(frozen=True)
class Settings(EnvConfig):
    """Settings, read from the environment variables with the same names in capital letters."""

    database_url: str = ""
    backend: Literal["database", "memory"] = "database"
    style: tables.Style = "state"
    busy_seconds: Seconds = 5.0
    """Time that a writer waits for another writer on SQLite."""
    lease_seconds: Seconds = 8.0
    """Time until another run can take over the messages and events of a killed run."""

    @classmethod
    def for_file(cls, path: Path) -> Settings:
        """Return settings with a database named after the file, unless DATABASE_URL is set."""
        settings = cls.from_env()
        if "DATABASE_URL" in os.environ:
            return settings
        ending = "db" if settings.style == "state" else "events.db"
        url = URL.create("sqlite+aiosqlite", database=f"{path.stem}.{ending}")
        return replace(settings, database_url=url.render_as_string())


@dataclass(frozen=True)
class System:
    """Application that is ready to use."""

    mediator: Mediator
    relay: OutboxRelay
    outbox: ILeasedOutbox
    uow_factory: Callable[[], UnitOfWork]
    events: IEventLog
    worker: ProjectionWorker
    """Worker of the order list."""
    positions: IPositionStore
    dead_letters: IDeadLetterStore
    rebuild: Callable[..., ProjectionRebuild]
    """Factory of a rebuild for a projection handler; it accepts ``on_progress`` as well."""


@dataclass(frozen=True)
class _Adapters:
    """Adapters of one backend."""

    uow_factory: Callable[[], UnitOfWork]
    outbox: ILeasedOutbox
    placed: IRepository[Order, str]
    customers: IRepository[CustomerSales, str]
    countries: IRepository[CountrySales, str]
    events: IEventLog
    documents: IProjectionStore
    positions: IPositionStore
    dead_letters: IDeadLetterStore


@asynccontextmanager
async def open_system(settings: Settings, *, read_only: bool = False) -> AsyncIterator[System]:
    """Open the application, and create missing tables unless it is read only.

    Raises ``ConfigError`` or ``InfrastructureError`` if the database cannot be used.
    """
    if settings.backend == "memory":
        adapters = _build_memory_adapters()
        await _begin_projections(adapters)
        yield _assemble(adapters, settings)
        return
    engine = build_engine(
        settings.database_url, busy_seconds=settings.busy_seconds, read_only=read_only
    )
    try:
        await prepare(engine, settings.style, read_only=read_only)
        adapters = _build_database_adapters(engine)
        if not read_only:
            await _begin_projections(adapters)
        yield _assemble(adapters, settings)
    finally:
        await engine.dispose()


def _assemble(adapters: _Adapters, settings: Settings) -> System:
    handlers = HandlerRegistry()
    placed = adapters.placed
    if settings.style == "events":
        # Works on every backend, because the event store comes from the unit of work.
        placed = EventSourcedRepository(Order, registry=events)
    OrderHandlers(placed).register(handlers)
    SalesQueries(adapters, adapters.documents).register(handlers)
    mediator = Mediator(
        handlers,
        uow_factory=adapters.uow_factory,
        middlewares=[
            # Imports that run at the same time change the same orders and days.
            ConflictRetryMiddleware(
                ExponentialBackoffPolicy(max_attempts=20, base=0.01, maximum=1.0)
            ),
            InlineProjectionMiddleware([DailyRevenue()], positions=adapters.positions),
            IdempotencyMiddleware(),
            EventStorePersistenceMiddleware(),
            OutboxMiddleware(),
        ],
    )
    consumer = InboxConsumer("sales", SalesProjection(adapters), uow_factory=adapters.uow_factory)
    relay = OutboxRelay(
        adapters.outbox,
        _DirectPublisher(consumer),
        retry=ExponentialBackoffPolicy(max_attempts=20, base=0.05, maximum=2.0),
        batch=BATCH,
        lease=settings.lease_seconds,
        # Longer than `busy_seconds`, because the consumer may wait that long for a writer.
        publish_timeout=settings.lease_seconds * 3 / 4,
    )
    following: dict[str, Any] = {
        "events": adapters.events,
        "positions": adapters.positions,
        "dead_letters": adapters.dead_letters,
        "uow_factory": adapters.uow_factory,
        "lease": settings.lease_seconds,
    }
    return System(
        mediator,
        relay,
        adapters.outbox,
        adapters.uow_factory,
        adapters.events,
        ProjectionWorker([OrderSummaries()], batch=EVENTS, poll_interval=0.2, **following),
        adapters.positions,
        adapters.dead_letters,
        partial(ProjectionRebuild, **following),
    )


class _DirectPublisher(IMessagePublisher):
    """Publisher that calls the consumer directly instead of a message broker.

    It handles one message at a time, because most messages change the row of the same country.
    """

    def __init__(self, consumer: InboxConsumer) -> None:
        self._consumer = consumer
        self._lock = asyncio.Lock()

    async def publish(self, message: OutboxMessage) -> None:
        async with self._lock:
            await self._consumer(message)


def _build_memory_adapters() -> _Adapters:
    event_store, outbox, inbox = InMemoryEventStore(), InMemoryOutboxStorage(), InMemoryInbox()
    documents = InMemoryProjectionStore()
    return _Adapters(
        uow_factory=lambda: InMemoryUnitOfWork(event_store, outbox, inbox, projections=documents),
        outbox=outbox,
        placed=InMemoryRepository(Order),
        customers=InMemoryRepository(CustomerSales),
        countries=InMemoryRepository(CountrySales),
        events=event_store,
        documents=documents,
        positions=InMemoryPositionStore(),
        dead_letters=InMemoryDeadLetterStore(),
    )


def _build_database_adapters(engine: AsyncEngine) -> _Adapters:
    sessions = async_sessionmaker(engine)
    return _Adapters(
        uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions),
        outbox=SQLAlchemyOutboxStorage(sessions),
        placed=SQLAlchemyRepository(Order, tables.OrderModel, sessions),
        customers=SQLAlchemyRepository(CustomerSales, tables.CustomerSalesModel, sessions),
        countries=SQLAlchemyRepository(CountrySales, tables.CountrySalesModel, sessions),
        events=SQLAlchemyEventStore(sessions),
        documents=SQLAlchemyProjectionStore(sessions),
        positions=SQLAlchemyPositionStore(sessions),
        dead_letters=SQLAlchemyDeadLetterStore(sessions),
    )


async def _begin_projections(adapters: _Adapters) -> None:
    for handler in (OrderSummaries(), DailyRevenue()):
        await adapters.documents.ensure_collection(handler.collection, handler.fields)
    async with adapters.uow_factory() as uow:
        # Marks the projection as inline before a rebuild could register it for workers.
        await adapters.positions.lock_shared(DailyRevenue.collection, uow=uow)
