"""What every lock says: of a lease that is held, and of one that is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ...primitives.exceptions import InvalidOperationError, LeaseLostError, LockAcquisitionError
from .lease_renewal import LeaseRenewal

LONGEST = 1e9
"""Seconds of a ttl."""


@dataclass(frozen=True)
class LockLease:
    """``ILockLease`` of a lock that is renewed while its block runs."""

    resource: str
    fencing_token: int
    renewal: LeaseRenewal

    @property
    def lost(self) -> asyncio.Event:
        return self.renewal.lost

    def check(self) -> None:
        self.renewal.check()


def is_of_another_live_task(task: asyncio.Task[Any] | None) -> bool:
    """On Python 3.10 and 3.11 asyncio.wait_for acquires in a task of its own, which then ends."""
    return task is not None and task is not asyncio.current_task() and not task.done()


def refuse_unusable(resource: object, *, ttl: float, timeout: float = 0.0) -> None:
    if not isinstance(resource, str) or not resource:
        raise InvalidOperationError(f"a lock is named by a text, got {resource!r}")
    try:
        resource.encode()
    except UnicodeEncodeError:
        raise InvalidOperationError(
            f"a lock is named by a text that UTF-8 has, got {resource!r}"
        ) from None
    if not 0 < ttl <= LONGEST or not timeout >= 0:
        raise InvalidOperationError(
            f"cannot lock {resource} with ttl={ttl}, timeout={timeout}; ttl must be positive "
            f"seconds up to {LONGEST:.0e}, timeout not negative"
        )


def not_free(resource: str, timeout: float) -> LockAcquisitionError:
    return LockAcquisitionError(
        f"{resource} was not free within {timeout} s; try again, or wait longer",
        resource=resource,
        timeout=timeout,
    )


def not_released(resource: str, reason: str) -> LeaseLostError:
    return LeaseLostError(f"cannot release {resource}: {reason}", resource=resource)
