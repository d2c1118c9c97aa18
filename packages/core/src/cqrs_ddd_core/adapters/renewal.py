"""A lease that is renewed while a block of code runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from ..ports.clock import IClock
from ..primitives.exceptions import LeaseLostError
from ..primitives.shielding import finish, nobody_else_cancelled, within

logger = logging.getLogger(__name__)

_RENEWALS_PER_TTL = 3
_RETRIES_PER_TTL = 20
"""After a renewal that got no answer."""

Renew = Callable[[], Awaitable[bool]]
"""Whether the lease is still ours, and now for its whole time from this moment."""


class Renewal:
    """Whether the lease is still ours, as far as its holder can know.

    A holder that hears nothing takes the lease for lost when ``ttl`` seconds have passed since it
    last asked with success: from then on somebody else may hold it.
    """

    def __init__(
        self, resource: str, renew: Renew, *, ttl: float, valid_until: float, clock: IClock
    ) -> None:
        self._resource = resource
        self._renew = renew
        self._ttl = ttl
        self._clock = clock
        self._is_asking = False
        self.valid_until = valid_until
        self.lost = asyncio.Event()

    def check(self) -> None:
        """Raises ``LeaseLostError`` when it is lost."""
        if self.lost.is_set() or self._clock.monotonic() >= self.valid_until:
            self.lose()

    def lose(self) -> NoReturn:
        """Raises ``LeaseLostError``."""
        self.lost.set()
        raise LeaseLostError(
            f"the lease of {self._resource} was lost while its holder was at work; what was done "
            "under it may have met another holder's work",
            resource=self._resource,
        )

    async def watch(self) -> None:
        """Ends when the lease is lost."""
        pause = self._ttl / _RENEWALS_PER_TTL
        while True:
            await self._clock.sleep(pause)
            asked = self._clock.monotonic()
            is_ours = await self._ask(self.valid_until - asked)
            if is_ours:
                self.valid_until = asked + self._ttl
                pause = self._ttl / _RENEWALS_PER_TTL
            elif is_ours is None and self._clock.monotonic() < self.valid_until:
                remaining = self.valid_until - self._clock.monotonic()
                pause = min(self._ttl / _RETRIES_PER_TTL, remaining)
            else:
                self.lost.set()
                return

    async def end(self, watcher: asyncio.Task[None]) -> None:
        """A renewal that is on its way must not come after the release."""
        watcher.cancel()
        if self._is_asking:
            ended = await finish(_end_of(watcher))
            if ended.interruption is not None:
                raise ended.interruption

    async def _ask(self, patience: float) -> bool | None:
        """None where there is no answer."""
        self._is_asking = True
        try:
            return await within(max(patience, 0.0), self._renew())
        except Exception as error:
            logger.warning("the lease of %s cannot be renewed: %r", self._resource, error)
            return None
        finally:
            self._is_asking = False


@asynccontextmanager
async def renewed(
    resource: str,
    renew: Renew,
    *,
    ttl: float,
    valid_until: float,
    clock: IClock,
    cancels: bool = True,
) -> AsyncIterator[Renewal]:
    """Call ``renew`` every third of ``ttl``; when the lease is lost, cancel the block.

    The block then ends with ``LeaseLostError`` instead of ``asyncio.CancelledError``. Where it is
    not to be cancelled it ends so when it has run through. ``valid_until`` is the clock's time at
    which the lease ends if nothing is heard any more.
    """
    renewal = Renewal(resource, renew, ttl=ttl, valid_until=valid_until, clock=clock)
    body = asyncio.current_task()
    assert body is not None

    async def watch() -> None:
        await renewal.watch()
        if cancels:
            body.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        yield renewal
    except asyncio.CancelledError:
        if cancels and renewal.lost.is_set() and nobody_else_cancelled(body):
            renewal.check()
        raise
    finally:
        await renewal.end(watcher)
    renewal.check()


async def _end_of(watcher: asyncio.Task[None]) -> None:
    await asyncio.wait({watcher})
