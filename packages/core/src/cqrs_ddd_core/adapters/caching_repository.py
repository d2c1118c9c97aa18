"""Repository that reads single aggregates through a cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from ..context import bind_request
from ..domain import ID, AggregateRoot, IQueryOptions, ISpecification
from ..ports import IBulkRepository, IRepository, IVersionedCache, SearchResult
from ..ports.unit_of_work import UnitOfWork, get_current_uow
from ..primitives import exceptions as errors
from ..spi.caching import aggregate_codec, fail_open_cache, read_through

T = TypeVar("T", bound=AggregateRoot)
R = TypeVar("R")


class AggregateCache(Generic[T]):
    """Cached states of one type of aggregate, for the tenant of the running request.

    A change invalidates the state after its commit; the cache rejects a fill that raced such a
    change; concurrent misses of one key load it once. A unit of work that writes reads the cache,
    and reads an aggregate that it has saved or deleted from the repository; an aggregate that the
    cache lacked is loaded once more after its commit, and cached. Errors of the cache, and states
    that JSON does not restore unchanged, are logged, and the repository is used instead.

    Args:
        cache_service: cache of the aggregates.
        entity_type: class of the aggregates.
        default_ttl: seconds for which a state stays cached; None sets no limit.

    Raises:
        ConfigError: the JSON of the class omits or masks fields, or an argument is not usable.
    """

    def __init__(
        self,
        cache_service: IVersionedCache,
        entity_type: type[T],
        *,
        default_ttl: float | None = 300.0,
    ) -> None:
        errors.arguments.ensure_instance(cache_service, IVersionedCache, "cache_service")
        errors.arguments.ensure_class(entity_type, AggregateRoot, "entity_type")
        self._values = read_through.ReadThrough(
            fail_open_cache.FailOpenCache(cache_service, default_ttl)
        )
        self._entity_type = entity_type
        self._states = aggregate_codec.AggregateCodec(entity_type)

    def key(self, entity_id: object) -> str:
        """Return the cache key of an aggregate."""
        return self._states.key(entity_id)

    async def get(
        self,
        entity_id: object,
        uow: UnitOfWork | None,
        load: Callable[[UnitOfWork | None], Awaitable[T | None]],
    ) -> T | None:
        """Return the cached aggregate, or else the result of ``load``, which is cached then.

        Args:
            entity_id: id of the aggregate.
            uow: unit of work to read in, by default the current one.
            load: reads the aggregate from the repository, in a unit of work.
        """
        active = uow or get_current_uow()
        if active is None or active.read_only:
            found = await self._read(entity_id, lambda: load(uow), fills=True)
        elif active.aggregates.has_changed(entity_id):
            return await load(uow)
        else:
            found = await self._get_and_fill_later(entity_id, active, load)
        if active is not None:
            active.ensure_open(f"get {self._entity_type.aggregate_type}")
            for aggregate in found:
                active.aggregates.track(aggregate)
            active.aggregates.mark_absent([entity_id], found)
        return found[0] if found else None

    async def _get_and_fill_later(
        self,
        entity_id: object,
        active: UnitOfWork,
        load: Callable[[UnitOfWork | None], Awaitable[T | None]],
    ) -> list[T]:
        """Read in a unit of work that writes; load the missing aggregate again after its commit.

        Its transaction does not fill, since it may still see the state before a change that was
        committed, and voided all leases, before this fill lease was granted.
        """

        async def fill() -> None:
            if not active.aggregates.has_changed(entity_id):
                await self._read(entity_id, lambda: load(None), fills=True)

        async def load_now() -> T | None:
            active.on_commit(bind_request(fill))
            return await load(active)

        return await self._read(entity_id, load_now, fills=False)

    async def _read(
        self, entity_id: object, load: Callable[[], Awaitable[T | None]], *, fills: bool
    ) -> list[T]:
        async def load_one(_: list[Any]) -> list[T]:
            aggregate = await load()
            return [] if aggregate is None else [aggregate]

        found: list[T] = await self._values.get_values(
            self._states, [entity_id], load_one, None, fills=fills
        )
        return found

    async def save(self, entity: T, uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]) -> R:
        """Run ``work``, which saves the entity, and invalidate its state before and after.

        The state of an entity of another type stays cached, since ``work`` rejects the entity.
        """
        if not isinstance(entity, self._entity_type):
            return await work()
        return await self.change(entity.id, uow, work)

    async def save_many(
        self, entities: Sequence[T], uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        """Run ``work``, which saves all entities, and invalidate their states before and after."""
        if not all(isinstance(entity, self._entity_type) for entity in entities):
            return await work()
        return await self._change([self.key(entity.id) for entity in entities], uow, work)

    async def change(
        self, entity_id: object, uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        """Return the result of ``work``; invalidate the state before it and after the commit.

        The first invalidation lets a retry after a conflict read the stored state. Without a unit
        of work, the commit is the end of ``work``.
        """
        return await self._change([self.key(entity_id)], uow, work)

    async def _change(
        self, keys: Sequence[str], uow: UnitOfWork | None, work: Callable[[], Awaitable[R]]
    ) -> R:
        # The hook may run after the request context has ended.
        drop = bind_request(partial(self._values.drop, keys))
        await drop()
        active = uow or get_current_uow()
        if active is not None:
            active.on_commit(drop)
            return await work()
        try:
            return await work()
        finally:
            await drop()


class CachingRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """Repository behind a cache; lists and searches go to the repository.

    ``add_many`` needs an ``IBulkRepository``.

    Args:
        inner: repository that stores the aggregates.
        cache_service: cache of the aggregates.
        entity_type: class of the aggregates.
        default_ttl: seconds for which a state stays cached; None sets no limit.

    Raises:
        ConfigError: the JSON of the class omits or masks fields, or an argument is not usable.
    """

    def __init__(
        self,
        inner: IRepository[T, ID],
        cache_service: IVersionedCache,
        entity_type: type[T],
        *,
        default_ttl: float | None = 300.0,
    ) -> None:
        errors.arguments.ensure_instance(inner, IRepository, "inner")
        self._inner = inner
        self._states = AggregateCache(cache_service, entity_type, default_ttl=default_ttl)

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save an aggregate and invalidate its cached state."""
        return await self._states.save(entity, uow, lambda: self._inner.add(entity, uow))

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save all aggregates or none, and invalidate their cached states.

        Raises:
            InvalidOperationError: ``inner`` is not an ``IBulkRepository``.
        """
        inner = self._inner
        if not isinstance(inner, IBulkRepository):
            raise errors.InvalidOperationError.no_add_many(type(self).__name__)
        return await self._states.save_many(entities, uow, lambda: inner.add_many(entities, uow))

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return the aggregate from the cache, else from ``inner``."""
        return await self._states.get(
            entity_id, uow, lambda active: self._inner.get(entity_id, active)
        )

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete an aggregate and invalidate its cached state."""
        return await self._states.change(entity_id, uow, lambda: self._inner.delete(entity_id, uow))

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates from ``inner``, without the cache."""
        return await self._inner.list_all(entity_ids, uow)

    async def search(
        self, criteria: ISpecification[T] | IQueryOptions[T], uow: UnitOfWork | None = None
    ) -> SearchResult[T]:
        """Search in ``inner``, without the cache."""
        return await self._inner.search(criteria, uow)
