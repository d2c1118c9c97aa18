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
    """Appends the events to ``uow.event_store``; tenant and user go into their metadata."""

    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        response = await next_(message)
        if response.events:
            metadata = _request()
            stored = [StoredEvent.from_event(event, metadata) for event in response.events]
            await _event_store().append_batch(stored)
        return response


def _request() -> dict[str, object]:
    facts = {"tenant_id": get_tenant_id(), "user_id": get_user_id()}
    return {name: value for name, value in facts.items() if value is not None}


def _event_store() -> IEventStore:
    uow: object = get_current_uow()
    if not isinstance(uow, IEventStoreProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no event_store; use a unit of work that does, or leave "
            "EventStorePersistenceMiddleware out"
        )
    return uow.event_store
