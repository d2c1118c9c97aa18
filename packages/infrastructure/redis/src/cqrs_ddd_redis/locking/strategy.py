"""What the locks on Redis have in common: who holds them, and for how long."""

from __future__ import annotations

import asyncio
import logging
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.ports.locking import ILeasedLock, ILockLease
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    LeaseLostError,
    LockAcquisitionError,
    LockingError,
)
from cqrs_ddd_core.primitives.shielding import run_to_completion
from cqrs_ddd_core.spi.leases import (
    LeaseRenewal,
    LockLease,
    ensure_lockable,
    is_of_another_live_task,
)
from cqrs_ddd_core.spi.system_clock import SystemClock

logger = logging.getLogger(__name__)

_MANY = 1_000
_RETRY = 0.05
"""Seconds until servers that failed are told again."""


class Grant(NamedTuple):
    """A lock that the servers have given to ``owner``; ``valid_until`` is the clock's time."""

    owner: str
    fencing_token: int
    valid_until: float


@dataclass(eq=False, slots=True)
class _Held:
    task: asyncio.Task[Any] | None
    grant: Grant
    valid_until: float


class RedisLockStrategy(ILeasedLock):
    """Remembers what its tasks hold; a subclass asks the servers."""

    def __init__(self, *, response_timeout: float, clock: IClock | None) -> None:
        if not response_timeout > 0:
            raise InvalidOperationError(
                f"response_timeout={response_timeout} leaves a server no time to answer; "
                "it must be positive seconds"
            )
        self._response_timeout = response_timeout
        self._clock = clock or SystemClock()
        self._holders: dict[str, _Held] = {}
        self._many = _MANY

    async def acquire(self, resource: str, *, timeout: float = 10.0, ttl: float = 30.0) -> bool:
        return await self._acquire(resource, timeout, ttl) is not None

    async def release(self, resource: str) -> None:
        held = self._holders.get(resource)
        if held is None:
            raise LeaseLostError.not_released(
                resource, "nobody holds it here: it was released, or never acquired"
            )
        if is_of_another_live_task(held.task):
            raise LeaseLostError.not_released(resource, f"{held.task!r} holds it")
        if not await self._end(resource, held):
            raise LeaseLostError.not_released(
                resource, "its ttl ended, or the server has forgotten it"
            )

    async def extend(self, resource: str, ttl: float) -> bool:
        ensure_lockable(resource, ttl=ttl)
        held = self._holders.get(resource)
        if held is None or is_of_another_live_task(held.task):
            return False
        return await self._renew(resource, held, ttl)

    def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AbstractAsyncContextManager[ILockLease]:
        return _Holding(self, resource, timeout, ttl, cancel_on_loss)

    async def _acquire(self, resource: str, timeout: float, ttl: float) -> _Held | None:
        ensure_lockable(resource, ttl=ttl, timeout=timeout)
        if self._validity(ttl) <= 0:
            raise InvalidOperationError(
                f"cannot lock {resource} for {ttl} s: a server's answer takes as long; "
                "give at least 0.01 s"
            )
        grant = await self._take(resource, self._new_owner(ttl), timeout, ttl)
        if grant is None:
            return None
        if len(self._holders) >= self._many:
            self._forget_what_ran_out()
        held = _Held(asyncio.current_task(), grant, grant.valid_until)
        self._holders[resource] = held
        return held

    async def _end(self, resource: str, held: _Held) -> bool:
        """Whether it was still held; the servers are told even when this task is cancelled."""
        try:
            was_ours = await self._repeated(self._give_back, resource, held.grant.owner)
        except asyncio.CancelledError:
            self._forget(resource, held)
            await self._leave(resource, held.grant.owner)
            raise
        # Not where the servers failed: then it can be tried again.
        self._forget(resource, held)
        return was_ours

    def _forget(self, resource: str, held: _Held) -> None:
        if self._holders.get(resource) is held:
            del self._holders[resource]

    async def _leave(self, resource: str, owner: str) -> None:
        """Nothing of ``owner`` is left, however often this task is cancelled.

        What the servers cannot be told now ends by itself.
        """

        async def leave() -> None:
            with suppress(LockingError):
                await self._withdraw(resource, owner)

        ended = await run_to_completion(leave())
        if ended.interruption is not None:
            raise ended.interruption

    async def _repeated(
        self, tell: Callable[[str, str], Awaitable[bool]], resource: str, owner: str
    ) -> bool:
        """Again while there is time for an answer: what fails at once may work a moment later."""
        deadline = self._clock.monotonic() + self._response_timeout
        while True:
            try:
                return await tell(resource, owner)
            except LockingError:
                if self._clock.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_RETRY)

    async def _renew(self, resource: str, held: _Held, ttl: float) -> bool:
        asked = self._clock.monotonic()
        if not await self._extend(resource, held.grant.owner, ttl):
            return False
        held.valid_until = asked + self._validity(ttl)
        return True

    def _validity(self, ttl: float) -> float:
        """Seconds that surely remain of a ttl, however the clocks of here and there differ.

        Source: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
        """
        return ttl - (ttl * 0.01 + 0.002)

    def _new_owner(self, ttl: float) -> str:
        return secrets.token_hex(16)

    def _forget_what_ran_out(self) -> None:
        """What was acquired, and never released."""
        now = self._clock.monotonic()
        self._holders = {
            resource: held for resource, held in self._holders.items() if held.valid_until > now
        }
        self._many = max(_MANY, 2 * len(self._holders))

    @abstractmethod
    async def _take(self, resource: str, owner: str, timeout: float, ttl: float) -> Grant | None:
        """None when it was not free within ``timeout``; then nothing of ``owner`` is left."""
        ...

    @abstractmethod
    async def _extend(self, resource: str, owner: str, ttl: float) -> bool: ...

    async def _withdraw(self, resource: str, owner: str) -> bool:
        """As ``_give_back``, where what was asked for may be granted later than this is heard."""
        return await self._give_back(resource, owner)

    @abstractmethod
    async def _give_back(self, resource: str, owner: str) -> bool:
        """Whether ``owner`` held it until now; nothing of it is left, in a queue neither."""
        ...


class _Holding(AbstractAsyncContextManager[ILockLease]):
    """A block under a lock; a class, since a generator would cost a tenth of the lock's time."""

    def __init__(
        self,
        strategy: RedisLockStrategy,
        resource: str,
        timeout: float,
        ttl: float,
        cancels: bool,
    ) -> None:
        self._strategy = strategy
        self._resource = resource
        self._timeout = timeout
        self._ttl = ttl
        self._cancels = cancels

    async def __aenter__(self) -> ILockLease:
        strategy = self._strategy
        held = await strategy._acquire(self._resource, self._timeout, self._ttl)
        if held is None:
            raise LockAcquisitionError.not_free(self._resource, self._timeout)
        self._held = held
        self._renewal = LeaseRenewal(
            self._resource,
            self._renew,
            ttl=strategy._validity(self._ttl),
            valid_until=lambda: held.valid_until,
            clock=strategy._clock,
            cancels=self._cancels,
        )
        await self._renewal.__aenter__()
        return LockLease(self._resource, held.grant.fencing_token, self._renewal)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_ours = True
        try:
            await self._renewal.__aexit__(kind, error, traceback)
        finally:
            try:
                is_ours = await self._strategy._end(self._resource, self._held)
            except LockingError as failure:
                # The block is done, and nobody can have had the lock meanwhile.
                logger.warning("%s; it ends with its ttl", failure)
        if error is None and not is_ours:
            self._renewal.lose()

    async def _renew(self) -> bool:
        return await self._strategy._renew(self._resource, self._held, self._ttl)


def milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
