"""Where aggregates are kept and read models are read, one small role each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork

AnyAggregate = AggregateRoot[Any]
"""An aggregate with any kind of id."""
T = TypeVar("T", bound=AnyAggregate)
T_contra = TypeVar("T_contra", bound=AnyAggregate, contravariant=True)
ID_co = TypeVar("ID_co", bound="str | int | UUID", covariant=True)
ID_contra = TypeVar("ID_contra", bound="str | int | UUID", contravariant=True)
R = TypeVar("R")

Criteria = Sequence[Any] | ISpecification[Any] | IQueryOptions[Any]
"""Ids, a specification, or query options."""

IdOf = Callable[[Any], object]
"""From a read model to its id."""


@runtime_checkable
class IOperationPersistence(Protocol[T_contra, ID_co]):
    """Saves aggregates of one type, by their events or by their state.

    ``persist`` may take ``events`` as well; it then gets what was given to ``apply``, or None.
    """

    @abstractmethod
    async def persist(self, entity: T_contra, uow: UnitOfWork) -> ID_co: ...


@runtime_checkable
class IRetrievalPersistence(Protocol[T, ID_contra]):
    """Loads aggregates of one type."""

    @abstractmethod
    async def retrieve(self, ids: Sequence[ID_contra], uow: UnitOfWork) -> list[T]:
        """Those that there are; each id is asked for once."""
        ...


@runtime_checkable
class IQueryPersistence(Protocol[R, ID_contra]):
    """Reads one type of read model by id."""

    @abstractmethod
    async def fetch(self, ids: Sequence[ID_contra], uow: UnitOfWork) -> list[R]:
        """Those that there are; each id is asked for once."""
        ...


@runtime_checkable
class IQuerySpecificationPersistence(Protocol[R]):
    """Searches one type of read model."""

    @abstractmethod
    async def fetch(self, criteria: ISpecification[Any], uow: UnitOfWork) -> SearchResult[R]:
        """``criteria`` may be query options (``IQueryOptions``) too."""
        ...


@runtime_checkable
class IPersistenceDispatcher(Protocol):
    """The one entrance to what is registered for a type.

    ``uow`` is the unit of work to take part in: the one given, else the open one of the running
    command, else a short one of its own. Raises ``HandlerNotRegisteredError`` for a type that has
    no handler, with the call to make.
    """

    @abstractmethod
    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        """Save the aggregate by all of its handlers, in one unit of work; the id that the first of
        them answers."""
        ...

    @abstractmethod
    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[T]:
        """In the order of the ids, each once, absent ones left out."""
        ...

    @abstractmethod
    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        """Read models by ids, in their order, or by a specification or query options.

        To stream the result takes a unit of work, given or open. Tenant and user are those of the
        request that asks, also if the result is awaited later.
        """
        ...


@runtime_checkable
class IReadModels(IPersistenceDispatcher, Protocol):
    """A dispatcher that knows which read models it answers by id."""

    @property
    @abstractmethod
    def read_models(self) -> Mapping[type[Any], IdOf | None]:
        """How to tell the id of each; None where nothing tells it."""
        ...
