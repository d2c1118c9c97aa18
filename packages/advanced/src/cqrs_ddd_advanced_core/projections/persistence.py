"""The query roles of a persistence dispatcher, over the documents that projections write.

Subclasses set ``collection``, so they are made without arguments. The store is that of the unit of
work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar, overload

from cqrs_ddd_core.domain.aggregate import ID
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.spi.checks import ensure_searchable
from cqrs_ddd_core.spi.querying import AllOf, OneOf

from ..ports.persistence import IQueryPersistence, IQuerySpecificationPersistence
from ..ports.projections import DOC_ID, IProjectionStore
from .writing import store_of

R = TypeVar("R")
Condition = ISpecification | IQueryOptions


class _OfDocuments(ABC, Generic[R]):
    """Documents of ``collection``, each of which makes a read model."""

    collection: ClassVar[str] = ""

    @abstractmethod
    def to_dto(self, doc: dict[str, Any]) -> R:
        """The document is what JSON made of it; times and decimals in it are texts."""
        ...

    def row_scope(self) -> ISpecification | None:
        """What every answer is limited to, such as the documents of a tenant; asked at each call.

        Its fields are declared ones.
        """
        return None

    def _store(self, uow: UnitOfWork) -> IProjectionStore:
        if not self.collection:
            raise ConfigError(
                f"{type(self).__name__} lacks collection; set it as a class attribute, since a "
                "dispatcher makes its handlers without arguments"
            )
        return store_of(uow)

    async def _by_ids(self, ids: Sequence[Any], uow: UnitOfWork) -> list[R]:
        store, scope, doc_ids = self._store(uow), self.row_scope(), [str(each) for each in ids]
        if scope is None:
            docs = list((await store.get_batch(self.collection, doc_ids, uow=uow)).values())
        else:
            # Who knows the ids of the results puts them in order.
            mine = AllOf((scope, OneOf(DOC_ID, tuple(doc_ids))))
            docs = await (await store.find(self.collection, mine, uow=uow))
        return [self.to_dto(doc) for doc in docs]

    async def _search(self, criteria: Condition, uow: UnitOfWork) -> SearchResult[R]:
        ensure_searchable(criteria)
        store = self._store(uow)
        # Asked now and not later: who awaits the result may do so in the request of another tenant.
        found = await store.find(self.collection, _within(self.row_scope(), criteria), uow=uow)

        async def fetch() -> list[R]:
            return [self.to_dto(doc) for doc in await found]

        async def stream(batch_size: int) -> AsyncIterator[R]:
            documents = found.stream(batch_size)
            try:
                async for doc in documents:
                    yield self.to_dto(doc)
            finally:
                # Now, and not when it is collected: it may hold a cursor.
                if isinstance(documents, AsyncGenerator):
                    await documents.aclose()

        return SearchResult(fetch, stream)


class ProjectionBackedQueryPersistence(_OfDocuments[R], IQueryPersistence[R, ID]):
    """Reads by ids, in one statement; an id is that of the document, as text."""

    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]:
        return await self._by_ids(ids, uow)


class ProjectionBackedSpecPersistence(_OfDocuments[R], IQuerySpecificationPersistence[R]):
    """Searches by the declared fields of the collection, and by ``doc_id``."""

    async def fetch(self, criteria: Condition, uow: UnitOfWork) -> SearchResult[R]:
        return await self._search(criteria, uow)


class ProjectionBackedDualPersistence(
    _OfDocuments[R], IQueryPersistence[R, ID], IQuerySpecificationPersistence[R]
):
    """Both: ids give a list, a specification or query options a ``SearchResult``."""

    @overload
    async def fetch(self, ids: Sequence[ID], uow: UnitOfWork) -> list[R]: ...

    @overload
    async def fetch(self, ids: Condition, uow: UnitOfWork) -> SearchResult[R]: ...

    async def fetch(
        self, ids: Sequence[ID] | Condition, uow: UnitOfWork
    ) -> list[R] | SearchResult[R]:
        if isinstance(ids, (ISpecification, IQueryOptions)):
            return await self._search(ids, uow)
        return await self._by_ids(ids, uow)


def _within(scope: ISpecification | None, criteria: Condition) -> Condition:
    if scope is None:
        return criteria
    if isinstance(criteria, IQueryOptions):
        asked = criteria.specification
        return criteria.with_specification(scope if asked is None else AllOf((scope, asked)))
    return AllOf((scope, criteria))
