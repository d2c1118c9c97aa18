"""Event registry that decodes stored events of any schema version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
from pydantic_core import from_json, to_json

from cqrs_ddd_core import DomainEvent, EventTypeRegistry, SerializationError, StoredEvent
from cqrs_ddd_core.domain.events import StoredForm
from cqrs_ddd_core.primitives.exceptions import ConcealedError, describe_error

from ..exceptions import UpcastingError
from .upcasters import Payload, UpcasterRegistry

E = TypeVar("E", bound=DomainEvent)


class UpcastingEventRegistry(EventTypeRegistry):
    """Event registry that upcasts events of older schema versions before it decodes them.

    Set it as ``event_registry`` of an aggregate, and pass it to ``decode_event`` for messages, so
    that every stored event is upcast.

    Args:
        upcasters: the upcasters; by default none.
        events: registry in which classes are found that are not registered here, such as
            ``default_event_registry``.

    Raises:
        UpcasterChainError: the upcasters of an event type do not end at the schema version of
            its class.
        UnknownTypeError: ``events`` is given, and an event type with upcasters has no class.
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
        """Add an event class; raise ``UpcasterChainError`` if its chain ends at another version."""
        self.upcasters.ensure_fits(event_class)
        return super().register(event_class)

    def get(self, name: str) -> type[DomainEvent]:
        """Return the event class of this name, from this registry or else from ``events``."""
        if self._events is None or name in self._types:
            return super().get(name)
        return self._events.get(name)

    def verify(self) -> None:
        """Check the chains of all event types.

        Raises:
            UnknownTypeError: an event type with upcasters has no class.
            UpcasterChainError: the upcasters of an event type do not end at the schema version of
                its class.
        """
        for event_type in self.upcasters:
            self.upcasters.ensure_fits(self.get(event_type))

    def decode(self, stored: StoredForm) -> DomainEvent:
        """Return the event as an instance of its class, at the current schema version.

        Raises:
            UpcastingError: an upcaster is missing or fails, or the event has a newer version.
            UnknownTypeError: the event type has no class.
            SerializationError: the payload does not fit the class.
        """
        event_class = self._types.get(stored.event_type) or self.get(stored.event_type)
        if not isinstance(stored, StoredEvent):
            return super().decode(
                _CurrentForm(stored, self._upcast(stored, event_class), event_class)
            )
        # Speed matters, since every load decodes every event: one dict is filled in place, and
        # texts of the store bypass the properties that would cache the parsed values.
        facts = stored.__dict__
        if facts["schema_version"] == event_class.schema_version:
            fields = _read_payload(stored, facts.get("payload_json"))
        else:
            fields = dict(self._upcast(stored, event_class))
        fields["event_id"] = facts["event_id"]
        fields["occurred_at"] = facts.get("occurred_text") or stored.occurred_at
        fields["aggregate_id"] = facts["aggregate_id"]
        fields["aggregate_type"] = facts["aggregate_type"]
        fields["aggregate_version"] = facts["version"]
        fields["correlation_id"] = facts["correlation_id"]
        fields["causation_id"] = facts["causation_id"]
        is_empty = facts.get("metadata_json") == "{}" and not facts["tenant_id"]
        fields["metadata"] = {} if is_empty else stored.metadata
        try:
            event: DomainEvent = event_class.json_form().read(fields)
        except pydantic.ValidationError as error:
            problem = f"does not fit {event_class.__qualname__}: {describe_error(error)}"
            raise _build_unreadable_error(stored, problem) from ConcealedError(error)
        return event

    def _upcast(self, stored: StoredForm, event_class: type[DomainEvent]) -> Payload:
        version: object = getattr(stored, "schema_version", None)
        wanted = event_class.schema_version
        if version is None or version == wanted:
            return _read_payload(stored, getattr(stored, "payload_json", None))
        if not isinstance(version, int):
            raise UpcastingError(
                f"stored {stored.event_type} has schema version {version!r}, not a number; "
                "repair the stored event",
                event_type=stored.event_type,
                class_version=wanted,
            )
        # An upcaster may change its argument, but must not change the stored payload.
        own = _read_payload(stored, getattr(stored, "payload_json", None))
        copy = from_json(to_json(own))
        return self.upcasters.upcast(stored.event_type, copy, stored=version, wanted=wanted)


def add_upcasting(events: EventTypeRegistry) -> EventTypeRegistry:
    """Return an event registry that upcasts: ``events`` itself if it does, else one around it."""
    if type(events).decode is EventTypeRegistry.decode:
        return UpcastingEventRegistry(events=events)
    return events


class _CurrentForm:
    """Stored form with the payload at the current schema version."""

    def __init__(
        self, stored: StoredForm, payload: Payload, event_class: type[DomainEvent]
    ) -> None:
        self._stored = stored
        self.event_type = stored.event_type
        self.payload = payload
        self.schema_version = event_class.schema_version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stored, name)


def _read_payload(stored: StoredForm, text: str | None) -> dict[str, Any]:
    """Return a new dict, parsed from ``text`` if the store has the payload as text."""
    try:
        payload: object = stored.payload if text is None else from_json(text)
    except ValueError as error:
        raise _build_unreadable_error(stored, "is not JSON") from ConcealedError(error)
    if text is not None and payload.__class__ is dict:
        return payload
    if isinstance(payload, Mapping):
        return dict(payload)
    raise _build_unreadable_error(
        stored, f"has a {type(payload).__name__} as its payload, which is not a JSON object"
    )


def _build_unreadable_error(stored: StoredForm, problem: str) -> SerializationError:
    event_id = getattr(stored, "event_id", "")
    return SerializationError(
        f"stored {stored.event_type} {event_id} {problem}; register an upcaster for its schema "
        "version, or repair it",
        type_name=stored.event_type,
    )
