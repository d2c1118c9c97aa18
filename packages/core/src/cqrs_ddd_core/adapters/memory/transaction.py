"""Transaction of the in-memory stores."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar

from ...ports.unit_of_work import UnitOfWork, get_current_uow
from ...primitives.exceptions import InvalidOperationError

C = TypeVar("C", bound="ChangeSet")


class ChangeSet(Protocol):
    """Changes of one transaction to one store, invisible to others until the commit."""

    def check(self) -> None:
        """Raise the error that a database would raise at the commit, if there is any."""
        return

    @abstractmethod
    def apply(self) -> int | None:
        """Make the changes visible; return the last position that was assigned, if any."""
        ...

    def discard(self) -> None:
        """Release resources, such as reserved ids, after a rollback."""
        return


class InMemoryTransaction(UnitOfWork):
    """Unit of work that makes its changes in all in-memory stores visible at once, at the commit.

    Other transactions see committed changes only (read committed). Each call to a store suspends
    once, as a call to a database does.

    Args:
        read_only: True to reject every change.
    """

    commits_in_task: ClassVar[bool] = False

    def __init__(self, *, read_only: bool = False) -> None:
        super().__init__()
        self.read_only = read_only
        # Each store finds its own kind of ChangeSet here.
        self._changes: dict[object, Any] = {}

    def change_set(self, store: object, begin: Callable[[], C]) -> C:
        """Return the changes of this transaction to ``store``; ``begin`` creates them."""
        changes: C | None = self._changes.get(store)
        if changes is None:
            changes = self._changes[store] = begin()
        return changes

    async def commit(self) -> None:
        """Check the changes to all stores, then make them visible together."""
        if not self._changes:
            return
        await asyncio.sleep(0)
        for changes in self._changes.values():
            changes.check()
        # No suspension from here on, so that other tasks see all changes or none.
        for changes in self._changes.values():
            position = changes.apply()
            if position is not None:
                self.committed_position = max(position, self.committed_position or 0)

    async def rollback(self) -> None:
        """Discard the changes to all stores."""
        for changes in self._changes.values():
            changes.discard()
        self._changes.clear()


@asynccontextmanager
async def join_transaction(
    uow: UnitOfWork | None, operation: str, *, writes: bool = False
) -> AsyncIterator[InMemoryTransaction]:
    """Take part in ``uow``, in the current unit of work, or in a new one for this call.

    Raises:
        ReadOnlyError: the operation ``writes``, and the unit of work is read-only.
    """
    current = uow or get_current_uow()
    if current is None:
        async with InMemoryTransaction() as own:
            await asyncio.sleep(0)
            yield own
        return
    if not isinstance(current, InMemoryTransaction):
        raise InvalidOperationError(
            f"cannot {operation}: an in-memory store cannot join a {type(current).__name__}; "
            "use an InMemoryUnitOfWork"
        )
    with current.guard_exclusive(operation):
        await asyncio.sleep(0)
        if writes:
            current.ensure_writable(operation)
        yield current
