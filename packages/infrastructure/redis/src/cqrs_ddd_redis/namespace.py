"""How the keys of a cache are called in Redis."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cqrs_ddd_core.primitives.exceptions import ConfigError

_OWN_PARTS = {"v", "l", "g"}


class Namespace:
    """A name for each value and its lease, and one for the generation of all.

    Raises ``ConfigError`` for a namespace whose names could be those of another one.
    """

    def __init__(self, name: str) -> None:
        if not name or _OWN_PARTS & set(name.split(":")):
            raise ConfigError(
                f"a namespace is a text with no part v, l or g between colons, got {name!r}",
                variable="namespace",
            )
        self._value = f"{name}:v:".encode()
        self._lease = f"{name}:l:".encode()
        self.generation = f"{name}:g".encode()
        escaped = re.sub(r"([\\*?\[\]])", r"\\\1", name)
        self.pattern = f"{escaped}:[vl]:*"
        """Of values and leases, for SCAN."""

    def values(self, keys: Iterable[str]) -> list[bytes]:
        return [self._value + key.encode() for key in keys]

    def leases(self, keys: Iterable[str]) -> list[bytes]:
        return [self._lease + key.encode() for key in keys]

    def both(self, keys: Iterable[str]) -> list[bytes]:
        """The value and the lease of each."""
        encoded = [key.encode() for key in keys]
        return [prefix + key for key in encoded for prefix in (self._value, self._lease)]
