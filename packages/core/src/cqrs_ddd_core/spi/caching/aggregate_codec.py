"""Aggregates as a cache keeps them: JSON, under keys that tell shapes and tenants apart."""

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
    """Return a prefix with the shape of the class: states of an older shape are never read."""
    return (
        f"{type_.__module__}.{type_.__qualname__}:{compute_fingerprint(extract_shape(schema))[:12]}"
    )


def build_key(prefix: str, value_id: object) -> str:
    """Return the key of one value, for the tenant of the running request."""
    # As literals, or tenant "a" with id "b:c" would share a key with tenant "a:b" and id "c"; the
    # id as text, so that who asks for a UUID by its text sees the change of the aggregate.
    return f"{prefix}:{get_tenant_id()!r}:{str(value_id)!r}"


class AggregateCodec(Generic[T]):
    """The states of one type of aggregate; raises ``ConfigError`` for a type with fields that its
    JSON leaves out or masks."""

    def __init__(self, entity_type: type[T]) -> None:
        lost = list_lossy_attributes(entity_type)
        if lost:
            raise ConfigError(
                f"{entity_type.__name__} cannot be cached: its JSON leaves out or masks "
                f"{', '.join(lost)}, and a save would store that; use the repository without a "
                "cache, or fields without exclude=True and Secret types"
            )
        self._entity_type = entity_type
        self._prefix = build_key_prefix(entity_type, entity_type.model_json_schema())

    def key(self, entity_id: object) -> str:
        return build_key(self._prefix, entity_id)

    def encode(self, aggregate: T) -> dict[str, Any] | None:
        """Return the state; None for an aggregate that would come back changed."""
        try:
            content = aggregate.model_dump(mode="json", by_alias=True)
        except ValueError as error:  # Of pydantic, or of bytes that are no text.
            logger.warning(
                "cannot cache %s %s: %s", self._prefix, aggregate.id, describe_reason(error)
            )
            return None
        state = {"version": aggregate.version, "state": content}
        if not has_equal_state(self.decode(state), aggregate):
            logger.warning(
                "cannot cache %s %s: it comes back changed from JSON", self._prefix, aggregate.id
            )
            return None
        return state

    def decode(self, state: Any) -> T | None:
        """Return a new aggregate; None for a state that is not, or no longer, of this class."""
        if state is None:
            return None
        try:
            # Not strict, whatever the class says: JSON has no times, no tuples and no bytes.
            aggregate = self._entity_type.model_validate(state["state"], strict=False)
            version = state["version"]
        except (pydantic.ValidationError, DomainError, KeyError, TypeError) as error:
            logger.warning("cached %s is unusable: %s", self._prefix, describe_reason(error))
            return None
        aggregate.mark_persisted(version)
        return aggregate
