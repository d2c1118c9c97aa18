"""Locks of the fakes, which a unit of work keeps to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from cqrs_ddd_core.adapters.memory.transaction import ChangeSet, InMemoryTransaction
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError


class TransactionLocks:
    """First come, first served; shared ones go together, an exclusive one goes alone."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, _Key] = {}

    async def take(self, key: Hashable, uow: InMemoryTransaction, *, shared: bool = False) -> None:
        """Wait for it; raises ``ConcurrencyError`` where two would wait for each other."""
        owner = uow.change_set(self, lambda: _Owner(self))
        lock = self._keys.setdefault(key, _Key())
        if lock.holders.get(owner) in (False, shared):
            return
        wish = _Wish(owner, shared, asyncio.get_running_loop().create_future())
        lock.queue.append(wish)
        owner.wish = key, wish
        try:
            self._grant(key)
            if self._waits_for_itself(owner):
                raise ConcurrencyError(
                    f"deadlock: another transaction holds {key!r}; retry this one"
                )
            await wish.granted
        finally:
            owner.wish = None
            if wish in lock.queue:
                lock.queue.remove(wish)
                self._grant(key)

    def release(self, owner: _Owner) -> None:
        for key in [key for key, lock in self._keys.items() if owner in lock.holders]:
            del self._keys[key].holders[owner]
            self._grant(key)

    def _grant(self, key: Hashable) -> None:
        lock = self._keys[key]
        while lock.queue and not lock.blockers_of(lock.queue[0]):
            wish = lock.queue.pop(0)
            if wish.granted.done():
                continue  # Cancelled, and its task has not run yet.
            lock.holders[wish.owner] = wish.shared
            wish.granted.set_result(None)
        if not lock.queue and not lock.holders:
            del self._keys[key]

    def _waits_for_itself(self, owner: _Owner) -> bool:
        seen: set[_Owner] = set()
        waiting = [owner]
        while waiting:
            each = waiting.pop()
            if each.wish is None or each.wish[1].granted.done():
                continue
            key, wish = each.wish
            blockers = self._keys[key].blockers_of(wish)
            if owner in blockers:
                return True
            waiting += blockers - seen
            seen |= blockers
        return False


@dataclass(eq=False)
class _Owner(ChangeSet):
    """A unit of work, and what it waits for."""

    locks: TransactionLocks
    wish: tuple[Hashable, _Wish] | None = None

    def check(self) -> None:
        pass

    def apply(self) -> None:
        self.locks.release(self)

    def discard(self) -> None:
        self.locks.release(self)


@dataclass(eq=False)
class _Wish:
    owner: _Owner
    shared: bool
    granted: asyncio.Future[None]


@dataclass(eq=False)
class _Key:
    holders: dict[_Owner, bool] = field(default_factory=dict)
    """Whether each has it shared."""
    queue: list[_Wish] = field(default_factory=list)

    def blockers_of(self, wish: _Wish) -> set[_Owner]:
        """Who has it, and who came before."""
        before = self.queue[: self.queue.index(wish)]
        held = {
            each
            for each, shared in self.holders.items()
            if each is not wish.owner and not (shared and wish.shared)
        }
        return held | {each.owner for each in before}
