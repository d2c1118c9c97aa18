"""Values that can be had again, kept near."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ICacheService(Protocol):
    """A cache; ``ttl`` is in seconds, None for no limit."""

    @abstractmethod
    async def get(self, key: str) -> Any | None: ...

    @abstractmethod
    async def set(self, key: str, value: Any, ttl: float | None = None) -> None: ...

    @abstractmethod
    async def delete(self, key: str) -> None: ...

    @abstractmethod
    async def clear(self) -> None: ...


ICacheStrategy = ICacheService
"""Second name of the port, for strategies of a dispatcher."""


@runtime_checkable
class IVersionedCache(ICacheService, Protocol):
    """A cache that drops a fill which raced an invalidation.

    A reader that misses asks for a fill lease, loads the value, and fills under the lease;
    ``delete`` voids the lease. Source: R. Nishtala et al., "Scaling Memcache at Facebook", 2013.
    """

    @abstractmethod
    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Those that are there."""
        ...

    @abstractmethod
    async def lease_fill(self, key: str, ttl: float) -> str | None:
        """The right to fill the key, or None while another holds it.

        An empty right, which no fill takes, where the cache cannot be asked.
        """
        ...

    @abstractmethod
    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        """Whether the value was taken: not when the key was set or deleted since the lease."""
        ...

    @abstractmethod
    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        """The rights to fill those that nobody else holds."""
        ...

    @abstractmethod
    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        """The keys whose values were taken, each judged alone; each has to have a lease."""
        ...

    @abstractmethod
    async def delete_many(self, keys: Sequence[str]) -> None: ...
