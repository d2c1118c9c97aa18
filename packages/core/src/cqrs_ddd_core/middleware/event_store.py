"""Every event of a unit of work into the event store, in its transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from ..context import get_tenant_id, get_user_id
from ..ports.event_store import IEventStore, IEventStoreProvider, StoredEvent
from ..ports.middleware import IMiddleware, Placement
from ..ports.unit_of_work import get_current_uow
from ..primitives.exceptions import InvalidOperationError


class EventStorePersistenceMiddleware(IMiddleware):
    """Appends the events to ``uow.event_store``; tenant and user go into their metadata.

    Those that an event-sourced repository has appended already are left out.
    """

    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        response = await next_(message)
        if response.events:
            uow = get_current_uow()
            events = list(response.events)
            if uow is not None:
                events = uow.aggregates.exclude_appended(events)
            if events:
                metadata = request_metadata()
                stored = [StoredEvent.from_event(event, metadata) for event in events]
                await _event_store_of(uow).append_batch(stored)
        return response


def request_metadata() -> dict[str, object]:
    """Tenant and user of the running request, as every stored event tells them."""
    facts = {"tenant_id": get_tenant_id(), "user_id": get_user_id()}
    return {name: value for name, value in facts.items() if value is not None}


def _event_store_of(uow: object) -> IEventStore:
    if not isinstance(uow, IEventStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no event_store; use a unit of work that does, or leave "
            "EventStorePersistenceMiddleware out"
        )
    return uow.event_store
