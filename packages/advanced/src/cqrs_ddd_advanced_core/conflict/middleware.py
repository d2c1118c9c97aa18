"""Commands that are decided again after a conflict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

from cqrs_ddd_core.messages.command import Command
from cqrs_ddd_core.ports.clock import IClock, SystemClock
from cqrs_ddd_core.ports.middleware import IMiddleware, Placement
from cqrs_ddd_core.ports.unit_of_work import get_current_uow
from cqrs_ddd_core.primitives.retry import RetryPolicy

from .retry import CONFLICT_RETRY, retry_on_conflict


class ConflictRetryMiddleware(IMiddleware):
    """Runs a command that ended in a conflict again, as a whole, in a fresh unit of work.

    Only where no unit of work is open: a nested command hands its conflict up to the outermost
    one. List it before ``LockingMiddleware``, so that no lock is held while it waits, and
    after what is to happen once, such as ``ValidatorMiddleware``.

    Args:
        retry: how often, and how long to wait; at most 5 tries unless said otherwise.
        clock: waits.
    """

    placement: ClassVar[Placement] = Placement.OUTSIDE

    def __init__(self, retry: RetryPolicy = CONFLICT_RETRY, *, clock: IClock | None = None) -> None:
        self._retry = retry
        self._clock = clock or SystemClock()

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        if not isinstance(message, Command) or get_current_uow() is not None:
            return await next_(message)
        return await retry_on_conflict(
            partial(next_, message),
            policy=self._retry,
            clock=self._clock,
            subject=type(message).__name__,
            subject_id=message.command_id,
        )
