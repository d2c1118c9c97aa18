"""Read-only unit of work of a query, created at its first use."""

from collections.abc import Callable, Coroutine
from typing import Any

from ..primitives.exceptions import ConfigError
from .unit_of_work import UnitOfWork, current_uow

Read = Callable[[Any], Coroutine[object, None, Any]]


def read_in_unit_of_work(new_unit_of_work: Callable[[], UnitOfWork], read: Read) -> Read:
    """Return a function whose reads share the current unit of work, or else a new read-only one.

    Args:
        new_unit_of_work: creates a read-only unit of work, when the reads first need one.
        read: awaited with the argument of the function.
    """

    async def run(query: object) -> object:
        outer = current_uow.get()
        if outer is not None and outer.is_open:
            return await read(query)
        deferred = _DeferredUnitOfWork(new_unit_of_work)
        current_uow.set(deferred)
        try:
            answer: object = await read(query)
        except BaseException as error:
            deferred.is_open = False
            await deferred.leave(error)
            raise
        else:
            deferred.is_open = False
            if deferred.uow is not None:
                await deferred.leave()
            return answer
        finally:
            current_uow.set(outer)

    return run


class _DeferredUnitOfWork:
    """Place of the current unit of work while a query runs."""

    # Defaults of the class, since each query creates an object.
    is_open: bool = True
    uow: UnitOfWork | None = None

    def __init__(self, new_unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._new_unit_of_work = new_unit_of_work

    def find_joined(self) -> UnitOfWork | None:
        """Return the unit of work, created at the first call, or None after the query."""
        if not self.is_open:
            return None
        if self.uow is None:
            uow = self._new_unit_of_work()
            if not uow.read_only:
                raise ConfigError(
                    f"query_uow_factory created a {type(uow).__name__} that can write; pass "
                    "read_only=True to it"
                )
            uow.is_managed = True
            self.uow = uow
        return self.uow.find_joined()

    async def leave(self, error: BaseException | None = None) -> None:
        if self.uow is not None:
            self.uow.is_managed = False
            # It was never entered, since that may wait; leaving the block rolls back.
            await self.uow.__aexit__(None, error, None)
