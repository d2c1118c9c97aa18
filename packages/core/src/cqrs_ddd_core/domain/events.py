"""Domain events, and the registries that find their classes by stored name."""

import inspect
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar, Protocol, TypeVar

import pydantic

from ..correlation import get_causation_id, get_correlation_id
from ..primitives import (
    copying,
    exceptions,
    id_generator,
    immutable,
    json_form,
    named_arguments,
    type_registry,
)

D = TypeVar("D", bound="DomainEvent")


def utc_now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(timezone.utc)


class DomainEvent(named_arguments.NamedArguments, immutable.ImmutableModel):
    """Record of something that happened; subclass it and add the facts worth remembering as fields.

    The fields below are the envelope. The aggregate sets ``aggregate_id``, ``aggregate_type`` and
    ``aggregate_version`` when it records the event.

    Attributes:
        event_id: unique id; a time-ordered UUID by default.
        occurred_at: time of the event (aware); ``NaiveDatetimeError`` is raised without a time
            zone.
        aggregate_id: id of the aggregate as text.
        aggregate_type: stored name of the aggregate's class.
        aggregate_version: version of the aggregate after the event, counted from 1.
        correlation_id: id that all messages of one request share; by default of the running
            request.
        causation_id: id of the message that caused the event; by default the message being handled.
        metadata: further facts as JSON values, such as tenant and user.

    Example:
        ```python
        from cqrs_ddd_core import DomainEvent

        class OrderPlaced(DomainEvent):
            customer: str

        event = OrderPlaced(customer="ann", metadata={"user": "bob"})
        assert event.event_type == "OrderPlaced"
        ```
    """

    event_type: ClassVar[str] = "DomainEvent"
    """The stored name: the class name, unless the class sets its own."""
    schema_version: ClassVar[int] = 1
    """Version of the stored shape; increase it with each change, and register an upcaster."""
    _content: ClassVar[tuple[str, ...]] = ("metadata",)
    """Names of the fields whose values may be lists, dicts or other objects that can be changed."""
    _json: ClassVar[json_form.JsonForm[Any] | None] = None
    """JSON form of the class; None until the references of its annotations can be resolved."""

    event_id: str = pydantic.Field(default_factory=id_generator.uuid7_text, min_length=1)
    occurred_at: datetime = pydantic.Field(default_factory=utc_now)
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    aggregate_version: int | None = None
    correlation_id: str | None = pydantic.Field(default_factory=get_correlation_id)
    causation_id: str | None = pydantic.Field(default_factory=get_causation_id)
    metadata: dict[str, pydantic.JsonValue] = pydantic.Field(default_factory=dict)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for owner in cls.__mro__[: cls.__mro__.index(DomainEvent)]:
            _ensure_envelope_is_visible(cls, owner)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._json = None
        if cls.__pydantic_complete__:
            cls.json_form()
        if "event_type" not in cls.__dict__:
            cls.event_type = cls.__name__
        cls._content = ("metadata", *(name for name in cls.model_fields if name not in ENVELOPE))
        # By path, so that reloading a module replaces its classes.
        defined_events.setdefault(cls.event_type, {})[get_path(cls)] = cls

    @pydantic.field_validator("occurred_at")
    @classmethod
    def _has_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise exceptions.NaiveDatetimeError.without_zone(
                f"{cls.__name__}.occurred_at", value, field="occurred_at"
            )
        return value

    def copy_content(self) -> dict[str, Any]:
        """Return copies of the values that can be changed in place, such as lists, by field."""
        values = self.__dict__
        return {
            name: copying.copy_mutable(values[name])
            for name in self._content
            if values.get(name).__class__ not in copying.ATOMS
        }

    def detach(self: D) -> D:
        """Return an equal event that shares no value with this one that can be changed in place."""
        copy = self.__copy__()
        copy.__dict__.update(copy.copy_content())
        return copy

    @classmethod
    def json_form(cls) -> json_form.JsonForm[Any]:
        """Return the form in which the fields outside the envelope are stored."""
        if cls._json is None:
            cls._json = json_form.JsonForm(cls, cls.__name__, exclude=ENVELOPE)
        return cls._json

    def payload(self) -> dict[str, Any]:
        """Return the fields outside the envelope as JSON values, by name.

        Raises:
            SerializationError: a value cannot be written as JSON, or would come back changed.
        """
        payload: dict[str, Any] = (self._json or self.json_form()).write(self)
        return payload


ENVELOPE = frozenset(DomainEvent.model_fields)
"""The names of the envelope's fields."""

_RESERVED = ENVELOPE | {name for name in vars(DomainEvent) if name[0] != "_"} - {"model_config"}


def _ensure_envelope_is_visible(event_class: type, owner: type) -> None:
    annotations = inspect.get_annotations(owner)
    for name in _RESERVED.intersection(annotations):
        if "ClassVar" not in str(annotations[name]):
            raise exceptions.ConfigError(
                f"{event_class.__name__} has a field {name}, which hides {name} of every event; "
                "give the field another name"
            )


GENERIC_ADVICE = (
    "a generic event, whose stored form would not say its types; define an event for them, such as "
    "class PriceChanged(Changed[int])"
)
"""End of the errors for generic events."""


def is_generic(event_class: type) -> bool:
    """Return whether the class is generic, such as ``Changed`` or ``Changed[int]``."""
    generic: Mapping[str, Any] = getattr(event_class, "__pydantic_generic_metadata__", {})
    return bool(generic.get("args") or generic.get("parameters"))


def get_path(class_: type) -> str:
    """Return the path of a class, which stays the same when its module is reloaded."""
    return f"{class_.__module__}.{class_.__qualname__}"


defined_events: dict[str, dict[str, type[DomainEvent]]] = {}
"""Every event class of the process: by stored name, then by path."""

E = TypeVar("E", bound=DomainEvent)


class StoredForm(Protocol):
    """Event as stored; envelope fields are read from further attributes if the object has them."""

    @property
    def event_type(self) -> str:
        """Stored name of the event class."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """Fields outside the envelope, as JSON values."""
        ...


class EventTypeRegistry(type_registry.TypeRegistry[DomainEvent]):
    """Registry of the event classes that stored events may be decoded to."""

    def __init__(self) -> None:
        super().__init__("event type")

    def register(self, event_class: type[E]) -> type[E]:
        """Register a class under its ``event_type`` and return it, so this can be a decorator.

        Raises:
            DuplicateTypeError: this or another class is registered under the name.
            TypeRegistryError: the class is generic.
        """
        if is_generic(event_class):
            raise exceptions.TypeRegistryError(
                f"cannot register {event_class.__name__}, {GENERIC_ADVICE}",
                name=event_class.event_type,
            )
        self.add(event_class.event_type, event_class)
        return event_class

    def decode(self, stored: StoredForm) -> DomainEvent:
        """Return the event that ``stored`` contains, as an instance of its class.

        Raises:
            UnknownTypeError: no class is registered under the event type.
            SerializationError: the payload does not fit the class, or has another schema version.
        """
        event_class = self.get(stored.event_type)
        version = getattr(stored, "schema_version", event_class.schema_version)
        if version != event_class.schema_version and version is not None:
            raise exceptions.SerializationError(
                f"stored {stored.event_type} has schema version {version}, but "
                f"{event_class.__qualname__} has {event_class.schema_version}; decode it with an "
                "UpcastingEventRegistry of cqrs-ddd-advanced-core",
                type_name=stored.event_type,
            )
        envelope = {
            field: value
            for field, column in _ENVELOPE_COLUMNS.items()
            if (value := getattr(stored, column, None)) is not None
        }
        # The reader has a request of its own, whose ids would be the defaults.
        own = {"correlation_id": None, "causation_id": None}
        try:
            event: DomainEvent = event_class.json_form().read({**stored.payload, **own, **envelope})
        except pydantic.ValidationError as error:
            raise exceptions.SerializationError(
                f"stored {stored.event_type} {envelope.get('event_id', '')} does not fit "
                f"{event_class.__qualname__}: {exceptions.describe_error(error)}; register an "
                "upcaster for its schema version",
                type_name=stored.event_type,
            ) from exceptions.ConcealedError(error)
        return event


class _DefinedEvents(EventTypeRegistry):
    """Registry of all event classes of the process, found by name without registration."""

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
"""Registry of every event class of the process; it cannot decode a name that two classes share."""

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
