"""Aggregates from a cache before a repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from ..domain import ID, AggregateRoot, ISpecification
from ..ports import IBulkRepository, IRepository, IVersionedCache, SearchResult
from ..ports.unit_of_work import UnitOfWork, get_current_uow
from ..primitives.exceptions import InvalidOperationError
from ..spi.caching.aggregate_codec import AggregateCodec
from ..spi.caching.fail_open_cache import FailOpenCache
from ..spi.caching.read_through import ReadThrough

T = TypeVar("T", bound=AggregateRoot)
R = TypeVar("R")


class AggregateCache(Generic[T]):
    """The cached states of one type of aggregate, for the tenant of the running request.

    A state is dropped after the commit that changed it; a fill that raced such a change is refused
    by the cache; concurrent misses of one key load it once. Within a unit of work the cache is read
    and not filled, and an aggregate that was saved or deleted in it comes from the repository. A
    cache that fails, and a state that would not come back from JSON as it is, are logged and
    passed by. Raises ``ConfigError`` for a type with fields that its JSON leaves out or masks.
    """

    def __init__(
        self,
        cache_service: IVersionedCache,
        entity_type: type[T],
        *,
        default_ttl: float | None = 300.0,
    ) -> None:
        self._values = ReadThrough(FailOpenCache(cache_service, default_ttl))
        self._entity_type = entity_type
        self._states = AggregateCodec(entity_type)

    def key(self, entity_id: object) -> str:
        return self._states.key(entity_id)

    async def get(
        self, entity_id: object, uow: UnitOfWork | None, load: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """The cached state, else what ``load`` answers, cached unless in a unit of work."""
        active = uow or get_current_uow()
        if active is not None and active.aggregates.has_changed(entity_id):
            return await load()

        async def load_one(ids: list[Any]) -> list[T]:
            aggregate = await load()
            return [] if aggregate is None else [aggregate]

        # In a unit of work nothing is filled: its transaction may see what was before a change
        # that voided all leases long ago.
        found: list[T] = await self._values.get_values(
            self._states, [entity_id], load_one, None, fills=active is None
        )
        if active is not None:
            active.ensure_open(f"get {self._entity_type.aggregate_type}")
            for aggregate in found:
                active.aggregates.track(aggregate)
        return found[0] if found else None

    async def save(self, entity: T, uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]) -> R:
        """As ``change``; an entity of another type is left for the repository to refuse."""
        if not isinstance(entity, self._entity_type):
            return await work()
        return await self.change(entity.id, uow, work)

    async def save_many(
        self, entities: Sequence[T], uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        """As ``save`` for each, around one piece of work."""
        if not all(isinstance(entity, self._entity_type) for entity in entities):
            return await work()
        return await self._change([self.key(entity.id) for entity in entities], uow, work)

    async def change(
        self, entity_id: object, uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        """Do ``work``, and drop the state: now, so that a retry after a conflict reads anew, and
        again after the commit, which is the end of ``work`` where there is no unit of work."""
        return await self._change([self.key(entity_id)], uow, work)

    async def _change(
        self, keys: Sequence[str], uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        await self._values.drop(keys)
        active = uow or get_current_uow()
        if active is not None:
            active.on_commit(partial(self._values.drop, keys))
            return await work()
        try:
            return await work()
        finally:
            await self._values.drop(keys)


class CachingRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """A repository behind a cache; lists and searches go to the repository.

    ``add_many`` needs an ``IBulkRepository``.
    """

    def __init__(
        self,
        inner: IRepository[T, ID],
        cache_service: IVersionedCache,
        entity_type: type[T],
        *,
        default_ttl: float | None = 300.0,
    ) -> None:
        self._inner = inner
        self._states = AggregateCache(cache_service, entity_type, default_ttl=default_ttl)

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        return await self._states.save(entity, uow, lambda: self._inner.add(entity, uow))

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        inner = self._inner
        if not isinstance(inner, IBulkRepository):
            raise InvalidOperationError.no_add_many(type(self).__name__)
        return await self._states.save_many(entities, uow, lambda: inner.add_many(entities, uow))

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        return await self._states.get(entity_id, uow, lambda: self._inner.get(entity_id, uow))

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        return await self._states.change(entity_id, uow, lambda: self._inner.delete(entity_id, uow))

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        return await self._inner.list_all(entity_ids, uow)

    async def search(
        self, criteria: ISpecification[T] | Any, uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        return await self._inner.search(criteria, uow)
