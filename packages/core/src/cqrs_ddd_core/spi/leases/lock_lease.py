"""The lease of a held lock, and checks that all lock adapters share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ...primitives.exceptions import InvalidOperationError
from .lease_renewal import LeaseRenewal

LONGEST = 1e9
"""Longest ``ttl``, in seconds."""


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


def ensure_lockable(resource: object, *, ttl: float, timeout: float = 0.0) -> None:
    """Raise ``InvalidOperationError`` for a name, ``ttl`` or ``timeout`` that no lock accepts."""
    if not isinstance(resource, str) or not resource:
        raise InvalidOperationError(
            f"the name of a lock must be a text that is not empty, got {resource!r}"
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
