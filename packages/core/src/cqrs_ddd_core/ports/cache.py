"""Ports of the cache, which keeps copies of values that can be loaded again."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ICacheService(Protocol):
    """Cache of values by key.

    Each tenant has its own keys. ``ttl`` is the time to live in seconds; None means no limit.

    Raises:
        InvalidOperationError: a call that names a key is inside ``system_tenant``.
    """

    @abstractmethod
    async def get(self, key: str) -> Any | None:
        """Return the value of the key, or None after a cache miss."""
        ...

    @abstractmethod
    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store the value under the key."""
        ...

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete the value of the key, if there is one."""
        ...

    @abstractmethod
    async def clear(self) -> None:
        """Delete all values of the tenant, or of all tenants inside ``system_tenant``."""
        ...


ICacheStrategy = ICacheService
"""Alias of the port, for the cache strategy of a dispatcher."""


@runtime_checkable
class IVersionedCache(ICacheService, Protocol):
    """Cache that rejects a fill if its key was invalidated after the load began.

    After a cache miss a reader gets a fill lease, loads the value, and fills under the lease;
    ``set`` and ``delete`` void the lease. Source: R. Nishtala et al., "Scaling Memcache at
    Facebook", 2013.
    """

    @abstractmethod
    async def get_many(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the values of the keys that have one."""
        ...

    @abstractmethod
    async def lease_fill(self, key: str, ttl: float) -> str | None:
        """Grant a fill lease for the key; return None while another reader holds one.

        If the cache server cannot be reached, the lease is an empty text, which no fill accepts.

        Args:
            key: key to fill.
            ttl: seconds after which the lease expires.
        """
        ...

    @abstractmethod
    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        """Store the value under a fill lease; return whether it was stored.

        The value is rejected if the key was set or deleted since the lease was granted.
        """
        ...

    @abstractmethod
    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        """Return fill leases for ``ttl`` seconds, for the keys that no other reader has leased."""
        ...

    @abstractmethod
    async def fill_many(
        self, values: Mapping[str, Any], leases: Mapping[str, str], ttl: float | None = None
    ) -> Collection[str]:
        """Store the values under their fill leases; return the keys that were stored.

        Each value is accepted or rejected by itself; each key needs a lease.
        """
        ...

    @abstractmethod
    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete the values of the keys and void their fill leases."""
        ...
