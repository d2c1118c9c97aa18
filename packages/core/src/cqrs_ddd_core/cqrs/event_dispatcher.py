"""Events to the handlers of this process."""

from __future__ import annotations

from collections.abc import Sequence

from ..correlation import correlation_scope, get_correlation_id
from ..domain.events import DomainEvent
from ..ports.event_dispatcher import IEventDispatcher
from .registry import HandlerRegistry


class EventDispatcher(IEventDispatcher):
    """Calls the registered handlers in order; what they send is caused by the event."""

    def __init__(self, handlers: HandlerRegistry) -> None:
        self._handlers = handlers

    async def dispatch(self, events: Sequence[DomainEvent]) -> None:
        for event in events:
            handlers = self._handlers.event_handlers_for(type(event))
            if not handlers:
                continue
            with correlation_scope(event.correlation_id or get_correlation_id(), event.event_id):
                for handler in handlers:
                    await handler.call(event)
