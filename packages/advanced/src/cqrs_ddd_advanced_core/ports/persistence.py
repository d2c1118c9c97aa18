"""Ports of the persistence dispatcher: roles that save and load aggregates and query results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from cqrs_ddd_core import ID, AggregateRoot, IQueryOptions, ISpecification, SearchResult, UnitOfWork

T = TypeVar("T", bound=AggregateRoot)
T_contra = TypeVar("T_contra", bound=AggregateRoot, contravariant=True)
ID_co = TypeVar("ID_co", bound="str | int | UUID", covariant=True)
ID_contra = TypeVar("ID_contra", bound="str | int | UUID", contravariant=True)
R = TypeVar("R")

Condition = ISpecification | IQueryOptions
"""A specification, or query options."""
Criteria = Sequence[object] | Condition
"""Ids, a specification, or query options."""

IdOf = Callable[[Any], object]
"""Function from a result to its id."""


@runtime_checkable
class IOperationPersistence(Protocol[T_contra, ID_co]):
    """Role that saves aggregates of one type, as their events or as their state.

    ``persist`` may have a further parameter ``events``: it receives the events that were passed to
    ``apply``, or None.
    """

    @abstractmethod
    async def persist(self, entity: T_contra, uow: UnitOfWork) -> ID_co:
        """Save the aggregate and return its id."""
        ...


@runtime_checkable
class IRetrievalPersistence(Protocol[T, ID_contra]):
    """Role that loads aggregates of one type."""

    @abstractmethod
    async def retrieve(self, ids: Sequence[ID_contra], uow: UnitOfWork) -> list[T]:
        """Return the aggregates that exist; ``ids`` contains each id once."""
        ...


@runtime_checkable
class IQueryPersistence(Protocol[R, ID_contra]):
    """Role that reads results of one type by id."""

    @abstractmethod
    async def fetch(self, ids: Sequence[ID_contra], uow: UnitOfWork) -> list[R]:
        """Return the results that exist; ``ids`` contains each id once."""
        ...


@runtime_checkable
class IQuerySpecificationPersistence(Protocol[R]):
    """Role that searches results of one type."""

    @abstractmethod
    async def fetch(self, criteria: ISpecification, uow: UnitOfWork) -> SearchResult[R]:
        """Search by a specification or by query options (``IQueryOptions``)."""
        ...


@runtime_checkable
class IPersistenceDispatcher(Protocol):
    """Dispatcher to the handlers that are registered for a type.

    The unit of work is the argument ``uow``, or else the current one, or else a new one for this
    call. Every method raises ``HandlerNotRegisteredError`` for a type without a handler.
    """

    @abstractmethod
    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        """Save the aggregate with all of its handlers; return the id from the first handler.

        Args:
            entity: the aggregate.
            uow: unit of work to write in.
            events: events of the aggregate that were collected already, for handlers that accept
                them.
        """
        ...

    @abstractmethod
    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[object], uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates that exist, each once, in the order of the ids."""
        ...

    @abstractmethod
    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        """Return the results of ids, in their order, or of a specification or query options.

        Streaming the result needs a given or current unit of work. The result belongs to
        the tenant and user of the request that calls ``fetch``, even if another request awaits it.

        Args:
            result_type: class of the results.
            criteria: ids, a specification, or query options.
            uow: unit of work to read in.
        """
        ...


@runtime_checkable
class IResultCatalog(IPersistenceDispatcher, Protocol):
    """Dispatcher that lists the types of results that it can read by id."""

    @property
    @abstractmethod
    def result_types(self) -> Mapping[type, IdOf | None]:
        """Types that are read by id, each with the function that returns its id, or None."""
        ...
