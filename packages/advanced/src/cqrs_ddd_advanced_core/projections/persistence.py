"""Handlers of a persistence dispatcher that query the documents of projections.

A subclass sets ``collection``, so that a dispatcher can create it without arguments. The store is
the projection store of the unit of work. The first query creates a collection that does not exist,
with the fields of the result type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import ClassVar, Generic, TypeVar, get_args, get_origin, overload

from cqrs_ddd_core import ID, ConfigError, IQueryOptions, ISpecification, SearchResult, UnitOfWork
from cqrs_ddd_core.spi.checks import ensure_searchable
from cqrs_ddd_core.spi.querying import AllOf, OneOf

from ..ports.persistence import Condition, IQueryPersistence, IQuerySpecificationPersistence, R
from ..ports.projections import DOC_ID, IProjectionStore, JsonDocument
from ..spi.document_fields import derive_fields
from .documents import get_projection_store


class _DocumentQueries(ABC, Generic[R]):
    """Queries of one collection, with a result for each document."""

    collection: ClassVar[str] = ""
    _result_type: ClassVar[object] = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            results = [each for each in get_args(base) if not isinstance(each, TypeVar)]
            if results and issubclass(get_origin(base), _DocumentQueries):
                cls._result_type = results[0]

    @abstractmethod
    def to_dto(self, doc: JsonDocument) -> R:
        """Return the result for a document, in which times and decimals are texts."""
        ...

    def row_scope(self) -> ISpecification | None:
        """Return a condition on declared fields that limits every query, such as the tenant's.

        The method is called for each query.
        """
        return None

    async def _open_store(self, uow: UnitOfWork) -> IProjectionStore | None:
        """Return the store, or None in a read-only unit of work before the collection exists."""
        if not self.collection:
            raise ConfigError(
                f"{type(self).__name__} has no collection; set it as a class attribute, since a "
                "dispatcher creates its handlers without arguments"
            )
        store = get_projection_store(uow)
        fields = derive_fields(self._result_type)
        return store if await store.open_collection(self.collection, fields, uow=uow) else None

    async def _fetch_by_ids(self, ids: Sequence[object], uow: UnitOfWork) -> list[R]:
        store, scope = await self._open_store(uow), self.row_scope()
        doc_ids = [str(each) for each in ids]
        if store is None:
            return []
        if scope is None:
            docs = list((await store.get_batch(self.collection, doc_ids, uow=uow)).values())
        else:
            # The dispatcher sorts the results by the ids.
            selected = AllOf((scope, OneOf(DOC_ID, tuple(doc_ids))))
            docs = await (await store.find(self.collection, selected, uow=uow))
        return [self.to_dto(doc) for doc in docs]

    async def _search(self, criteria: Condition, uow: UnitOfWork) -> SearchResult[R]:
        ensure_searchable(criteria)
        store = await self._open_store(uow)
        if store is None:
            return SearchResult.from_items([])
        # Read the scope now: the result may be awaited in the request of another tenant.
        limited = _limit(criteria, self.row_scope())
        found = await store.find(self.collection, limited, uow=uow)

        async def fetch() -> list[R]:
            return [self.to_dto(doc) for doc in await found]

        async def take(count: int) -> list[R]:
            return [self.to_dto(doc) for doc in await found.take(count)]

        async def stream(batch_size: int) -> AsyncIterator[R]:
            documents = found.stream(batch_size)
            try:
                async for doc in documents:
                    yield self.to_dto(doc)
            finally:
                # Close at once, and not at garbage collection, since it may hold a cursor.
                if isinstance(documents, AsyncGenerator):
                    await documents.aclose()

        return SearchResult(fetch, stream, take=take, count=found.count)


class ProjectionBackedQueryPersistence(_DocumentQueries[R], IQueryPersistence[R, ID]):
    """Query by ids of documents, as text, with one statement."""

    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]:
        """Return the results of the documents that exist."""
        return await self._fetch_by_ids(ids, uow)


class ProjectionBackedSpecPersistence(_DocumentQueries[R], IQuerySpecificationPersistence[R]):
    """Search by the declared fields of the collection, and by ``doc_id``."""

    async def fetch(self, criteria: Condition, uow: UnitOfWork) -> SearchResult[R]:
        """Search within the row scope of the request that calls ``fetch``."""
        return await self._search(criteria, uow)


class ProjectionBackedDualPersistence(
    _DocumentQueries[R], IQueryPersistence[R, ID], IQuerySpecificationPersistence[R]
):
    """Query by ids, which returns a list, and search, which returns a ``SearchResult``."""

    @overload
    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]: ...

    @overload
    async def fetch(self, ids: Condition, uow: UnitOfWork) -> SearchResult[R]: ...

    async def fetch(
        self, ids: Sequence[ID] | Condition, uow: UnitOfWork
    ) -> list[R] | SearchResult[R]:
        """Return a list for ids, and a ``SearchResult`` for a specification or query options."""
        if isinstance(ids, (ISpecification, IQueryOptions)):
            return await self._search(ids, uow)
        return await self._fetch_by_ids(ids, uow)


ProjectionBackedPersistence = ProjectionBackedDualPersistence
"""General name of the handler for both ways of querying."""


def _limit(criteria: Condition, scope: ISpecification | None) -> Condition:
    if scope is None:
        return criteria
    if isinstance(criteria, IQueryOptions):
        given = criteria.specification
        return criteria.with_specification(scope if given is None else AllOf((scope, given)))
    return AllOf((scope, criteria))
