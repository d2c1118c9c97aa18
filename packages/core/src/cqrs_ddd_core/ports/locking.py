"""Ports of locks."""

import asyncio
from abc import abstractmethod
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, order=True)
class ResourceIdentifier:
    """Name of a resource that can be locked.

    Attributes:
        resource_type: kind of resource, for example ``order``.
        resource_id: id of one resource of this kind.
    """

    resource_type: str
    resource_id: str

    def __str__(self) -> str:
        return f"{self.resource_type}:{self.resource_id}"


@runtime_checkable
class ILockedMessage(Protocol):
    """Message that locks resources while it is handled."""

    @abstractmethod
    def lock_keys(self) -> Collection[ResourceIdentifier]:
        """Return the resources that must be locked."""
        ...


@runtime_checkable
class ILockStrategy(Protocol):
    """Locks by the name of a resource; two tenants lock the same name independently.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """

    @abstractmethod
    async def acquire(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
    ) -> bool:
        """Wait for the lock; return whether it was granted in time.

        Args:
            resource: name of the resource.
            timeout: seconds to wait at most.
            ttl: seconds after which the lock expires unless it is extended.
        """
        ...

    @abstractmethod
    async def release(self, resource: str) -> None:
        """Release the lock.

        Raises:
            LeaseLostError: the lock has expired, or another task holds it.
        """
        ...

    @abstractmethod
    async def extend(self, resource: str, ttl: float) -> bool:
        """Let the lock expire ``ttl`` seconds from now; return False if the caller lost it."""
        ...


@runtime_checkable
class ILockLease(Protocol):
    """Lock that is held."""

    @property
    @abstractmethod
    def resource(self) -> str:
        """Name of the locked resource."""
        ...

    @property
    @abstractmethod
    def fencing_token(self) -> int:
        """Number that is larger than the token of every earlier holder.

        Store it with each write, and reject writes with a smaller token. Source: M. Kleppmann, "How
        to do distributed locking", 2016.
        """
        ...

    @property
    @abstractmethod
    def lost(self) -> asyncio.Event:
        """Event that is set when the lock is lost, or may be lost."""
        ...

    @abstractmethod
    def check(self) -> None:
        """Raise ``LeaseLostError`` if the lock is lost, or may be lost."""
        ...


@dataclass(frozen=True, order=True)
class HeldLock:
    """Lock that a process holds.

    Attributes:
        tenant_id: tenant that locked the resource, "" without one.
        resource: name of the resource.
        fencing_token: token of the holder.
        ttl: seconds after which the lock expires unless it is extended.
    """

    tenant_id: str
    resource: str
    fencing_token: int
    ttl: float


@runtime_checkable
class ILeasedLock(ILockStrategy, Protocol):
    """Locks that are held while a block runs."""

    @abstractmethod
    def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AbstractAsyncContextManager[ILockLease]:
        """Hold the lock while the block runs, and renew it before it expires.

        Args:
            resource: name of the resource.
            timeout: seconds to wait for the lock at most.
            ttl: seconds after which the lock expires unless it is renewed.
            cancel_on_loss: cancel the block when the lock is lost.

        Raises:
            LockAcquisitionError: the lock was not granted within ``timeout``.
            LeaseLostError: the lock was lost while the block ran.
        """
        ...

    @abstractmethod
    async def list_held(self) -> list[HeldLock]:
        """Return the locks that any process holds, by tenant and resource.

        These are the locks of the tenant of the request, or all locks inside ``system_tenant``.

        Raises:
            LockingError: the lock servers did not reply.
        """
        ...

    @abstractmethod
    async def health_check(self) -> None:
        """Check that a lock can be granted, by granting and releasing one.

        Raises:
            LockingError: too few lock servers replied.
            ConfigError: the lock servers reject the client, or its permissions do not suffice.
        """
        ...
