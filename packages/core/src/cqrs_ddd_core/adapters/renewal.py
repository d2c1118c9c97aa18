"""A lease that is renewed while a block of code runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ..ports.clock import IClock
from ..primitives.exceptions import LeaseLostError
from ..primitives.shielding import finish, nobody_else_cancelled

logger = logging.getLogger(__name__)


class Renewal:
    """Whether the lease is still ours."""

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self.is_lost = False

    def check(self) -> None:
        """Raises ``LeaseLostError`` when a renewal failed."""
        if self.is_lost:
            raise LeaseLostError(
                f"the lease of {self._resource} was lost while its holder was at work; what was "
                "done under it may have met another holder's work",
                resource=self._resource,
            )


@asynccontextmanager
async def renewed(
    resource: str, renew: Callable[[], Awaitable[bool]], *, every: float, clock: IClock
) -> AsyncIterator[Renewal]:
    """Call ``renew`` every so many seconds; when it answers False or fails, cancel the block.

    The block then ends with ``LeaseLostError`` instead of ``asyncio.CancelledError``.
    """
    renewal = Renewal(resource)
    body = asyncio.current_task()
    assert body is not None

    async def watch() -> None:
        while True:
            await clock.sleep(every)
            if not await _is_renewed(resource, renew):
                renewal.is_lost = True
                body.cancel()
                return

    watcher = asyncio.ensure_future(watch())
    try:
        yield renewal
    except asyncio.CancelledError:
        if renewal.is_lost and nobody_else_cancelled(body):
            renewal.check()
        raise
    finally:
        watcher.cancel()
        # A renewal that is on its way must not come after the release.
        ended = await finish(_end_of(watcher))
        if ended.interruption is not None:
            raise ended.interruption
    renewal.check()


async def _is_renewed(resource: str, renew: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await renew()
    except Exception:
        logger.exception("the lease of %s cannot be renewed", resource)
        return False


async def _end_of(watcher: asyncio.Task[None]) -> None:
    await asyncio.wait({watcher})
