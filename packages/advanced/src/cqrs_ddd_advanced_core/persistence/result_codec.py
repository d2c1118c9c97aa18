"""Read models as a cache keeps them."""

from __future__ import annotations

import logging
from typing import Any

import pydantic
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.spi.caching.aggregate_codec import key_of, key_prefix
from cqrs_ddd_core.spi.json_fidelity import holds_the_same, reason_of

logger = logging.getLogger(__name__)


class ResultCodec:
    """Of one type: a pydantic model, a dataclass, or what else pydantic knows as JSON.

    Raises ``ConfigError`` for a type that it does not.
    """

    def __init__(self, result_type: type[Any]) -> None:
        try:
            self._adapter = pydantic.TypeAdapter[Any](result_type)
            schema = self._adapter.json_schema()
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise ConfigError(
                f"{result_type.__name__} cannot be cached: {error.message.splitlines()[0]}"
            ) from error
        self._prefix = key_prefix(result_type, schema)

    def key(self, value_id: object) -> str:
        return key_of(self._prefix, value_id)

    def encode(self, value: Any) -> Any | None:
        """None for what would not come back from JSON as it is."""
        try:
            content = self._adapter.dump_python(value, mode="json", by_alias=True, warnings="error")
            state = {"result": content}
            is_same = holds_the_same(self.decode(state), value)
        except Exception as error:  # Serialisers and comparisons may be the application's own.
            logger.warning("cannot cache %s: %s", self._prefix, reason_of(error))
            return None
        if not is_same:
            logger.warning("cannot cache %s: a value comes back changed from JSON", self._prefix)
            return None
        return state

    def decode(self, state: Any) -> Any | None:
        """A copy of its own; None for what is not, or no longer, such a state."""
        if state is None:
            return None
        try:
            # Not strict, whatever the type says: JSON has no times, no tuples and no bytes.
            return self._adapter.validate_python(state["result"], strict=False)
        except Exception as error:  # Validators are the application's own.
            logger.warning("cached %s is unusable: %s", self._prefix, reason_of(error))
            return None
