"""Domain events as stored ones, and back."""

from __future__ import annotations

from collections.abc import Callable

from cqrs_ddd_core.domain.event_registry import EventTypeRegistry, StoredForm
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.middleware.event_store import request_metadata
from cqrs_ddd_core.ports.event_store import StoredEvent

from ..upcasting import with_upcasting


class EventMapper:
    """Maps by one table of event classes, both ways: what it cannot read it does not write."""

    to_domain: Callable[[StoredForm], DomainEvent]
    """In today's shape; raises ``UnknownTypeError`` and ``SerializationError``."""

    def __init__(self, events: EventTypeRegistry) -> None:
        self._events = with_upcasting(events)
        self.to_domain = self._events.decode

    def to_stored(self, event: DomainEvent) -> StoredEvent:
        """With tenant and user of the running request; raises ``UnknownTypeError``."""
        self._events.get(event.event_type)
        return StoredEvent.from_event(event, request_metadata())
