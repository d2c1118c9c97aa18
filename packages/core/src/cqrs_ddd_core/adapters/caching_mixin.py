"""Mixin that adds a cache to a repository: ``class Orders(CachingMixin, Base)``."""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from ..domain.aggregate import ID, AggregateRoot
from ..ports import IRepository, IVersionedCache, UnitOfWork
from ..primitives.exceptions import InvalidOperationError
from .caching_repository import AggregateCache

T = TypeVar("T", bound=AggregateRoot)


class CachingMixin(IRepository[T, ID], Generic[T, ID]):
    """Repository mixin that reads single aggregates through a cache, like ``CachingRepository``.

    Call ``use_cache`` once; until then the repository works without a cache.
    """

    tenant_free_methods: ClassVar[frozenset[str]] = frozenset({"use_cache"})
    """Methods that ``MultitenantMixin`` need not limit."""

    _states: AggregateCache[T] | None = None

    def use_cache(
        self,
        cache_service: IVersionedCache,
        entity_type: type[T],
        *,
        default_ttl: float | None = 300.0,
    ) -> None:
        """Read and invalidate aggregates in this cache from now on.

        Args:
            cache_service: cache of the aggregates.
            entity_type: class of the aggregates.
            default_ttl: seconds for which a state stays cached; None sets no limit.

        Raises:
            ConfigError: the JSON of the class omits or masks fields.
        """
        self._states = AggregateCache(cache_service, entity_type, default_ttl=default_ttl)

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Save an aggregate and invalidate its cached state."""
        add = super().add  # type: ignore[safe-super]
        if self._states is None:
            return await add(entity, uow)
        return await self._states.save(entity, uow, lambda: add(entity, uow))

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Save all aggregates or none, and invalidate their cached states.

        Raises:
            InvalidOperationError: the repository below is not an ``IBulkRepository``.
        """
        try:
            add_many = super().add_many  # type: ignore[misc]
        except AttributeError:
            raise InvalidOperationError.no_add_many(type(self).__name__) from None
        if self._states is None:
            added: list[ID] = await add_many(entities, uow)
        else:
            added = await self._states.save_many(entities, uow, lambda: add_many(entities, uow))
        return added

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return the aggregate from the cache, else from the repository below."""
        get = super().get  # type: ignore[safe-super]
        if self._states is None:
            return await get(entity_id, uow)
        return await self._states.get(entity_id, uow, lambda active: get(entity_id, active))

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Delete an aggregate and invalidate its cached state."""
        delete = super().delete  # type: ignore[safe-super]
        if self._states is None:
            return await delete(entity_id, uow)
        return await self._states.change(entity_id, uow, lambda: delete(entity_id, uow))
