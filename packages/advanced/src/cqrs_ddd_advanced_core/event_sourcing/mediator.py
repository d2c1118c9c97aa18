"""A mediator that writes all events to the event store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cqrs_ddd_core import HandlerRegistry, IEventDispatcher, IMiddleware, Mediator, UnitOfWork
from cqrs_ddd_core.middleware import EventStorePersistenceMiddleware, OutboxMiddleware


class EventSourcedMediator(Mediator):
    """Mediator whose innermost middleware is ``EventStorePersistenceMiddleware``.

    Repositories append the events of event-sourced aggregates; the middleware appends all others,
    so that each event is stored once. ``outbox`` saves its messages in the same commit.
    """

    def __init__(
        self,
        handlers: HandlerRegistry,
        *,
        uow_factory: Callable[[], UnitOfWork],
        middlewares: Sequence[IMiddleware] = (),
        event_dispatcher: IEventDispatcher | None = None,
        outbox: OutboxMiddleware | None = None,
    ) -> None:
        innermost = [*([outbox] if outbox is not None else []), EventStorePersistenceMiddleware()]
        super().__init__(
            handlers,
            uow_factory=uow_factory,
            middlewares=[*middlewares, *innermost],
            event_dispatcher=event_dispatcher,
        )
