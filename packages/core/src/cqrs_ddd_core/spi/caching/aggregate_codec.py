"""Codec of aggregates in a cache: JSON, under keys that contain the shape and the tenant."""

import logging
from typing import Any, Generic, TypeVar

import pydantic

from ...domain.aggregate import AggregateRoot
from ...primitives.exceptions import (
    ConfigError,
    DomainError,
    SerializationError,
    describe_error,
)
from ...primitives.json_form import JsonForm
from ..inbox import compute_fingerprint
from ..json_fidelity import extract_shape
from ..tenancy import get_row_tenant

T = TypeVar("T", bound=AggregateRoot)

logger = logging.getLogger(__name__)


def build_key_prefix(type_: type, schema: object) -> str:
    """Return a prefix with a hash of the class's shape, so that older states are never read."""
    return (
        f"{type_.__module__}.{type_.__qualname__}:{compute_fingerprint(extract_shape(schema))[:12]}"
    )


def build_key(prefix: str, value_id: object) -> str:
    """Return the key of one value, for the tenant of the running request.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """
    # Literals, or tenant "a" with id "b:c" would share a key with tenant "a:b" and id "c". The id
    # is text, so that a UUID and its text share a key, and one change invalidates both.
    return f"{prefix}:{get_row_tenant('use a cached value')!r}:{str(value_id)!r}"


class AggregateCodec(Generic[T]):
    """Codec of the states of one type of aggregate.

    Args:
        entity_type: class of the aggregates.

    Raises:
        ConfigError: the JSON of the class omits or masks fields.
    """

    def __init__(self, entity_type: type[T]) -> None:
        try:
            self._form: JsonForm[T] = JsonForm(entity_type, entity_type.__name__)
        except SerializationError as error:
            raise ConfigError(
                f"{entity_type.__name__} cannot be cached, as the next save would lose a value: "
                f"{error}, or use the repository without a cache"
            ) from error
        self._prefix = build_key_prefix(entity_type, entity_type.model_json_schema())

    def key(self, entity_id: object) -> str:
        """Return the key of an aggregate, for the tenant of the running request."""
        return build_key(self._prefix, entity_id)

    def encode(self, aggregate: T) -> dict[str, Any] | None:
        """Return the state, or None for an aggregate that JSON does not restore unchanged."""
        try:
            content = self._form.write(aggregate)
        except SerializationError as error:
            logger.warning("cannot cache %s %s: %s", self._prefix, aggregate.id, error)
            return None
        return {"version": aggregate.version, "state": content}

    def decode(self, state: Any) -> T | None:
        """Return a new aggregate, or None for a state that does not fit the class."""
        if state is None:
            return None
        try:
            aggregate: T = self._form.read(state["state"])
            version = state["version"]
        except (
            pydantic.ValidationError,
            SerializationError,
            DomainError,
            KeyError,
            TypeError,
        ) as error:
            logger.warning("cached %s is unusable: %s", self._prefix, describe_error(error))
            return None
        aggregate.mark_persisted(version)
        return aggregate
