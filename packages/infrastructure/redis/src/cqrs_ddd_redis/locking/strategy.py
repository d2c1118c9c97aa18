"""Base class of the locks on Redis, which keeps the holders of this process."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar
from urllib.parse import quote, unquote

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.ports.locking import HeldLock, ILeasedLock, ILockLease
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.shielding import run_to_completion
from cqrs_ddd_core.spi import leases, tenancy
from cqrs_ddd_core.spi.system_clock import SystemClock

from .. import driver

logger = logging.getLogger(__name__)

_FAILURES = (errors.LockingError, errors.ConfigError)
_HEALTH_CHECK_TTL = 10.0
_MAX_HOLDERS = 1_000
_RETRY_PAUSE = 0.05


@dataclass(eq=False, slots=True)
class Grant:
    """Lock that the servers have granted.

    Args:
        owner: name of the holder in Redis.
        fencing_token: number that grows with each holder of the lock.
        valid_until: end of the grant, as the monotonic time of the clock.
        task: task that acquired the lock.
    """

    owner: str
    fencing_token: int
    valid_until: float
    task: asyncio.Task[object] | None = None


class RedisLockStrategy(ILeasedLock):
    """Base class of the locks: it keeps the holders, a subclass sends the commands.

    Args:
        namespace: prefix of the keys in Redis, such as the name of the application.
        response_timeout: seconds to wait for a reply of a server.
        clock: measures timeouts and the validity of grants; None uses the system clock.
    """

    _kind: ClassVar[str]
    """Part of each key, so that locks of different kinds may share a namespace."""

    def __init__(self, *, namespace: str, response_timeout: float, clock: IClock | None) -> None:
        if not response_timeout > 0:
            raise errors.InvalidOperationError(
                f"response_timeout must be positive seconds, got {response_timeout}"
            )
        driver.ensure_namespace(namespace)
        self._prefix = f"{namespace}:{self._kind}"
        self._channel = f"{self._prefix}:waiters:{secrets.token_hex(8)}"
        self._response_timeout = response_timeout
        self._clock = clock or SystemClock()
        self._holders: dict[leases.LockName, Grant] = {}
        self._max_holders = _MAX_HOLDERS

    async def acquire(self, resource: str, *, timeout: float = 10.0, ttl: float = 30.0) -> bool:
        """Acquire the lock and return True, or return False if it was not free within ``timeout``.

        Args:
            resource: name of the lock.
            timeout: seconds to wait for the lock; 0 tries once.
            ttl: seconds after which the lock expires without ``extend``.

        Raises:
            LockingError: too few servers replied.
            ConfigError: the server rejects the client, or its permissions do not suffice.
        """
        return await self._acquire(leases.name_lock(resource), timeout, ttl) is not None

    async def release(self, resource: str) -> None:
        """Release the lock of this process; repeat a failing request for ``response_timeout``.

        Raises:
            LeaseLostError: the lock has expired, or another live task holds it.
            LockingError: too few servers replied; the holder may release it again.
        """
        name = leases.name_lock(resource)
        holder = self._holders.get(name)
        reason = "its ttl has expired, or the server has lost its data"
        if holder is None:
            reason = "this process does not hold it: it was released, or never acquired"
        elif leases.is_of_another_live_task(holder.task):
            reason = f"{holder.task!r} holds it"
        elif await self._end(name, holder):
            return
        raise errors.LeaseLostError.not_released(resource, reason)

    async def extend(self, resource: str, ttl: float) -> bool:
        """Let the lock expire ``ttl`` seconds from now; return False if it is not held here."""
        leases.ensure_lockable(resource, ttl=ttl)
        name = leases.name_lock(resource)
        holder = self._holders.get(name)
        if holder is None or leases.is_of_another_live_task(holder.task):
            return False
        return await self._renew(name, holder, ttl)

    def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AbstractAsyncContextManager[ILockLease]:
        """Return a context manager that acquires, renews and releases the lock.

        Args:
            resource: name of the lock.
            timeout: seconds to wait for the lock.
            ttl: seconds after which the lock expires if the process cannot renew it.
            cancel_on_loss: True to cancel the block when the lock is lost.

        Raises:
            LockAcquisitionError: the lock was not free within ``timeout``.
        """
        name = leases.name_lock(resource)
        return _LockedBlock(self, name, timeout, ttl, cancel_on_loss)

    async def list_held(self) -> list[HeldLock]:
        """Return the locks that any process holds, found by SCAN, by tenant and resource.

        Raises:
            LockingError: too few servers replied.
            ConfigError: the server rejects the client, or its permissions do not suffice.
        """
        tenant_id = tenancy.get_visible_tenant()
        scope = "*" if tenant_id is None else _escape(_prefix(tenant_id))
        pattern = f"{_escape(self._prefix)}:{scope}{{*}}"
        return sorted(
            HeldLock(*self._parse_key(key), found.fencing_token, found.milliseconds / 1000)
            for key, found in (await self._list_keys(pattern)).items()
        )

    async def health_check(self) -> None:
        """Check that the servers grant a lock, which is released at once.

        Raises:
            LockingError: too few servers replied.
            ConfigError: the server rejects the client, or its permissions do not suffice.
        """
        name = leases.LockName("", "health check")
        owner = self._create_owner(_HEALTH_CHECK_TTL)
        # Without a grant another process holds the lock for its check, so the servers work.
        grant = await self._try_acquire(name, owner, 0.0, _HEALTH_CHECK_TTL)
        if grant is not None:
            await self._release(name, grant.owner)

    async def _acquire(self, name: leases.LockName, timeout: float, ttl: float) -> Grant | None:
        leases.ensure_lockable(name.resource, ttl=ttl, timeout=timeout)
        if self._validity(ttl) <= 0:
            raise errors.InvalidOperationError(
                f"cannot lock {name} for {ttl} s: it would expire before the server's reply; "
                "pass a ttl of at least 0.01 s"
            )
        grant = await self._try_acquire(name, self._create_owner(ttl), timeout, ttl)
        if grant is None:
            return None
        if len(self._holders) >= self._max_holders:
            self._drop_expired()
        grant.task = asyncio.current_task()
        self._holders[name] = grant
        return grant

    async def _end(self, name: leases.LockName, holder: Grant) -> bool:
        """Release the lock, even if this task is cancelled, and return whether it was held."""
        try:
            was_held = await self._retry(lambda: self._release(name, holder.owner))
        except asyncio.CancelledError:
            self._drop(name, holder)
            await self._clean_up(name, holder.owner)
            raise
        # After any other error the holder is kept, so that the caller can repeat the release.
        self._drop(name, holder)
        return was_held

    def _drop(self, name: leases.LockName, holder: Grant) -> None:
        if self._holders.get(name) is holder:
            del self._holders[name]

    def _drop_expired(self) -> None:
        """Remove expired holders, which tasks have acquired and never released."""
        now = self._clock.monotonic()
        self._holders = {key: held for key, held in self._holders.items() if held.valid_until > now}
        self._max_holders = max(_MAX_HOLDERS, 2 * len(self._holders))

    async def _clean_up(self, name: leases.LockName, owner: str) -> None:
        """Remove all traces of ``owner``, however often this task is cancelled.

        Traces on unreachable servers expire.
        """

        async def clean_up() -> None:
            with suppress(*_FAILURES):
                await self._release_uncertain(name, owner)

        result = await run_to_completion(clean_up())
        if result.interruption is not None:
            raise result.interruption

    async def _retry(self, release: Callable[[], Awaitable[bool]]) -> bool:
        """Repeat a failing release for ``response_timeout`` seconds."""
        deadline = self._clock.monotonic() + self._response_timeout
        while True:
            try:
                return await release()
            except errors.LockingError:
                if self._clock.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_RETRY_PAUSE)

    async def _renew(self, name: leases.LockName, holder: Grant, ttl: float) -> bool:
        requested_at = self._clock.monotonic()
        if not await self._extend(name, holder.owner, ttl):
            return False
        holder.valid_until = requested_at + self._validity(ttl)
        return True

    def _key(self, name: leases.LockName) -> str:
        """Return the name of the lock in Redis; the braces keep all of its keys on one node."""
        return f"{self._prefix}:{_prefix(name.tenant_id)}{{{name.resource}}}"

    def _parse_key(self, key: str) -> tuple[str, str]:
        tenant, _, resource = key[len(self._prefix) + 1 :].partition("{")
        return unquote(tenant[:-1]), resource[:-1]

    def _validity(self, ttl: float) -> float:
        """Return the seconds of a ttl that remain in spite of clock drift.

        Source: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
        """
        return ttl - (ttl * 0.01 + 0.002)

    def _create_owner(self, ttl: float) -> str:
        return secrets.token_hex(16)

    @abstractmethod
    async def _try_acquire(
        self, name: leases.LockName, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        """Return the grant, or None and no trace of ``owner`` if the lock was not free in time."""
        ...

    @abstractmethod
    async def _list_keys(self, pattern: str) -> Mapping[str, FoundLock]:
        """Return the locks that are held, by their keys that match the pattern."""
        ...

    @abstractmethod
    async def _extend(self, name: leases.LockName, owner: str, ttl: float) -> bool: ...

    @abstractmethod
    async def _release(self, name: leases.LockName, owner: str) -> bool:
        """Remove ``owner`` from the lock and its queue, and return whether it held the lock."""
        ...

    async def _release_uncertain(self, name: leases.LockName, owner: str) -> bool:
        """Release a lock although a request for it may still arrive after the release."""
        return await self._release(name, owner)


@dataclass(eq=False)
class _LockedBlock(AbstractAsyncContextManager[ILockLease]):
    """Context manager under a lock; a generator would cost a tenth of the lock's time."""

    strategy: RedisLockStrategy
    name: leases.LockName
    timeout: float
    ttl: float
    cancels: bool

    async def __aenter__(self) -> ILockLease:
        strategy = self.strategy
        holder = await strategy._acquire(self.name, self.timeout, self.ttl)
        if holder is None:
            raise errors.LockAcquisitionError.not_free(self.name.resource, self.timeout)
        self._holder = holder
        self._renewal = leases.LeaseRenewal(
            self.name.resource,
            lambda: strategy._renew(self.name, holder, self.ttl),
            ttl=strategy._validity(self.ttl),
            valid_until=lambda: holder.valid_until,
            clock=strategy._clock,
            cancels=self.cancels,
        )
        await self._renewal.__aenter__()
        return leases.LockLease(self.name.resource, holder.fencing_token, self._renewal)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        was_held = True
        try:
            await self._renewal.__aexit__(kind, error, traceback)
        finally:
            try:
                was_held = await self.strategy._end(self.name, self._holder)
            except _FAILURES as failure:
                # The block has ended, and the renewal kept other callers from the lock until then.
                logger.warning("%s; the lock expires with its ttl", failure)
        if error is None and not was_held:
            self._renewal.lose()


@dataclass(frozen=True)
class FoundLock:
    """State of a lock on one server.

    Args:
        owner: name of the holder in Redis.
        fencing_token: last token of the lock.
        milliseconds: time after which the lock expires.
    """

    owner: str
    fencing_token: int
    milliseconds: int


async def find_locks(execute: driver.Execute, pattern: str) -> dict[str, FoundLock]:
    """Return the locks on a server by key."""
    found: dict[str, FoundLock] = {}
    cursor: bytes | str | int = 0
    while True:
        cursor, names = await execute("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)
        for name in names:
            key = driver.decode_text(name)
            owner, token = await execute("MGET", key, f"{key}:fence")
            remaining = await execute("PTTL", key)
            if owner is not None and remaining > 0:
                text = driver.decode_text(owner)
                found[key] = FoundLock(text, int(token or 0), remaining)
        if not int(cursor):
            return found


def _prefix(tenant_id: str) -> str:
    # Quoted, so that a tenant cannot be a part of another name.
    return f"{quote(tenant_id, safe='')}:" if tenant_id else ""


def _escape(text: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def to_milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(round(seconds * 1000), 1)
