"""Mediator that writes all events to the event store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cqrs_ddd_core import HandlerRegistry, IEventDispatcher, IMiddleware, Mediator, UnitOfWork
from cqrs_ddd_core.middleware import EventStorePersistenceMiddleware, OutboxMiddleware


class EventSourcedMediator(Mediator):
    """Mediator with ``EventStorePersistenceMiddleware`` as its innermost middleware.

    Repositories append the events of event-sourced aggregates; the middleware appends all other
    events, so that each event is stored once.

    Args:
        handlers: registry of command, query and event handlers.
        uow_factory: creates the unit of work of each root command.
        query_uow_factory: creates the read-only unit of work of a query, in which event-sourced
            repositories load; without it, queries have none.
        middlewares: further middlewares, outside the event store.
        event_dispatcher: calls the event handlers.
        outbox: saves messages in the same commit as the events.
    """

    def __init__(
        self,
        handlers: HandlerRegistry,
        *,
        uow_factory: Callable[[], UnitOfWork],
        query_uow_factory: Callable[[], UnitOfWork] | None = None,
        middlewares: Sequence[IMiddleware] = (),
        event_dispatcher: IEventDispatcher | None = None,
        outbox: OutboxMiddleware | None = None,
    ) -> None:
        innermost = [*([outbox] if outbox is not None else []), EventStorePersistenceMiddleware()]
        super().__init__(
            handlers,
            uow_factory=uow_factory,
            query_uow_factory=query_uow_factory,
            middlewares=[*middlewares, *innermost],
            event_dispatcher=event_dispatcher,
        )
