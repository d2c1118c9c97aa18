"""Deciding again after a conflict, from the start."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    LeaseLostError,
    LockAcquisitionError,
)
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy

R = TypeVar("R")

logger = logging.getLogger(__name__)

CONFLICT_RETRY: Final = ExponentialBackoffPolicy(max_attempts=5, base=0.01, maximum=1.0)
"""Full jitter: a wait of at most 10, 20, 40 and 80 milliseconds."""


def is_conflict(error: BaseException) -> bool:
    """Another version is stored, or the database gave up a transaction in favour of another."""
    # Who waited for a lock has waited already, and who lost a lease has no right any more.
    is_refusal = isinstance(error, (LockAcquisitionError, LeaseLostError))
    return isinstance(error, ConcurrencyError) and not is_refusal


async def retry_on_conflict(
    attempt: Callable[[], Awaitable[R]],
    *,
    policy: RetryPolicy,
    clock: IClock,
    subject: str,
    subject_id: object,
) -> R:
    """What the first try without a conflict answers; each wait is a span ``conflict.retry``.

    When the policy has had enough, the last error goes up as it is, and a log line tells the tries.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return await attempt()
        except ConcurrencyError as error:
            if not is_conflict(error):
                raise
            if not policy.should_retry(tries, error):
                logger.warning(
                    "%s %s is given up after %d tries: %r", subject, subject_id, tries, error
                )
                raise
            conflict = type(error).__name__
        # Out of the except block, or each error would hold on to all earlier ones.
        with hooks.span(
            "conflict.retry",
            subject=subject,
            subject_id=subject_id,
            attempt=tries,
            error=conflict,
        ):
            await clock.sleep(policy.get_backoff(tries))
