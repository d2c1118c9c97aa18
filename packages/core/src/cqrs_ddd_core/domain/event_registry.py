"""From stored names back to event classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import pydantic

from ..primitives.exceptions import DuplicateTypeError, SerializationError
from ..primitives.type_registry import TypeRegistry
from .events import DomainEvent, defined_events

E = TypeVar("E", bound=DomainEvent)


class StoredForm(Protocol):
    """An event as stored; the envelope is read from further attributes where there are some."""

    @property
    def event_type(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...


class EventTypeRegistry(TypeRegistry[DomainEvent]):
    """A closed table of the event classes that may be read back."""

    def __init__(self) -> None:
        super().__init__("event type")

    def register(self, event_class: type[E]) -> type[E]:
        """Usable as a decorator; raises ``DuplicateTypeError``."""
        self.add(event_class.event_type, event_class)
        return event_class

    def decode(self, stored: StoredForm) -> DomainEvent:
        """Raises ``UnknownTypeError`` and ``SerializationError``, also for an event that says it is
        of another schema version than its class.
        """
        event_class = self.get(stored.event_type)
        version = getattr(stored, "schema_version", event_class.schema_version)
        if version != event_class.schema_version and version is not None:
            raise SerializationError(
                f"stored {stored.event_type} is of schema version {version}, and "
                f"{event_class.__qualname__} of {event_class.schema_version}; decode it by an "
                "UpcastingEventRegistry of cqrs-ddd-advanced-core",
                type_name=stored.event_type,
            )
        envelope = {
            field: value
            for field, column in _ENVELOPE_COLUMNS.items()
            if (value := getattr(stored, column, None)) is not None
        }
        try:
            return event_class.model_validate({**stored.payload, **envelope})
        except pydantic.ValidationError as error:
            raise SerializationError(
                f"stored {stored.event_type} {envelope.get('event_id', '')} does not fit "
                f"{event_class.__qualname__}: {error}; register an upcaster for its schema version",
                type_name=stored.event_type,
            ) from error


class _DefinedEvents(EventTypeRegistry):
    """All event classes that were ever defined, found by name without registering them."""

    def get(self, name: str) -> type[DomainEvent]:
        candidates = defined_events.get(name)
        if not candidates:
            return super().get(name)
        if len(candidates) > 1:
            raise DuplicateTypeError(
                f"event type {name!r} is the name of {', '.join(sorted(candidates))}; give one an "
                "event_type of its own, or set event_registry on the aggregate",
                name=name,
            )
        (event_class,) = candidates.values()
        return event_class


default_event_registry = _DefinedEvents()
"""Every event class of the process; a name that two of them have cannot be read through it."""

_ENVELOPE_COLUMNS = {
    "event_id": "event_id",
    "occurred_at": "occurred_at",
    "aggregate_id": "aggregate_id",
    "aggregate_type": "aggregate_type",
    "aggregate_version": "version",
    "correlation_id": "correlation_id",
    "causation_id": "causation_id",
    "metadata": "metadata",
}
