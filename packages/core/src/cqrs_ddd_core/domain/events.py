"""Facts of the domain."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, ClassVar

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticSerializationError

from ..correlation import get_causation_id, get_correlation_id
from ..primitives.exceptions import NaiveDatetimeError, SerializationError
from ..primitives.id_generator import uuid7_text
from ..primitives.immutable import ImmutableModel


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class DomainEvent(ImmutableModel):
    """Something that happened; subclass it and add what is worth remembering.

    The fields below are the envelope. An aggregate fills in which aggregate, and which version of
    it, when it records the event; the request in progress gives the correlation and causation ids.
    """

    event_type: ClassVar[str] = "DomainEvent"
    """The stored name: the class name, unless the class sets its own."""
    schema_version: ClassVar[int] = 1
    """Raise it when the stored shape changes, and register an upcaster."""

    event_id: str = Field(default_factory=uuid7_text, min_length=1)
    occurred_at: datetime = Field(default_factory=utc_now)
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    aggregate_version: int | None = None
    correlation_id: str | None = Field(default_factory=get_correlation_id)
    causation_id: str | None = Field(default_factory=get_causation_id)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "event_type" not in cls.__dict__:
            cls.event_type = cls.__name__
        # By path, so that reloading a module replaces its classes.
        path = f"{cls.__module__}.{cls.__qualname__}"
        defined_events.setdefault(cls.event_type, {})[path] = cls

    @field_validator("occurred_at")
    @classmethod
    def _has_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise NaiveDatetimeError.without_zone(
                f"{cls.__name__}.occurred_at", value, field="occurred_at"
            )
        return value

    def payload(self) -> dict[str, Any]:
        """The fields beside the envelope, as JSON values; raises ``SerializationError``."""
        try:
            return self.model_dump(mode="json", exclude=ENVELOPE)
        except PydanticSerializationError as error:
            raise SerializationError.not_json(
                f"{self.event_type} {self.event_id}", error, type_name=self.event_type
            ) from error


ENVELOPE = set(DomainEvent.model_fields)
"""The names of the envelope's fields."""

defined_events: dict[str, dict[str, type[DomainEvent]]] = {}
"""Every event class of the process: by stored name, then by path."""
