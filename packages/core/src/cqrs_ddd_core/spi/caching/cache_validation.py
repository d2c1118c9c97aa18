"""Checks of cache keys, times to live and leases, and the encoding of cached values."""

from collections.abc import Collection, Iterable, Mapping

from ...primitives.exceptions import InvalidOperationError
from ..json_fidelity import encode_json


def ensure_key(key: object) -> None:
    """Raise ``InvalidOperationError`` unless the key is a text that UTF-8 can encode."""
    if not isinstance(key, str) or not key:
        raise InvalidOperationError(f"a cache key must be a non-empty text, got {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidOperationError(
            f"a cache key must be a text that UTF-8 can encode, got {key!r}"
        ) from None


def ensure_keys(keys: Iterable[object]) -> None:
    """Raise ``InvalidOperationError`` unless ``ensure_key`` accepts each of ``keys``."""
    for key in keys:
        ensure_key(key)


def ensure_ttl(keys: Collection[str], ttl: float | None) -> None:
    """Raise ``InvalidOperationError`` unless ``ttl`` (seconds) is positive, or None: no limit."""
    if ttl is not None and not ttl > 0:
        raise InvalidOperationError(
            f"cannot keep {', '.join(keys)} for {ttl} s; ttl must be positive, or None for no limit"
        )


def ensure_leased(values: Iterable[str], leases: Mapping[str, str]) -> None:
    """Raise ``InvalidOperationError`` if a value has no lease."""
    without = [key for key in values if key not in leases]
    if without:
        raise InvalidOperationError(
            f"cannot fill {', '.join(without)} without a lease; fill only keys that lease_many "
            "granted"
        )


def encode_cached_value(key: str, value: object) -> bytes:
    """Encode a value as JSON, which may contain NaN and infinity.

    Raises:
        SerializationError: the value cannot be written as JSON.
    """
    name = type(value).__name__
    return encode_json(value, f"the value for {key}", type_name=name, allow_nan=True)
