"""Messages that must not be handled side by side."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..ports import ILeasedLock, ILockedMessage, ILockLease, IMiddleware, Next, ResourceIdentifier


class CriticalSection:
    """Holds several locks, taken in sorted order, so that two sections cannot wait for each other.

    ``async with`` answers the leases by resource; raises ``LockAcquisitionError``.
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
    """What the running command, and the commands nested in it, hold together."""

    locks: AsyncExitStack
    resources: set[ResourceIdentifier] = field(default_factory=set)
    is_open: bool = True


class LockingMiddleware(IMiddleware):
    """Takes the locks that a message names before its unit of work opens, frees them when it ended.

    A nested message adds its locks to those of the outermost one, which commits for both; what is
    held already is not taken again. Raises ``LockAcquisitionError``, and ``LeaseLostError`` when a
    lock was lost while the message was handled.
    """

    def __init__(self, lock: ILeasedLock, *, timeout: float = 10.0, ttl: float = 30.0) -> None:
        self._lock = lock
        self._timeout = timeout
        self._ttl = ttl

    async def __call__(self, message: Any, next_: Next) -> Any:
        held = _held.get()
        # A task that outlives its command inherits what is no longer held.
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
        missing = set(message.lock_keys()) - held.resources
        if missing:
            section = CriticalSection(self._lock, missing, timeout=self._timeout, ttl=self._ttl)
            await held.locks.enter_async_context(section)
            held.resources |= missing


_held: ContextVar[_Held | None] = ContextVar("held_locks", default=None)
