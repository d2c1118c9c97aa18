"""Locks within one process: first come, first served."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from ...ports.clock import IClock
from ...ports.locking import ILeasedLock, ILockLease
from ...primitives.exceptions import LeaseLostError, LockAcquisitionError
from ...spi.leases.lease_renewal import LeaseRenewal
from ...spi.leases.lock_lease import (
    LockLease,
    ensure_lockable,
    is_of_another_live_task,
)
from ...spi.system_clock import SystemClock


@dataclass(slots=True, eq=False)
class _Holder:
    task: asyncio.Task[Any] | None
    token: int
    expires_at: float


@dataclass(slots=True, eq=False)
class _Waiter:
    task: asyncio.Task[Any] | None
    ttl: float
    granted: asyncio.Future[_Holder]


class InMemoryLockStrategy(ILeasedLock):
    """A real lock for the tasks of one event loop."""

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._holders: dict[str, _Holder] = {}
        self._queues: dict[str, deque[_Waiter]] = {}
        self._tokens = count(1)

    async def acquire(self, resource: str, *, timeout: float = 10.0, ttl: float = 30.0) -> bool:
        return await self._acquire(resource, timeout, ttl) is not None

    async def release(self, resource: str) -> None:
        holder = self._current(resource)
        if holder is None:
            raise LeaseLostError.not_released(
                resource, "nobody holds it: it was released, or its ttl ended"
            )
        if is_of_another_live_task(holder.task):
            raise LeaseLostError.not_released(resource, f"{holder.task!r} holds it")
        self._hand_on(resource)

    async def extend(self, resource: str, ttl: float) -> bool:
        ensure_lockable(resource, ttl=ttl)
        holder = self._current(resource)
        if holder is None or is_of_another_live_task(holder.task):
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
        holder = await self._acquire(resource, timeout, ttl)
        if holder is None:
            raise LockAcquisitionError.not_free(resource, timeout)

        async def renew() -> bool:
            if self._current(resource) is not holder:
                return False
            holder.expires_at = self._clock.monotonic() + ttl
            return True

        try:
            async with LeaseRenewal(
                resource,
                renew,
                ttl=ttl,
                valid_until=lambda: holder.expires_at,
                clock=self._clock,
                cancels=cancel_on_loss,
            ) as renewal:
                yield LockLease(resource, holder.token, renewal)
            if self._current(resource) is not holder:
                renewal.lose()
        finally:
            self._end(resource, holder)

    async def _acquire(self, resource: str, timeout: float, ttl: float) -> _Holder | None:
        ensure_lockable(resource, ttl=ttl, timeout=timeout)
        if self._current(resource) is None:
            return self._grant(resource, asyncio.current_task(), ttl)
        return await self._wait(resource, timeout, ttl) if timeout else None

    async def _wait(self, resource: str, timeout: float, ttl: float) -> _Holder | None:
        deadline = self._clock.monotonic() + timeout
        granted: asyncio.Future[_Holder] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(asyncio.current_task(), ttl, granted)
        queue = self._queues.setdefault(resource, deque())
        queue.append(waiter)
        try:
            while not granted.done():
                now = self._clock.monotonic()
                if now >= deadline:
                    break
                await self._sleep(granted, min(deadline, self._expiry(resource)) - now)
                self._current(resource)
            return granted.result() if granted.done() else None
        except BaseException:
            # Cancelled, perhaps right after the grant: the next one must not wait in vain.
            if granted.done():
                self._end(resource, granted.result())
            raise
        finally:
            if waiter in queue:
                queue.remove(waiter)
            if not queue and self._queues.get(resource) is queue:
                del self._queues[resource]

    async def _sleep(self, granted: asyncio.Future[_Holder], seconds: float) -> None:
        if isinstance(self._clock, SystemClock):
            # A timer of the loop costs less than a task that sleeps.
            await asyncio.wait({granted}, timeout=seconds)
            return
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        awaited: set[asyncio.Future[Any]] = {granted, sleeper}
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()

    def _current(self, resource: str) -> _Holder | None:
        """Who holds it now; one whose time is up makes way for the next."""
        holder = self._holders.get(resource)
        if holder is not None and holder.expires_at <= self._clock.monotonic():
            self._hand_on(resource)
            return self._holders.get(resource)
        return holder

    def _expiry(self, resource: str) -> float:
        holder = self._current(resource)
        return math.inf if holder is None else holder.expires_at

    def _end(self, resource: str, holder: _Holder) -> None:
        if self._holders.get(resource) is holder:
            self._hand_on(resource)

    def _hand_on(self, resource: str) -> None:
        del self._holders[resource]
        queue = self._queues.get(resource)
        if queue:
            waiter = queue.popleft()
            waiter.granted.set_result(self._grant(resource, waiter.task, waiter.ttl))

    def _grant(self, resource: str, task: asyncio.Task[Any] | None, ttl: float) -> _Holder:
        holder = _Holder(task, next(self._tokens), self._clock.monotonic() + ttl)
        self._holders[resource] = holder
        return holder
