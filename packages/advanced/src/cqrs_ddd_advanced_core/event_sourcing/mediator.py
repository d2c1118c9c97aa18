"""A mediator with the event store wired."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cqrs_ddd_core.cqrs.mediator import Mediator
from cqrs_ddd_core.cqrs.registry import HandlerRegistry
from cqrs_ddd_core.middleware.event_store import EventStorePersistenceMiddleware
from cqrs_ddd_core.middleware.outbox import OutboxMiddleware
from cqrs_ddd_core.ports.event_dispatcher import IEventDispatcher
from cqrs_ddd_core.ports.middleware import IMiddleware
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork


class EventSourcedMediator(Mediator):
    """A ``Mediator`` that keeps every event, and nothing more than that.

    The events of event-sourced aggregates are in the event store once, by their repository; those
    of all others follow by ``EventStorePersistenceMiddleware``, which stands innermost here. What
    is the outbox's comes from ``outbox``, in the same commit.
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
        last = [EventStorePersistenceMiddleware()]
        super().__init__(
            handlers,
            uow_factory=uow_factory,
            middlewares=[*middlewares, *([outbox] if outbox is not None else []), *last],
            event_dispatcher=event_dispatcher,
        )
