"""Retry of a whole command, or of any other attempt, after a conflict."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Final, TypeVar

from cqrs_ddd_core import Command, IClock, IMiddleware, Placement, get_current_uow
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.spi.system_clock import SystemClock

R = TypeVar("R")

logger = logging.getLogger(__name__)

CONFLICT_RETRY: Final = ExponentialBackoffPolicy(max_attempts=5, base=0.01, maximum=1.0)
"""At most 5 attempts; the pauses are random, up to 10, 20, 40 and 80 milliseconds."""


class ConflictRetryMiddleware(IMiddleware):
    """Middleware that runs a whole command again after a conflict, in a new unit of work.

    A nested command is not retried: the conflict reaches the outermost command. List the middleware
    before ``LockingMiddleware``, so that no lock is held during the wait, and after middleware that
    should run once per command, such as ``ValidatorMiddleware``.

    Args:
        retry: number of attempts and pauses between them; by default at most 5 attempts.
        clock: waits between attempts; by default the system clock.

    Example:
        ```python
        from cqrs_ddd_advanced_core import ConflictRetryMiddleware
        from cqrs_ddd_core import Application, InMemoryBackend, standard_middlewares

        app = Application(
            InMemoryBackend(), middlewares=standard_middlewares(ConflictRetryMiddleware())
        )
        ```
    """

    placement: ClassVar[Placement] = Placement.OUTSIDE
    order: ClassVar[int] = 30

    def __init__(self, retry: RetryPolicy = CONFLICT_RETRY, *, clock: IClock | None = None) -> None:
        errors.arguments.ensure_instance(retry, RetryPolicy, "retry")
        self._retry = retry
        self._clock = clock or SystemClock()

    async def __call__(self, message: object, next_: Callable[[object], Awaitable[R]]) -> R:
        """Run the command until it ends without a conflict or the retry policy gives up."""
        if not isinstance(message, Command) or get_current_uow() is not None:
            return await next_(message)
        return await retry_on_conflict(
            partial(next_, message),
            policy=self._retry,
            clock=self._clock,
            subject=type(message).__name__,
            subject_id=message.command_id,
        )


async def retry_on_conflict(
    attempt: Callable[[], Awaitable[R]],
    *,
    policy: RetryPolicy,
    clock: IClock,
    subject: str,
    subject_id: object,
) -> R:
    """Return the result of the first attempt without a conflict.

    Each wait is a span ``conflict.retry``. When the policy gives up, the last conflict is logged
    and raised unchanged.

    Args:
        attempt: the work of one attempt, in its own unit of work.
        policy: number of attempts and pauses between them.
        clock: waits between attempts.
        subject: name of the work, for log lines and spans.
        subject_id: id of the work, for log lines and spans.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return await attempt()
        except errors.ConcurrencyError as error:
            is_last = not policy.should_retry(tries, error)
            if is_last and _is_conflict(error):
                text = "%s %s: gave up after %d tries: %s"
                logger.warning(text, subject, subject_id, tries, errors.describe_error(error))
            if is_last or not _is_conflict(error):
                raise
            conflict = type(error).__name__
        # Sleep outside the except block: there, each error would refer to all earlier errors.
        with hooks.span(
            "conflict.retry", subject=subject, subject_id=subject_id, attempt=tries, error=conflict
        ):
            await clock.sleep(policy.get_backoff(tries))


def _is_conflict(error: errors.ConcurrencyError) -> bool:
    """Report whether another writer was first, so that a new attempt may succeed."""
    # Waiting again for a lock takes another full timeout, a lost lease cannot be regained, and an
    # id stays taken.
    return not isinstance(
        error, (errors.AlreadyExistsError, errors.LockAcquisitionError, errors.LeaseLostError)
    )
