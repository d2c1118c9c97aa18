"""Aggregates, as a collection that remembers them."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from ..domain import ID, AggregateRoot, ISpecification
from .search_result import SearchResult
from .unit_of_work import UnitOfWork

__all__ = ["IBulkRepository", "IRepository"]

T = TypeVar("T", bound=AggregateRoot)


@runtime_checkable
class IRepository(Protocol[T, ID]):
    """A collection of aggregates of one type.

    ``uow`` is the unit of work to take part in: the one given, else the open one of the running
    command, else a short one of its own.
    """

    @abstractmethod
    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save a new or a changed aggregate.

        Raises ``OptimisticConcurrencyError``, here or at the commit, when the stored version is
        not the one that the aggregate was loaded with.
        """
        ...

    @abstractmethod
    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """A copy of its own, or None."""
        ...

    @abstractmethod
    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Afterwards it is absent; an id that is absent already is fine."""
        ...

    @abstractmethod
    async def list_all(
        self,
        entity_ids: list[ID] | None = None,
        uow: UnitOfWork | None = None,
    ) -> list[T]:
        """Those with these ids, in the order asked for, each once, absent ones left out.

        Without ids: all of them, in no promised order.
        """
        ...

    @abstractmethod
    async def search(
        self,
        criteria: ISpecification[T] | Any,
        uow: UnitOfWork | None = None,
    ) -> SearchResult[T]:
        """Those that satisfy a specification, or query options (``IQueryOptions``)."""
        ...


@runtime_checkable
class IBulkRepository(IRepository[T, ID], Protocol[T, ID]):
    """A repository that saves many at once."""

    @abstractmethod
    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save all of them or none; answers their ids in the same order.

        Raises ``InvalidOperationError`` for two with one id, and as ``add`` for a conflict, which
        names the aggregate.
        """
        ...
