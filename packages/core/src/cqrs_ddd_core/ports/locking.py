"""One at a time."""

import asyncio
from abc import abstractmethod
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, order=True)
class ResourceIdentifier:
    """What a lock is for: one thing of a type."""

    resource_type: str
    resource_id: str

    def __str__(self) -> str:
        return f"{self.resource_type}:{self.resource_id}"


@runtime_checkable
class ILockedMessage(Protocol):
    """A message that is handled by one at a time, for each of its resources."""

    @abstractmethod
    def lock_keys(self) -> Collection[ResourceIdentifier]: ...


@runtime_checkable
class ILockStrategy(Protocol):
    """Locks by name; times are in seconds."""

    @abstractmethod
    async def acquire(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
    ) -> bool:
        """Whether the lock was granted within ``timeout``; it is held for ``ttl`` at most."""
        ...

    @abstractmethod
    async def release(self, resource: str) -> None:
        """Raises ``LeaseLostError`` when somebody else holds it."""
        ...

    @abstractmethod
    async def extend(self, resource: str, ttl: float) -> bool:
        """Whether it is still ours, and now for ``ttl`` from this moment."""
        ...


@runtime_checkable
class ILockLease(Protocol):
    """A lock that is held."""

    @property
    @abstractmethod
    def resource(self) -> str: ...

    @property
    @abstractmethod
    def fencing_token(self) -> int:
        """Larger than that of every earlier holder: write it, and refuse smaller ones.

        Source: M. Kleppmann, "How to do distributed locking", 2016.
        """
        ...

    @property
    @abstractmethod
    def lost(self) -> asyncio.Event:
        """Set as soon as the holder knows that the lock is not, or may not be, held any more."""
        ...

    @abstractmethod
    def check(self) -> None:
        """Raises ``LeaseLostError`` when the lock is not, or may not be, held any more."""
        ...


@runtime_checkable
class ILeasedLock(ILockStrategy, Protocol):
    """Locks that are held by a block of code."""

    @abstractmethod
    def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AbstractAsyncContextManager[ILockLease]:
        """Held while the block runs, renewed before ``ttl`` ends.

        Raises ``LockAcquisitionError`` when it is not granted within ``timeout``. A block that
        loses the lock is cancelled, unless told not to be, and ends with ``LeaseLostError``.
        """
        ...
