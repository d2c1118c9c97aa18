"""When a server is asked that may be away, and what it is owed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import CacheError

from .driver import FAILURES, explain

T = TypeVar("T")

MOST_OWED = 10_000
"""Keys that are remembered one by one; beyond, everything is owed."""

logger = logging.getLogger(__name__)


class Owed:
    """What the server should have deleted, and may have not.

    ``is_written`` says that a write may still be on its way, which must not come after it.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.everything = False
        self.is_written = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.keys)

    def add(self, keys: Iterable[str] | None, *, is_written: bool = False) -> None:
        """Everything, where ``keys`` is None or there are too many of them."""
        self.is_written |= is_written
        if keys is not None and not self.everything:
            self.keys.update(keys)
        if keys is None or len(self.keys) > MOST_OWED:
            self.everything = True
            self.keys.clear()


class Circuit:
    """After a failure the server is not asked for ``pause`` seconds, then by one call at a time.

    Told to ``on_failure`` are the first failure, and each try that fails again: of those that were
    under way together, one.
    As long as anything is owed the server may have what was deleted: whoever asks next repeats it
    first, and the others have no answer until then.
    """

    def __init__(
        self,
        repeat: Callable[[Owed], Awaitable[None]],
        *,
        pause: float,
        clock: IClock,
        on_failure: Callable[[CacheError], object] | None,
    ) -> None:
        self._repeat = repeat
        self._pause = pause
        self._clock = clock
        self._on_failure = on_failure or _log
        self._has_failed = False
        self._until = 0.0
        self._is_trying = False
        self._owed = Owed()

    async def ask(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Raises ``CacheError``, without asking where the server is left alone."""
        if self._has_failed or self._owed or self._is_trying:
            await self._return(operation)
        return await self._attempt(operation, work)

    async def change(
        self,
        operation: str,
        work: Callable[[], Awaitable[object]],
        keys: Iterable[str] | None,
        *,
        is_written: bool = False,
    ) -> None:
        """As ``ask``; unless it succeeds, these keys are owed, or everything where it is None."""
        try:
            # What is owed by others is no reason to owe this too: only who reads waits for it.
            if self._has_failed:
                await self._return(operation)
            await self._attempt(operation, work)
        except BaseException:
            self._owed.add(keys, is_written=is_written)
            raise

    async def _return(self, operation: str) -> None:
        if self._is_trying or (self._has_failed and self._clock.monotonic() < self._until):
            raise CacheError(
                f"cannot {operation}: the Redis server has failed, or has not been told yet what "
                f"to delete; ask again in {self._pause} s"
            )
        self._is_trying = True
        owed, self._owed = self._owed, Owed()
        try:
            await self._attempt("repeat what is owed", lambda: self._repeat(owed), is_try=True)
        except BaseException:
            self._owed.add(None if owed.everything else owed.keys, is_written=owed.is_written)
            raise
        finally:
            self._is_trying = False
        self._has_failed = False

    async def _attempt(
        self, operation: str, work: Callable[[], Awaitable[T]], *, is_try: bool = False
    ) -> T:
        try:
            return await work()
        except Exception as failure:
            error = _error(operation, failure)
            is_new = is_try or not self._has_failed
            self._has_failed = True
            self._until = self._clock.monotonic() + self._pause
            if is_new:
                self._report(error)
            raise error from failure

    def _report(self, error: CacheError) -> None:
        try:
            self._on_failure(error)
        except Exception:
            logger.exception("the hook for failures of the cache failed itself")


def _error(operation: str, failure: Exception) -> CacheError:
    """Whatever it is: what the caller gave was judged before, so that it is the driver's."""
    if isinstance(failure, FAILURES):
        return CacheError(explain(operation, failure))
    return CacheError(f"cannot {operation}: redis-py has failed with {failure!r}")


def _log(error: CacheError) -> None:
    logger.warning("%s", error)
