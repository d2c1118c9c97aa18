"""Readers of hierarchies over any repository.

``uow`` is the unit of work to read in; with an explicit or a current unit of work, all reads of one
call see one state.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

from ..domain.aggregate import ID, AggregateRoot
from ..domain.services import acl, readers
from ..ports import IRepository, UnitOfWork

T = TypeVar("T", bound=AggregateRoot)
R = TypeVar("R")


class _RepositoryReader(readers.IAsyncBatchReader[ID, R], Generic[R, T, ID]):
    """Batch reader of aggregates, which converts each aggregate to a record."""

    def __init__(
        self, repository: IRepository[T, ID], uow: UnitOfWork | None, record_of: Callable[[T], R]
    ) -> None:
        self._repository = repository
        self._uow = uow
        self._record_of = record_of

    async def get_many(self, node_ids: Collection[ID]) -> Mapping[ID, R]:
        """Return the records of the aggregates that exist."""
        found = await self._repository.list_all(list(node_ids), self._uow)
        return {entity.id: self._record_of(entity) for entity in found}

    async def _get(self, node_id: ID) -> R | None:
        found = await self._repository.get(node_id, self._uow)
        return None if found is None else self._record_of(found)


class RepositoryParentReader(
    _RepositoryReader[tuple[ID, ...], T, ID], readers.IAsyncParentReader[ID], Generic[T, ID]
):
    """Reader of the parents of aggregates.

    Args:
        repository: repository of the aggregates.
        uow: unit of work to read in.
        parents: returns the ids of the parents of an aggregate.
    """

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(repository, uow, lambda entity: tuple(parents(entity)))

    async def get_parent_ids(self, node_id: ID) -> tuple[ID, ...] | None:
        """Return the parents of the aggregate, or None if it does not exist."""
        return await self._get(node_id)


class RepositoryTagReader(
    _RepositoryReader[readers.TagsAndParents[ID], T, ID],
    readers.IAsyncTagReader[ID],
    Generic[T, ID],
):
    """Reader of the tags and the parents of aggregates.

    Args:
        repository: repository of the aggregates.
        uow: unit of work to read in.
        tags: returns the tags of an aggregate.
        parents: returns the ids of the parents of an aggregate.
    """

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        tags: Callable[[T], Iterable[str]],
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(repository, uow, lambda each: (tuple(tags(each)), tuple(parents(each))))

    async def get_tags_and_parents(self, node_id: ID) -> readers.TagsAndParents[ID] | None:
        """Return the tags and parents of the aggregate, or None if it does not exist."""
        return await self._get(node_id)


class RepositoryACLReader(
    _RepositoryReader[readers.ACLAndParents[ID], T, ID], readers.IAsyncACLReader[ID], Generic[T, ID]
):
    """Reader of the access lists and the parents of aggregates.

    Args:
        repository: repository of the aggregates.
        uow: unit of work to read in.
        acl: returns the access list of an aggregate, or None.
        parents: returns the ids of the parents of an aggregate.
    """

    def __init__(
        self,
        repository: IRepository[T, ID],
        uow: UnitOfWork | None = None,
        *,
        acl: Callable[[T], acl.ACL | None],
        parents: Callable[[T], Iterable[ID]],
    ) -> None:
        super().__init__(repository, uow, lambda entity: (acl(entity), tuple(parents(entity))))

    async def get_acl_and_parents(self, node_id: ID) -> readers.ACLAndParents[ID] | None:
        """Return the list and the parents of the aggregate, or None if it does not exist."""
        return await self._get(node_id)


class CachingReader(readers.IAsyncBatchReader[readers.N, R]):
    """Reader that reads each node once, through another reader.

    Keep it no longer than one unit of work.

    Args:
        reader: async reader of batches.
    """

    def __init__(self, reader: readers.IAsyncBatchReader[readers.N, R]) -> None:
        self._reader = reader
        self._records: dict[readers.N, R | None] = {}

    async def get_many(self, node_ids: Collection[readers.N]) -> Mapping[readers.N, R]:
        """Return the records of the nodes that exist, and read only the nodes that are new."""
        if unread := [node_id for node_id in node_ids if node_id not in self._records]:
            found = await self._reader.get_many(unread)
            self._records.update((node_id, found.get(node_id)) for node_id in unread)
        records = ((node_id, self._records[node_id]) for node_id in node_ids)
        return {node_id: record for node_id, record in records if record is not None}
