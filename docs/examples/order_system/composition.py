"""Composition root: the only module that chooses the backend."""

from __future__ import annotations

from dataclasses import dataclass

from cqrs_ddd_advanced_core import ConflictRetryMiddleware, EventSourcedRepository, Projections
from cqrs_ddd_core import (
    Application,
    ExponentialBackoffPolicy,
    IBackend,
    InboxConsumer,
    InMemoryBackend,
    OutboxRelay,
    Retention,
    TimeoutMiddleware,
    standard_middlewares,
)

from . import domain, sales, tables
from .application import OrderHandlers
from .database import OrderDatabase
from .projections import DailyRevenue, OrderSummaries
from .settings import Settings

BATCH = 10
"""Messages of a relay batch, which are handled one by one and all within the lease."""
EVENTS = 100
"""Events of a projection batch, which are in memory at the same time."""


@dataclass(frozen=True)
class System:
    """Application, and the background services that an import drives itself."""

    app: Application
    relay: OutboxRelay
    projections: Projections


def create_system(settings: Settings, *, read_only: bool = False) -> System:
    """Create the application; if it is read only, it can only report on an existing database.

    Raises ``ConfigError`` for settings that cannot be used.
    """
    backend = _create_backend(settings, read_only=read_only)
    sales_tables = sales.SalesTables(
        customers=backend.repository(sales.CustomerSales, tables.CustomerSalesModel),
        countries=backend.repository(sales.CountrySales, tables.CountrySalesModel),
    )
    relay = _create_relay(backend, sales_tables, lease=settings.lease_seconds)
    projections = Projections(
        [] if read_only else [OrderSummaries()],
        inline=[] if read_only else [DailyRevenue()],
        batch=EVENTS,
        poll_interval=0.2,
        lease=settings.lease_seconds,
    )
    # Imports that run at the same time change the same orders and days.
    retry = ExponentialBackoffPolicy(max_attempts=20, base=0.01, maximum=1.0)
    app = Application(
        backend,
        middlewares=standard_middlewares(
            ConflictRetryMiddleware(retry), TimeoutMiddleware(settings.command_seconds)
        ),
        relay=relay,
        services=[projections, Retention()],
    )
    if settings.style == "state":
        OrderHandlers(backend.repository(domain.Order, tables.OrderModel)).register(app.handlers)
    else:
        orders = EventSourcedRepository(domain.Order, registry=domain.events)
        OrderHandlers(orders).register(app.handlers)
    sales.SalesQueries(sales_tables, projections.documents).register(app.handlers)
    return System(app, relay, projections)


def create_application() -> Application:
    """Create the application for ``python -m cqrs_ddd_core.application``, which runs its services.

    Raises ``ConfigError`` for an invalid environment variable.
    """
    return create_system(Settings.from_env()).app


def _create_backend(settings: Settings, *, read_only: bool) -> IBackend:
    if settings.backend == "memory":
        return InMemoryBackend()
    return OrderDatabase(settings, read_only=read_only)


def _create_relay(
    backend: IBackend, sales_tables: sales.SalesTables, *, lease: float
) -> OutboxRelay:
    reserved = backend.background
    consumer = InboxConsumer(
        "sales", sales.SalesProjection(sales_tables), uow_factory=reserved.unit_of_work
    )
    return OutboxRelay(
        reserved.outbox,
        sales.DirectPublisher(consumer),
        retry=ExponentialBackoffPolicy(max_attempts=20, base=0.05, maximum=2.0),
        batch=BATCH,
        lease=lease,
        # Longer than `busy_seconds`, because the consumer may wait that long for a writer.
        publish_timeout=lease * 3 / 4,
        signal=reserved.signal,
    )
