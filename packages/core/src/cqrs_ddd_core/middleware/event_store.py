"""Middleware that appends the events of a command to the event store."""

from typing import Any, ClassVar

from ..context import get_request_metadata
from ..ports import IEventStore, IMiddleware, Next, Placement, StoredEvent, get_current_uow
from ..ports.event_store import IEventStoreProvider
from ..primitives.exceptions import InvalidOperationError


class EventStorePersistenceMiddleware(IMiddleware):
    """Middleware that appends events to ``uow.event_store``, with tenant and user as metadata.

    Events that an event-sourced repository has already appended are left out.
    """

    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 80

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message and append the events of its response."""
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            events = list(response.events)
            if uow is not None:
                events = uow.aggregates.exclude_appended(events)
            if events:
                metadata = get_request_metadata()
                stored = [StoredEvent.from_event(event, metadata) for event in events]
                await _get_event_store(uow).append_batch(stored)
        return response


def _get_event_store(uow: object) -> IEventStore:
    if not isinstance(uow, IEventStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no event_store; use a unit of work that does, or leave "
            "EventStorePersistenceMiddleware out"
        )
    return uow.event_store
