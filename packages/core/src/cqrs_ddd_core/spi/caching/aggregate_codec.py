"""Codec of aggregates in a cache: JSON, under keys that contain the shape and the tenant."""

import logging
from typing import Any, Generic, TypeVar

import pydantic

from ...context import get_tenant_id
from ...domain.aggregate import AggregateRoot
from ...primitives.exceptions import ConfigError, DomainError
from ..inbox import compute_fingerprint
from ..json_fidelity import describe_reason, extract_shape, has_equal_state, list_lossy_attributes

T = TypeVar("T", bound=AggregateRoot)

logger = logging.getLogger(__name__)


def build_key_prefix(type_: type, schema: object) -> str:
    """Return a prefix with a hash of the class's shape, so that older states are never read."""
    return (
        f"{type_.__module__}.{type_.__qualname__}:{compute_fingerprint(extract_shape(schema))[:12]}"
    )


def build_key(prefix: str, value_id: object) -> str:
    """Return the key of one value, for the tenant of the running request."""
    # Literals, or tenant "a" with id "b:c" would share a key with tenant "a:b" and id "c". The id
    # is text, so that a UUID and its text share a key, and one change invalidates both.
    return f"{prefix}:{get_tenant_id()!r}:{str(value_id)!r}"


class AggregateCodec(Generic[T]):
    """Codec of the states of one type of aggregate.

    Args:
        entity_type: class of the aggregates.

    Raises:
        ConfigError: the JSON of the class omits or masks fields.
    """

    def __init__(self, entity_type: type[T]) -> None:
        lost = list_lossy_attributes(entity_type)
        if lost:
            raise ConfigError(
                f"{entity_type.__name__} cannot be cached: its JSON leaves out or masks "
                f"{', '.join(lost)}, and the next save would lose them; use the repository without "
                "a cache, or fields without exclude=True and Secret types"
            )
        self._entity_type = entity_type
        self._prefix = build_key_prefix(entity_type, entity_type.model_json_schema())

    def key(self, entity_id: object) -> str:
        """Return the key of an aggregate, for the tenant of the running request."""
        return build_key(self._prefix, entity_id)

    def encode(self, aggregate: T) -> dict[str, Any] | None:
        """Return the state, or None for an aggregate that JSON does not restore unchanged."""
        try:
            content = aggregate.model_dump(mode="json", by_alias=True)
        except ValueError as error:  # From pydantic, or from bytes that are not UTF-8.
            logger.warning(
                "cannot cache %s %s: %s", self._prefix, aggregate.id, describe_reason(error)
            )
            return None
        state = {"version": aggregate.version, "state": content}
        if not has_equal_state(self.decode(state), aggregate):
            logger.warning(
                "cannot cache %s %s: JSON does not restore it unchanged",
                self._prefix,
                aggregate.id,
            )
            return None
        return state

    def decode(self, state: Any) -> T | None:
        """Return a new aggregate, or None for a state that does not fit the class."""
        if state is None:
            return None
        try:
            # Never strict, even if the class is: JSON has no times, no tuples and no bytes.
            aggregate = self._entity_type.model_validate(state["state"], strict=False)
            version = state["version"]
        except (pydantic.ValidationError, DomainError, KeyError, TypeError) as error:
            logger.warning("cached %s is unusable: %s", self._prefix, describe_reason(error))
            return None
        aggregate.mark_persisted(version)
        return aggregate
