"""Ports of repositories."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from ..domain import ID, AggregateRoot, IQueryOptions, ISpecification
from ..primitives.exceptions import EntityNotFoundError
from .search_result import SearchResult
from .unit_of_work import UnitOfWork

__all__ = ["IBulkRepository", "IRepository"]

T = TypeVar("T", bound=AggregateRoot)


@runtime_checkable
class IRepository(Protocol[T, ID]):
    """Collection of the aggregates of one type.

    Each call takes part in the ``uow`` argument, else in the current unit of work, else in a new
    one for this call.
    """

    @abstractmethod
    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save a new or a changed aggregate, and return its id.

        Raises:
            AlreadyExistsError: the aggregate is new, and the unit of work has not looked for its
                id, which a stored aggregate has.
            OptimisticConcurrencyError: the stored version is not the version that the aggregate was
                loaded with; raised here or at the commit.
        """
        ...

    @abstractmethod
    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return a copy of the aggregate, or None if the id does not exist."""
        ...

    @abstractmethod
    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete the aggregate and return the id; an id that does not exist is accepted."""
        ...

    @abstractmethod
    async def list_all(
        self,
        entity_ids: list[ID] | None = None,
        uow: UnitOfWork | None = None,
    ) -> list[T]:
        """Return the aggregates with these ids, or all aggregates in any order.

        With ids, the aggregates come in the order of the ids, each once; ids that do not exist are
        left out.
        """
        ...

    @abstractmethod
    async def search(
        self,
        criteria: ISpecification[T] | Any,
        uow: UnitOfWork | None = None,
    ) -> SearchResult[T]:
        """Return the aggregates that satisfy a specification or query options."""
        ...


@runtime_checkable
class IBulkRepository(IRepository[T, ID], Protocol[T, ID]):
    """Repository that can save many aggregates at once, and load one that must exist."""

    async def get_one(self, entity_id: ID, uow: UnitOfWork | None = None) -> T:
        """Return the aggregate that ``get`` returns.

        Raises:
            EntityNotFoundError: the id does not exist.
        """
        found = await self.get(entity_id, uow)
        if found is None:
            raise EntityNotFoundError.missing_from(type(self).__name__, entity_id)
        return found

    @abstractmethod
    async def search(
        self, criteria: ISpecification[T] | IQueryOptions[T], uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        """Return the aggregates that satisfy a specification or query options."""
        ...

    @abstractmethod
    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save all aggregates, or none, and return their ids in the same order.

        Raises:
            InvalidOperationError: two aggregates have the same id.
            AlreadyExistsError: a new aggregate has the id of a stored one.
            OptimisticConcurrencyError: the stored version of an aggregate, which the error names,
                is not the version that it was loaded with.
        """
        ...
