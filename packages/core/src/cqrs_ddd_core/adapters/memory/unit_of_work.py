"""A transaction over the fakes."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from ...ports.unit_of_work import UnitOfWork, get_current_uow
from ...primitives.exceptions import InvalidOperationError

if TYPE_CHECKING:
    from .event_store import InMemoryEventStore
    from .inbox import InMemoryInbox
    from .outbox import InMemoryOutboxStorage

C = TypeVar("C", bound="ChangeSet")
T = TypeVar("T")


class ChangeSet(Protocol):
    """What one unit of work has changed in one fake, not yet seen by others."""

    @abstractmethod
    def check(self) -> None:
        """Raise what a database would raise at the commit."""
        ...

    @abstractmethod
    def apply(self) -> int | None:
        """Make the changes visible; answers the last position given out, if any."""
        ...

    @abstractmethod
    def discard(self) -> None: ...


class InMemoryUnitOfWork(UnitOfWork):
    """All changes of all fakes become visible at the commit, or none.

    Others see what is committed, oneself also one's own changes (read committed). Every call to a
    fake suspends once, as a call to a database would.
    """

    commits_in_task: ClassVar[bool] = False

    def __init__(
        self,
        event_store: InMemoryEventStore | None = None,
        outbox: InMemoryOutboxStorage | None = None,
        inbox: InMemoryInbox | None = None,
    ) -> None:
        super().__init__()
        # Each owner finds its own kind of ChangeSet here.
        self._changes: dict[object, Any] = {}
        self._event_store = event_store and event_store.bind(self)
        self._outbox = outbox
        self._inbox = inbox

    @property
    def event_store(self) -> InMemoryEventStore:
        """The event store, bound to this transaction."""
        return _given(self._event_store, "event_store=InMemoryEventStore()")

    @property
    def outbox(self) -> InMemoryOutboxStorage:
        return _given(self._outbox, "outbox=InMemoryOutboxStorage()")

    @property
    def inbox(self) -> InMemoryInbox:
        return _given(self._inbox, "inbox=InMemoryInbox()")

    def change_set(self, owner: object, begin: Callable[[], C]) -> C:
        """The changes of this transaction in one fake, begun at the first call."""
        changes: C | None = self._changes.get(owner)
        if changes is None:
            changes = self._changes[owner] = begin()
        return changes

    async def commit(self) -> None:
        if not self._changes:
            return
        await asyncio.sleep(0)
        for changes in self._changes.values():
            changes.check()
        # No suspension from here on: all of it happens, or nothing.
        for changes in self._changes.values():
            position = changes.apply()
            if position is not None:
                self.committed_position = max(position, self.committed_position or 0)

    async def rollback(self) -> None:
        for changes in self._changes.values():
            changes.discard()
        self._changes.clear()


@asynccontextmanager
async def joined(uow: UnitOfWork | None, operation: str) -> AsyncIterator[InMemoryUnitOfWork]:
    """Take part in ``uow``, else in the open one, else in a short one of its own."""
    current = uow or get_current_uow()
    if current is None:
        async with InMemoryUnitOfWork() as own:
            await asyncio.sleep(0)
            yield own
        return
    if not isinstance(current, InMemoryUnitOfWork):
        raise InvalidOperationError(
            f"{operation} is a fake's and cannot join a {type(current).__name__}; "
            "use an InMemoryUnitOfWork"
        )
    with current.guard_exclusive(operation):
        await asyncio.sleep(0)
        yield current


def _given(carried: T | None, argument: str) -> T:
    if carried is None:
        name = argument.partition("=")[0].replace("_", " ")
        raise InvalidOperationError(
            f"this unit of work has no {name}; make it with InMemoryUnitOfWork({argument})"
        )
    return carried
