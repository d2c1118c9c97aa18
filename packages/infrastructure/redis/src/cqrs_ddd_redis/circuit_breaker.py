"""Circuit breaker for the cache server, with its pending invalidations."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.exceptions import CacheError

from .driver import FAILURES, describe_error

T = TypeVar("T")

MAX_PENDING = 10_000
"""Pending keys that are kept one by one; with more keys the whole cache is invalidated."""

logger = logging.getLogger(__name__)


class PendingInvalidations:
    """Keys that the server may still hold although a caller has invalidated them.

    ``includes_write`` is True if a write may have been sent; it must not arrive after the repeated
    invalidation.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.all_keys = False
        self.includes_write = False

    def __bool__(self) -> bool:
        return self.all_keys or bool(self.keys)

    def add(self, keys: Iterable[str] | None, *, includes_write: bool = False) -> None:
        """Add keys, or all keys if ``keys`` is None or the keys are too many."""
        self.includes_write |= includes_write
        if keys is not None and not self.all_keys:
            self.keys.update(keys)
        if keys is None or len(self.keys) > MAX_PENDING:
            self.all_keys = True
            self.keys.clear()


class CircuitBreaker:
    """Guard that sends nothing for ``pause`` seconds after a failure, then one probe at a time.

    While invalidations are pending, the server may hold stale values: the next call repeats the
    invalidations first, and other calls fail until it has succeeded.

    Args:
        repeat: sends pending invalidations again.
        pause: seconds without commands after a failure.
        clock: measures ``pause``.
        on_failure: called with the first failure and the failure of each probe, once for calls that
            fail together; None logs the failures.
    """

    def __init__(
        self,
        repeat: Callable[[PendingInvalidations], Awaitable[None]],
        *,
        pause: float,
        clock: IClock,
        on_failure: Callable[[CacheError], object] | None,
    ) -> None:
        self._repeat = repeat
        self._pause = pause
        self._clock = clock
        self._on_failure = on_failure or partial(logger.warning, "%s")
        self._has_failed = False
        self._until = 0.0
        self._is_probing = False
        self._pending = PendingInvalidations()

    async def execute(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``work``; raise ``CacheError`` after a failure."""
        if self._has_failed or self._pending or self._is_probing:
            await self._probe(operation)
        return await self._attempt(operation, work)

    async def execute_change(
        self,
        operation: str,
        work: Callable[[], Awaitable[object]],
        keys: Iterable[str] | None,
        *,
        includes_write: bool = False,
    ) -> None:
        """Run ``work``; unless it succeeds, an invalidation of ``keys`` (None: all) is pending."""
        try:
            # Pending invalidations do not delay a change: only readers must not see stale values.
            if self._has_failed:
                await self._probe(operation)
            await self._attempt(operation, work)
        except BaseException:
            self._pending.add(keys, includes_write=includes_write)
            raise

    async def _probe(self, operation: str) -> None:
        if self._is_probing or (self._has_failed and self._clock.monotonic() < self._until):
            raise CacheError(
                f"cannot {operation}: the Redis server has failed, or invalidations are pending; "
                f"retry in {self._pause} s"
            )
        self._is_probing = True
        pending, self._pending = self._pending, PendingInvalidations()
        try:
            repeat = partial(self._repeat, pending)
            await self._attempt("repeat pending invalidations", repeat, is_probe=True)
        except BaseException:
            keys = None if pending.all_keys else pending.keys
            self._pending.add(keys, includes_write=pending.includes_write)
            raise
        finally:
            self._is_probing = False
        self._has_failed = False

    async def _attempt(
        self, operation: str, work: Callable[[], Awaitable[T]], *, is_probe: bool = False
    ) -> T:
        try:
            return await work()
        except Exception as failure:
            error = _build_error(operation, failure)
            is_reported = is_probe or not self._has_failed
            self._has_failed = True
            self._until = self._clock.monotonic() + self._pause
            if is_reported:
                self._report(error)
            raise error from failure

    def _report(self, error: CacheError) -> None:
        try:
            self._on_failure(error)
        except Exception as failure:
            logger.error(
                "on_failure of the cache has raised an error",
                exc_info=exceptions.ConcealedError(failure),
            )


def _build_error(operation: str, failure: Exception) -> CacheError:
    """Return the error to raise; the driver raised ``failure``, since arguments are checked."""
    if isinstance(failure, FAILURES):
        return CacheError(describe_error(operation, failure))
    return CacheError(
        f"cannot {operation}: redis-py has failed with {exceptions.describe_error(failure)}"
    )
