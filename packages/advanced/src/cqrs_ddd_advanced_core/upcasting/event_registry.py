"""From stored events of any age to today's classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
from pydantic_core import from_json, to_json

from cqrs_ddd_core.domain.event_registry import EventTypeRegistry, StoredForm
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.event_store import StoredEvent
from cqrs_ddd_core.primitives.exceptions import SerializationError

from ..exceptions import UpcastingError
from .registry import UpcasterRegistry

E = TypeVar("E", bound=DomainEvent)


class UpcastingEventRegistry(EventTypeRegistry):
    """A table of event classes that upcasts what is of an older version before it decodes it.

    Set it as ``event_registry`` of an aggregate, and give it to ``decode_event`` for messages: then
    every way from a stored event to a typed one leads through the upcasters. Raises
    ``UpcasterChainError`` for a chain that does not end at the version of its class.

    Args:
        events: another table to find classes in, such as ``default_event_registry``.
    """

    def __init__(
        self, upcasters: UpcasterRegistry | None = None, events: EventTypeRegistry | None = None
    ) -> None:
        super().__init__()
        self.upcasters = upcasters if upcasters is not None else UpcasterRegistry()
        self._events = events
        if events is not None:
            self.verify()

    def register(self, event_class: type[E]) -> type[E]:
        self.upcasters.ensure_fits(event_class)
        return super().register(event_class)

    def get(self, name: str) -> type[DomainEvent]:
        if self._events is None or name in self._types:
            return super().get(name)
        return self._events.get(name)

    def verify(self) -> None:
        """Raises ``UnknownTypeError`` for a chain without a class, else as the constructor."""
        for event_type in self.upcasters:
            self.upcasters.ensure_fits(self.get(event_type))

    def decode(self, stored: StoredForm) -> DomainEvent:
        """Raises ``UpcastingError`` for a missing step and for a version of the future."""
        event_class = self._types.get(stored.event_type) or self.get(stored.event_type)
        if not isinstance(stored, StoredEvent):
            return super().decode(_InShape(stored, self._payload(stored, event_class), event_class))
        # Done for each event of each loading, and written for speed: one dict, filled in place,
        # and what the store keeps as text goes past the properties that would keep the outcome.
        facts = stored.__dict__
        if facts["schema_version"] == event_class.schema_version:
            fields = _own_payload_of(stored, facts.get("payload_json"))
        else:
            fields = dict(self._payload(stored, event_class))
        fields["event_id"] = facts["event_id"]
        fields["occurred_at"] = facts.get("occurred_text") or stored.occurred_at
        fields["aggregate_id"] = facts["aggregate_id"]
        fields["aggregate_type"] = facts["aggregate_type"]
        fields["aggregate_version"] = facts["version"]
        fields["correlation_id"] = facts["correlation_id"]
        fields["causation_id"] = facts["causation_id"]
        fields["metadata"] = {} if facts.get("metadata_json") == "{}" else stored.metadata
        try:
            event: DomainEvent = event_class.__pydantic_validator__.validate_python(fields)
        except pydantic.ValidationError as error:
            problem = f"does not fit {event_class.__qualname__}: {error}"
            raise _unreadable(stored, problem) from error
        return event

    def _payload(self, stored: StoredForm, event_class: type[DomainEvent]) -> Mapping[str, Any]:
        version: object = getattr(stored, "schema_version", None)
        wanted = event_class.schema_version
        if version is None or version == wanted:
            return _own_payload_of(stored, getattr(stored, "payload_json", None))
        if not isinstance(version, int):
            raise UpcastingError(
                f"stored {stored.event_type} has schema version {version!r}, which is no number",
                event_type=stored.event_type,
                class_version=wanted,
            )
        # A copy: an upcaster that changes what it gets must not reach what is stored.
        own = _own_payload_of(stored, getattr(stored, "payload_json", None))
        copy = from_json(to_json(own))
        return self.upcasters.upcast(stored.event_type, copy, stored=version, wanted=wanted)


def with_upcasting(events: EventTypeRegistry) -> EventTypeRegistry:
    """The table itself where it reads old events, else one over it that does.

    The plain table would refuse an event of an older version at best.
    """
    if type(events).decode is EventTypeRegistry.decode:
        return UpcastingEventRegistry(events=events)
    return events


class _InShape:
    """A stored form with the payload that its class expects."""

    def __init__(
        self, stored: StoredForm, payload: Mapping[str, Any], event_class: type[DomainEvent]
    ) -> None:
        self._stored = stored
        self.event_type = stored.event_type
        self.payload = payload
        self.schema_version = event_class.schema_version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stored, name)


def _own_payload_of(stored: StoredForm, text: str | None) -> dict[str, Any]:
    """A dict that nobody else has; parsed from ``text`` where the store keeps that."""
    try:
        payload: object = stored.payload if text is None else from_json(text)
    except ValueError as error:
        raise _unreadable(stored, f"is no JSON: {error}") from error
    if text is not None and payload.__class__ is dict:
        return payload
    if isinstance(payload, Mapping):
        return dict(payload)
    raise _unreadable(stored, f"has {payload!r} for a payload, not an object")


def _unreadable(stored: StoredForm, problem: str) -> SerializationError:
    event_id = getattr(stored, "event_id", "")
    return SerializationError(
        f"stored {stored.event_type} {event_id} {problem}; register an upcaster for its schema "
        "version, or repair it",
        type_name=stored.event_type,
    )
