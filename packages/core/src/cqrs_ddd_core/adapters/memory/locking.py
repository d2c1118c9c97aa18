"""Locks within one process, granted in the order of the requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from ...ports import HeldLock, IClock, ILeasedLock, ILockLease
from ...primitives.exceptions import LeaseLostError, LockAcquisitionError
from ...spi import keyed_queue, leases, system_clock, tenancy
from ...spi.leases import LockName


@dataclass(slots=True, eq=False)
class _Holder:
    task: asyncio.Task[object] | None
    ttl: float
    token: int = 0
    expires_at: float = 0.0


class InMemoryLockStrategy(ILeasedLock):
    """Locks for the tasks of one event loop.

    Args:
        clock: measures times to live and waits; the system clock by default.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or system_clock.SystemClock()
        self._queue = keyed_queue.KeyedQueue(self._start)
        self._tokens = count(1)

    async def acquire(self, resource: str, *, timeout: float = 10.0, ttl: float = 30.0) -> bool:
        """Wait in the queue of the resource; return whether the lock was granted in time."""
        return await self._acquire(leases.name_lock(resource), timeout, ttl) is not None

    async def release(self, resource: str) -> None:
        """Release the lock and grant it to the next waiter.

        Raises:
            LeaseLostError: the lock has expired, or another running task holds it.
        """
        name = leases.name_lock(resource)
        holder = self._find_holder(name)
        if holder is None:
            raise LeaseLostError.not_released(
                resource, "it is not held: it was released, or its ttl ended"
            )
        if leases.is_of_another_live_task(holder.task):
            raise LeaseLostError.not_released(resource, f"{holder.task!r} holds it")
        self._queue.leave(name)

    async def extend(self, resource: str, ttl: float) -> bool:
        """Extend the lock to ``ttl`` seconds from now; return False if the caller lost it."""
        leases.ensure_lockable(resource, ttl=ttl)
        holder = self._find_holder(leases.name_lock(resource))
        if holder is None or leases.is_of_another_live_task(holder.task):
            return False
        holder.expires_at = self._clock.monotonic() + ttl
        return True

    @asynccontextmanager
    async def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AsyncIterator[ILockLease]:
        """Hold the lock while the block runs, and renew it by the clock of this strategy.

        Raises:
            LockAcquisitionError: the lock was not granted within ``timeout`` seconds.
            LeaseLostError: the lock was lost while the block ran.
        """
        name = leases.name_lock(resource)
        holder = await self._acquire(name, timeout, ttl)
        if holder is None:
            raise LockAcquisitionError.not_free(resource, timeout)

        async def renew() -> bool:
            if self._find_holder(name) is not holder:
                return False
            holder.expires_at = self._clock.monotonic() + ttl
            return True

        try:
            async with leases.LeaseRenewal(
                resource,
                renew,
                ttl=ttl,
                valid_until=lambda: holder.expires_at,
                clock=self._clock,
                cancels=cancel_on_loss,
            ) as renewal:
                yield leases.LockLease(resource, holder.token, renewal)
            if self._find_holder(name) is not holder:
                renewal.lose()
        finally:
            self._leave(name, holder)

    async def list_held(self) -> list[HeldLock]:
        """Return the locks that are held, by tenant and resource."""
        visible = tenancy.get_visible_tenant()
        await asyncio.sleep(0)
        now = self._clock.monotonic()
        return sorted(
            HeldLock(name.tenant_id, name.resource, holder.token, holder.expires_at - now)
            for name in list(self._queue.current)
            if isinstance(name, LockName)
            and visible in (None, name.tenant_id)
            and (holder := self._find_holder(name)) is not None
        )

    async def health_check(self) -> None:
        """Return at once, since the locks depend on no server."""
        await asyncio.sleep(0)

    async def _acquire(self, name: LockName, timeout: float, ttl: float) -> _Holder | None:
        leases.ensure_lockable(name.resource, ttl=ttl, timeout=timeout)
        if self._find_holder(name) is None:
            expires_at = self._clock.monotonic() + ttl
            holder = _Holder(asyncio.current_task(), ttl, next(self._tokens), expires_at)
            self._queue.current[name] = holder
            return holder
        if not timeout:
            return None
        holder = _Holder(asyncio.current_task(), ttl)
        wait = partial(self._wait, name, self._clock.monotonic() + timeout)
        return holder if await self._queue.wait_turn(name, holder, wait) else None

    async def _wait(self, name: LockName, deadline: float, turn: keyed_queue.Turn) -> None:
        while not turn.done() and (now := self._clock.monotonic()) < deadline:
            holder = self._find_holder(name)
            await self._sleep(turn, min(deadline, holder.expires_at if holder else now) - now)
            self._find_holder(name)  # If the holder's ttl has ended, this passes the turn on.

    async def _sleep(self, turn: keyed_queue.Turn, seconds: float) -> None:
        if isinstance(self._clock, system_clock.SystemClock):
            # A timer of the loop costs less than a task that sleeps.
            await asyncio.wait({turn}, timeout=seconds)
            return
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({turn, sleeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()

    def _start(self, holder: _Holder) -> None:
        holder.token = next(self._tokens)
        holder.expires_at = self._clock.monotonic() + holder.ttl

    def _find_holder(self, name: LockName) -> _Holder | None:
        """Return the holder; if its ttl has ended, first pass the lock to the next waiter."""
        holder = self._queue.current.get(name)
        if holder is not None and holder.expires_at <= self._clock.monotonic():
            self._queue.leave(name)
            return self._queue.current.get(name)
        return holder

    def _leave(self, name: LockName, holder: _Holder) -> None:
        if self._queue.current.get(name) is holder:
            self._queue.leave(name)
