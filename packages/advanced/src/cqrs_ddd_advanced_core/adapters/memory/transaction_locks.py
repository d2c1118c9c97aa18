"""Locks that in-memory transactions hold until they end."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from cqrs_ddd_core.adapters.memory.transaction import ChangeSet, InMemoryTransaction


class TransactionLocks:
    """Table of locks by key, granted in the order of the requests.

    Several transactions may share a lock; an exclusive holder excludes all others. Deadlocks are
    not detected: two transactions that wait for each other wait until one of them is cancelled.
    """

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}

    async def acquire(
        self, key: Hashable, transaction: InMemoryTransaction, *, shared: bool = False
    ) -> None:
        """Wait until the transaction holds the lock, which is released when the transaction ends.

        A request for a lock that the transaction already holds returns at once, unless it turns a
        shared lock into an exclusive one.
        """
        holder = transaction.change_set(self, lambda: _Holder(self))
        lock = self._locks.setdefault(key, _Lock())
        if lock.holders.get(holder) in (False, shared):
            return
        request = _Request(holder, shared, asyncio.get_running_loop().create_future())
        lock.requests.append(request)
        try:
            self._grant(key)
            await request.granted
        finally:
            if request in lock.requests:
                lock.requests.remove(request)
                self._grant(key)

    def release(self, holder: _Holder) -> None:
        """Release all locks of an ended transaction."""
        for key in [key for key, lock in self._locks.items() if holder in lock.holders]:
            del self._locks[key].holders[holder]
            self._grant(key)

    def _grant(self, key: Hashable) -> None:
        lock = self._locks[key]
        while lock.requests and lock.admits(lock.requests[0]):
            request = lock.requests.pop(0)
            if request.granted.done():
                continue  # The waiter is cancelled, and its task has not run yet.
            lock.holders[request.holder] = request.shared
            request.granted.set_result(None)
        if not lock.requests and not lock.holders:
            del self._locks[key]


@dataclass(eq=False)
class _Holder(ChangeSet):
    """Transaction that releases its locks when it ends."""

    locks: TransactionLocks

    def apply(self) -> None:
        self.locks.release(self)

    def discard(self) -> None:
        self.locks.release(self)


@dataclass(eq=False)
class _Request:
    holder: _Holder
    shared: bool
    granted: asyncio.Future[None]


@dataclass(eq=False)
class _Lock:
    holders: dict[_Holder, bool] = field(default_factory=dict)
    """True for a holder that shares the lock, False for an exclusive one."""
    requests: list[_Request] = field(default_factory=list)

    def admits(self, request: _Request) -> bool:
        others = (shared for each, shared in self.holders.items() if each is not request.holder)
        return all(shared and request.shared for shared in others)
