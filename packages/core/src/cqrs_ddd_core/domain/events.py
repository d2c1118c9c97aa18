"""Events of the domain, and the registries that find their classes by name."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar, Protocol, TypeVar

import pydantic
from pydantic_core import PydanticSerializationError

from ..correlation import get_causation_id, get_correlation_id
from ..primitives import exceptions, id_generator, immutable, type_registry


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class DomainEvent(immutable.ImmutableModel):
    """Something that happened; subclass it and add what is worth remembering.

    The fields below are the envelope. An aggregate fills in which aggregate, and which version of
    it, when it records the event; the request in progress gives the correlation and causation ids.
    """

    event_type: ClassVar[str] = "DomainEvent"
    """The stored name: the class name, unless the class sets its own."""
    schema_version: ClassVar[int] = 1
    """Raise it when the stored shape changes, and register an upcaster."""

    event_id: str = pydantic.Field(default_factory=id_generator.uuid7_text, min_length=1)
    occurred_at: datetime = pydantic.Field(default_factory=utc_now)
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    aggregate_version: int | None = None
    correlation_id: str | None = pydantic.Field(default_factory=get_correlation_id)
    causation_id: str | None = pydantic.Field(default_factory=get_causation_id)
    metadata: dict[str, pydantic.JsonValue] = pydantic.Field(default_factory=dict)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "event_type" not in cls.__dict__:
            cls.event_type = cls.__name__
        # By path, so that reloading a module replaces its classes.
        path = f"{cls.__module__}.{cls.__qualname__}"
        defined_events.setdefault(cls.event_type, {})[path] = cls

    @pydantic.field_validator("occurred_at")
    @classmethod
    def _has_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise exceptions.NaiveDatetimeError.without_zone(
                f"{cls.__name__}.occurred_at", value, field="occurred_at"
            )
        return value

    def payload(self) -> dict[str, Any]:
        """The fields beside the envelope, as JSON values; raises ``SerializationError``."""
        try:
            return self.model_dump(mode="json", exclude=ENVELOPE)
        except PydanticSerializationError as error:
            raise exceptions.SerializationError.not_json(
                f"{self.event_type} {self.event_id}", error, type_name=self.event_type
            ) from error


ENVELOPE = set(DomainEvent.model_fields)
"""The names of the envelope's fields."""

defined_events: dict[str, dict[str, type[DomainEvent]]] = {}
"""Every event class of the process: by stored name, then by path."""

E = TypeVar("E", bound=DomainEvent)


class StoredForm(Protocol):
    """An event as stored; the envelope is read from further attributes where there are some."""

    @property
    def event_type(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...


class EventTypeRegistry(type_registry.TypeRegistry[DomainEvent]):
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
            raise exceptions.SerializationError(
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
            raise exceptions.SerializationError(
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
            raise exceptions.DuplicateTypeError(
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
