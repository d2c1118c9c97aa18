"""What every cache takes: keys that are texts, times that are to come, values that JSON has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from ...primitives.exceptions import InvalidOperationError, SerializationError


def refuse_key(key: object) -> None:
    """Raises ``InvalidOperationError`` for no text, an empty one, and one that UTF-8 has not."""
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a cache key is a text, got {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidOperationError(f"a cache key is a text that UTF-8 has, got {key!r}") from None


def refuse_keys(keys: Iterable[object]) -> None:
    for key in keys:
        refuse_key(key)


def refuse_ttl(keys: Collection[str], ttl: float | None) -> None:
    """Raises ``InvalidOperationError``; ``ttl`` is in seconds, None for no limit."""
    if ttl is not None and not ttl > 0:
        raise InvalidOperationError(
            f"cannot keep {', '.join(keys)} for {ttl} s; ttl must be positive, or None for no limit"
        )


def refuse_unleased(values: Iterable[str], leases: Mapping[str, str]) -> None:
    """Raises ``InvalidOperationError`` where a value has no lease."""
    without = [key for key in values if key not in leases]
    if without:
        raise InvalidOperationError(
            f"cannot fill {', '.join(without)} without a lease; fill what lease_many granted"
        )


def json_of(key: str, value: Any) -> bytes:
    """Raises ``SerializationError``."""
    try:
        return to_json(value)
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError(
            f"the value for {key} cannot be written as JSON: {error}; cache JSON values only",
            type_name=type(value).__name__,
        ) from error
