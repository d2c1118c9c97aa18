"""Leases that are renewed while a block of code runs, and checks that lock adapters share."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from ..ports.clock import IClock
from ..primitives.exceptions import InvalidOperationError, LeaseLostError, describe_error
from ..primitives.shielding import OwnCancellation, run_to_completion, timeout_after
from .system_clock import SystemClock
from .tenancy import get_row_tenant

logger = logging.getLogger(__name__)

LONGEST = 1e9
"""Longest ``ttl``, in seconds."""
_RENEWALS_PER_TTL = 3
_RETRIES_PER_TTL = 20
"""Number of tries per ttl after a renewal without a reply."""


class LockName(NamedTuple):
    """Name of a lock, as text only the name of its resource.

    Attributes:
        tenant_id: tenant that locks the resource, "" without one.
        resource: name of the resource.
    """

    tenant_id: str
    resource: str

    def __str__(self) -> str:
        return self.resource


def name_lock(resource: str) -> LockName:
    """Return the name of the lock of a resource for the tenant of the running request.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """
    return LockName(get_row_tenant(f"lock {resource}"), resource)


Renew = Callable[[], Awaitable[bool]]
"""Function that renews the lease for its whole ttl; it returns False if the lease is lost."""


class LeaseRenewal:
    """Renewal of a lease every third of its ttl while a block runs.

    If the lease is lost, the block is cancelled and ends with ``LeaseLostError`` instead of
    ``asyncio.CancelledError``. A block that is not cancelled raises the error at its end. Without a
    reply to a renewal the lease counts as lost at ``valid_until``, because it may then have another
    holder.

    Args:
        resource: name of the resource for errors.
        renew: renews the lease and returns False if it is lost.
        ttl: seconds after which the lease expires unless it is renewed.
        valid_until: returns the end of the lease in seconds of ``clock.monotonic()``.
        clock: source of time.
        cancels: cancel the block when the lease is lost.
    """

    def __init__(
        self,
        resource: str,
        renew: Renew,
        *,
        ttl: float,
        valid_until: Callable[[], float],
        clock: IClock,
        cancels: bool = True,
    ) -> None:
        self._resource = resource
        self._renew = renew
        self._ttl = ttl
        self._valid_until = valid_until
        self._clock = clock
        self._cancels = cancels
        self._is_asking = False
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    async def __aenter__(self) -> "LeaseRenewal":
        self._cancellation = OwnCancellation()
        pause = self._ttl / _RENEWALS_PER_TTL
        if isinstance(self._clock, SystemClock):
            # Most leases end before the first renewal: a timer costs less than a sleeping task.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pause, self._watch_after, 0.0)
        else:
            self._watch_after(pause)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            await self._stop(self._watcher)
        is_ours_alone = self._cancellation.undo() and self._cancellation.was_made
        if error is None:
            self.check()
        elif is_ours_alone and isinstance(error, asyncio.CancelledError):
            self.lose()

    def check(self) -> None:
        """Raise ``LeaseLostError`` if the lease is lost or has expired."""
        if self.lost.is_set() or self._clock.monotonic() >= self._valid_until():
            self.lose()

    def lose(self) -> NoReturn:
        """Mark the lease as lost and raise ``LeaseLostError``."""
        self.lost.set()
        raise LeaseLostError(
            f"the lease of {self._resource} was lost while its holder was working; another holder "
            "may have worked at the same time",
            resource=self._resource,
        )

    async def _stop(self, watcher: asyncio.Task[None]) -> None:
        watcher.cancel()
        if self._is_asking:
            # A renewal in progress must not reach the server after the release.
            ended = await run_to_completion(_await_end(watcher))
            if ended.interruption is not None:
                raise ended.interruption

    def _watch_after(self, pause: float) -> None:
        self._watcher = asyncio.ensure_future(self._watch(pause))

    async def _watch(self, pause: float) -> None:
        while not self.lost.is_set():
            await self._clock.sleep(pause)
            is_ours = await self._try_renew(self._get_remaining())
            if is_ours:
                pause = self._ttl / _RENEWALS_PER_TTL
            elif is_ours is None and (remaining := self._get_remaining()) > 0:
                pause = min(self._ttl / _RETRIES_PER_TTL, remaining)
            else:
                self.lost.set()
        if self._cancels:
            self._cancellation.cancel()

    def _get_remaining(self) -> float:
        return self._valid_until() - self._clock.monotonic()

    async def _try_renew(self, patience: float) -> bool | None:
        """Renew the lease; return None if there is no reply within ``patience`` seconds."""
        self._is_asking = True
        try:
            return await timeout_after(max(patience, 0.0), self._renew())
        except Exception as error:
            logger.warning(
                "the lease of %s cannot be renewed: %s", self._resource, describe_error(error)
            )
            return None
        finally:
            self._is_asking = False


async def _await_end(watcher: asyncio.Task[None]) -> None:
    await asyncio.wait({watcher})


@dataclass(frozen=True)
class LockLease:
    """``ILockLease`` of a lock that is renewed while its block runs.

    Attributes:
        resource: name of the locked resource.
        fencing_token: number that is larger than the token of every earlier holder.
        renewal: renewal of the lock.
    """

    resource: str
    fencing_token: int
    renewal: LeaseRenewal

    @property
    def lost(self) -> asyncio.Event:
        """Event that is set when the lock is lost, or may be lost."""
        return self.renewal.lost

    def check(self) -> None:
        """Raise ``LeaseLostError`` if the lock is lost or has expired."""
        self.renewal.check()


def is_of_another_live_task(task: asyncio.Task[object] | None) -> bool:
    """Return whether the task that acquired a lock is another one that is still running.

    On Python 3.10 and 3.11 ``asyncio.wait_for`` acquires in a task of its own, which then ends.
    """
    return task is not None and task is not asyncio.current_task() and not task.done()


def ensure_lockable(resource: object, *, ttl: float, timeout: float = 0.0) -> None:
    """Raise ``InvalidOperationError`` for a name, ``ttl`` or ``timeout`` that no lock accepts."""
    if not isinstance(resource, str) or not resource:
        raise InvalidOperationError(
            f"the name of a lock must be a non-empty text, got {resource!r}"
        )
    try:
        resource.encode()
    except UnicodeEncodeError:
        raise InvalidOperationError(
            f"the name of a lock must be a text that UTF-8 can encode, got {resource!r}"
        ) from None
    if not 0 < ttl <= LONGEST or not timeout >= 0:
        raise InvalidOperationError(
            f"cannot lock {resource} with ttl={ttl}, timeout={timeout}; ttl must be positive "
            f"seconds up to {LONGEST:.0e}, timeout not negative"
        )
