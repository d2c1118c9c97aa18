"""The readers of the domain services over any repository.

``uow`` is the unit of work to read in, as for the repository itself: give one, or run inside one,
and all reads of an answer see one state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

from ..domain.aggregate import ID, AggregateRoot
from ..domain.services.acl import ACL
from ..domain.services.readers import N
from ..domain.services.reading import (
    AsyncACLReader,
    AsyncParentReader,
    AsyncTagReader,
    as_async_batch_reader,
)
from ..ports.hierarchy import (
    IAsyncACLReader,
    IAsyncBatchACLReader,
    IAsyncBatchParentReader,
    IAsyncBatchTagReader,
    IAsyncParentReader,
    IAsyncTagReader,
)
from ..ports.repository import IRepository
from ..ports.unit_of_work import UnitOfWork

T = TypeVar("T", bound=AggregateRoot)
R = TypeVar("R")


class _RepositoryReader(Generic[R, T, ID]):
    def __init__(
        self, repository: IRepository[T, ID], uow: UnitOfWork | None, record: Callable[[T], R]
    ) -> None:
        self._repository = repository
        self._uow = uow
        self._record = record

    async def _one(self, node_id: ID) -> R | None:
        found = await self._repository.get(node_id, self._uow)
        return None if found is None else self._record(found)

    async def _many(self, node_ids: Collection[ID]) -> Mapping[ID, R]:
        found = await self._repository.list_all(list(node_ids), self._uow)
        return {entity.id: self._record(entity) for entity in found}


class RepositoryParentReader(
    _RepositoryReader[tuple[ID, ...], T, ID],
    IAsyncParentReader[ID],
    IAsyncBatchParentReader[ID],
    Generic[T, ID],
):
    """Reads ``parents``, a function of the aggregate."""

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(repository, uow, lambda entity: tuple(parents(entity)))

    async def get_parent_ids(self, node_id: ID) -> tuple[ID, ...] | None:
        return await self._one(node_id)

    async def get_parent_ids_many(self, node_ids: Collection[ID]) -> Mapping[ID, tuple[ID, ...]]:
        return await self._many(node_ids)


class RepositoryTagReader(
    _RepositoryReader[tuple[tuple[str, ...], tuple[ID, ...]], T, ID],
    IAsyncTagReader[ID],
    IAsyncBatchTagReader[ID],
    Generic[T, ID],
):
    """Reads ``tags`` and ``parents``, functions of the aggregate."""

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        tags: Callable[[T], Iterable[str]],
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(
            repository, uow, lambda entity: (tuple(tags(entity)), tuple(parents(entity)))
        )

    async def get_tags_and_parents(
        self, node_id: ID
    ) -> tuple[tuple[str, ...], tuple[ID, ...]] | None:
        return await self._one(node_id)

    async def get_tags_and_parents_many(
        self, node_ids: Collection[ID]
    ) -> Mapping[ID, tuple[tuple[str, ...], tuple[ID, ...]]]:
        return await self._many(node_ids)


class RepositoryACLReader(
    _RepositoryReader[tuple[ACL | None, tuple[ID, ...]], T, ID],
    IAsyncACLReader[ID],
    IAsyncBatchACLReader[ID],
    Generic[T, ID],
):
    """Reads ``acl`` and ``parents``, functions of the aggregate."""

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        acl: Callable[[T], ACL | None],
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(repository, uow, lambda entity: (acl(entity), tuple(parents(entity))))

    async def get_acl_and_parents(self, node_id: ID) -> tuple[ACL | None, tuple[ID, ...]] | None:
        return await self._one(node_id)

    async def get_acl_and_parents_many(
        self, node_ids: Collection[ID]
    ) -> Mapping[ID, tuple[ACL | None, tuple[ID, ...]]]:
        return await self._many(node_ids)


class CachingReader(IAsyncBatchParentReader[N], IAsyncBatchTagReader[N], IAsyncBatchACLReader[N]):
    """Asks another reader for each node once; keep it no longer than one unit of work."""

    def __init__(
        self, reader: AsyncParentReader[N] | AsyncTagReader[N] | AsyncACLReader[N]
    ) -> None:
        self._reader = as_async_batch_reader(reader)
        self._parents: dict[N, tuple[N, ...] | None] = {}
        self._tags: dict[N, tuple[tuple[str, ...], tuple[N, ...]] | None] = {}
        self._acls: dict[N, tuple[ACL | None, tuple[N, ...]] | None] = {}

    async def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return await _remembered(self._parents, node_ids, self._reader.get_parent_ids_many)

    async def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]:
        return await _remembered(self._tags, node_ids, self._reader.get_tags_and_parents_many)

    async def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]:
        return await _remembered(self._acls, node_ids, self._reader.get_acl_and_parents_many)


async def _remembered(
    seen: dict[N, R | None],
    node_ids: Collection[N],
    read: Callable[[Collection[N]], Awaitable[Mapping[N, R]]],
) -> Mapping[N, R]:
    if unseen := [node_id for node_id in node_ids if node_id not in seen]:
        found = await read(unseen)
        seen.update((node_id, found.get(node_id)) for node_id in unseen)
    records = ((node_id, seen[node_id]) for node_id in node_ids)
    return {node_id: record for node_id, record in records if record is not None}
