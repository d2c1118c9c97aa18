"""Locks for messages that must not be handled concurrently."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..ports import ILeasedLock, ILockedMessage, ILockLease, IMiddleware, Next, ResourceIdentifier
from ..primitives import exceptions
from ..spi.tenancy import get_row_tenant


class CriticalSection:
    """Block that holds several locks, acquired in sorted order so that two blocks cannot deadlock.

    ``async with`` returns the leases by resource.

    Args:
        lock: strategy that grants the locks.
        resources: resources to lock.
        timeout: seconds to wait for each lock at most.
        ttl: seconds after which a lock expires unless it is renewed.

    Raises:
        LockAcquisitionError: a lock was not granted in time.
        LeaseLostError: a lock was lost while the block ran.
    """

    def __init__(
        self,
        lock: ILeasedLock,
        resources: Iterable[ResourceIdentifier],
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
    ) -> None:
        self._lock = lock
        self._resources = sorted(set(resources))
        self._timeout = timeout
        self._ttl = ttl
        self._held = AsyncExitStack()

    async def __aenter__(self) -> dict[ResourceIdentifier, ILockLease]:
        async with AsyncExitStack() as taken:
            leases = {
                resource: await taken.enter_async_context(
                    self._lock.hold(str(resource), timeout=self._timeout, ttl=self._ttl)
                )
                for resource in self._resources
            }
            self._held = taken.pop_all()
        return leases

    async def __aexit__(self, *error: Any) -> None:
        await self._held.__aexit__(*error)


@dataclass
class _Held:
    """Locks that the running command and its nested commands hold."""

    locks: AsyncExitStack
    resources: set[tuple[str, ResourceIdentifier]] = field(default_factory=set)
    """Locked resources, each with its tenant."""
    is_open: bool = True


class LockingMiddleware(IMiddleware):
    """Middleware that holds the locks of a message while its unit of work is open.

    The locks are acquired before the unit of work opens and released after it has ended. A nested
    message adds its locks to the locks of the outermost message, which commits for both; a resource
    that is already locked is not locked again.

    Args:
        lock: strategy that grants the locks.
        timeout: seconds to wait for each lock at most.
        ttl: seconds after which a lock expires unless it is renewed.

    Raises:
        ConfigError: ``lock`` is not an object with locks.
        LockAcquisitionError: a lock was not granted in time.
        LeaseLostError: a lock was lost while the message was handled.
    """

    order: ClassVar[int] = 40

    def __init__(self, lock: ILeasedLock, *, timeout: float = 10.0, ttl: float = 30.0) -> None:
        exceptions.arguments.ensure_instance(lock, ILeasedLock, "lock")
        self._lock = lock
        self._timeout = timeout
        self._ttl = ttl

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message while its locks are held."""
        held = _held.get()
        # A task that outlives its command inherits locks that are already released.
        if held is not None and held.is_open:
            await self._acquire_missing(held, message)
            return await next_(message)
        async with AsyncExitStack() as locks:
            outermost = _Held(locks)
            await self._acquire_missing(outermost, message)
            outer = _held.set(outermost)
            try:
                return await next_(message)
            finally:
                outermost.is_open = False
                _held.reset(outer)

    async def _acquire_missing(self, held: _Held, message: Any) -> None:
        if not isinstance(message, ILockedMessage):
            return
        tenant_id = get_row_tenant(f"lock the resources of {type(message).__name__}")
        missing = {(tenant_id, each) for each in message.lock_keys()} - held.resources
        if missing:
            resources = [resource for _, resource in missing]
            section = CriticalSection(self._lock, resources, timeout=self._timeout, ttl=self._ttl)
            await held.locks.enter_async_context(section)
            held.resources |= missing


_held: ContextVar[_Held | None] = ContextVar("held_locks", default=None)
