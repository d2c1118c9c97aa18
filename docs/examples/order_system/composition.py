"""Where the application meets its adapters: the one place to change them."""

from __future__ import annotations

from cqrs_ddd_core import EventStorePersistenceMiddleware, HandlerRegistry, Mediator
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryRepository,
    InMemoryUnitOfWork,
)

from .application import IOrderRepository, OrderHandlers
from .domain import Order


class InMemoryOrderRepository(InMemoryRepository[Order, str], IOrderRepository):
    """Orders in memory."""


def compose() -> Mediator:
    event_store = InMemoryEventStore()
    handlers = HandlerRegistry()
    OrderHandlers(InMemoryOrderRepository(Order)).register(handlers)
    return Mediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(event_store=event_store),
        middlewares=[EventStorePersistenceMiddleware()],
    )
