"""Aggregates from a cache before a repository."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import pydantic

from ..context import get_tenant_id
from ..domain.aggregate import ID, AggregateRoot
from ..domain.specification import ISpecification
from ..ports.cache import IVersionedCache
from ..ports.inbox import fingerprint_of
from ..ports.repository import IBulkRepository, IRepository
from ..ports.search_result import SearchResult
from ..ports.unit_of_work import UnitOfWork, get_current_uow
from ..primitives.exceptions import CacheError, ConfigError, DomainError, SerializationError
from .attributes import attributes_lost_in_json
from .refusals import no_bulk

T = TypeVar("T", bound=AggregateRoot[Any])
R = TypeVar("R")

logger = logging.getLogger(__name__)

FILL_LEASE = 10.0
"""Seconds within which a value has to be loaded to be cached."""


class AggregateCache(Generic[T]):
    """The cached states of one type of aggregate, for the tenant of the running request.

    A state is dropped after the commit that changed it; a fill that raced such a change is refused
    by the cache; concurrent misses of one key load it once. Within a unit of work the cache is read
    and not filled, and an aggregate that was saved or deleted in it comes from the repository. A
    cache that fails, and a state that would not come back from JSON as it is, are logged and
    passed by. Raises ``ConfigError`` for a type with fields that its JSON leaves out or masks.
    """

    def __init__(
        self, cache: IVersionedCache, entity_type: type[T], *, ttl: float | None = 300.0
    ) -> None:
        lost = attributes_lost_in_json(entity_type)
        if lost:
            raise ConfigError(
                f"{entity_type.__name__} cannot be cached: its JSON leaves out or masks "
                f"{', '.join(lost)}, and a save would store that; use the repository without a "
                "cache, or fields without exclude=True and Secret types"
            )
        self._cache = cache
        self._entity_type = entity_type
        self._ttl = ttl
        # Another shape of the class has other keys: what an older version cached is never read.
        shape = fingerprint_of(entity_type.model_json_schema())[:12]
        self._prefix = f"{entity_type.aggregate_type}:{shape}"
        self._flights: dict[str, asyncio.Future[Any]] = {}

    def key(self, entity_id: object) -> str:
        return f"{self._prefix}:{get_tenant_id() or '-'}:{entity_id}"

    async def get(
        self, entity_id: object, uow: UnitOfWork | None, load: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """The cached state, else what ``load`` answers, cached unless in a unit of work."""
        active = uow or get_current_uow()
        if active is not None and active.aggregates.has_changed(entity_id):
            return await load()
        key = self.key(entity_id)
        state = await self._read(key)
        if state is None and (flight := self._flights.get(key)) is not None:
            await asyncio.wait({flight})
            state = None if flight.cancelled() or flight.exception() else flight.result()
        aggregate = self._revived(state)
        if aggregate is None:
            # Its transaction may see what was before a change that voided all leases long ago.
            return await (self._fill(key, load) if active is None else load())
        if active is not None:
            active.ensure_open(f"get {self._entity_type.aggregate_type}")
            active.aggregates.loaded(aggregate)
        return aggregate

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
        await self._drop(keys)
        active = uow or get_current_uow()
        if active is not None:
            active.on_commit(partial(self._drop, keys))
            return await work()
        try:
            return await work()
        finally:
            await self._drop(keys)

    async def _drop(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                await self._cache.delete(key)
            except CacheError as error:
                logger.warning("cannot drop %s: %r; it lives until its ttl ends", key, error)

    async def _fill(self, key: str, load: Callable[[], Awaitable[T | None]]) -> T | None:
        flight: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        leads = self._flights.setdefault(key, flight) is flight
        try:
            lease = await self._lease(key) if leads else None
            aggregate = await load()
            state = None if aggregate is None else self._state_of(aggregate)
            if lease is not None and state is not None:
                await self._keep(key, state, lease)
            if leads:
                flight.set_result(state)
            return aggregate
        finally:
            if leads:
                del self._flights[key]
                flight.cancel()

    def _state_of(self, aggregate: T) -> dict[str, Any] | None:
        """None for what would not come back as it is, and be saved so."""
        try:
            content = aggregate.model_dump(mode="json")
        except ValueError as error:  # Of pydantic, or of bytes that are no text.
            logger.warning("cannot cache %s %s: %r", self._prefix, aggregate.id, error)
            return None
        state = {"version": aggregate.version, "state": content}
        if self._revived(state) != aggregate:
            logger.warning(
                "cannot cache %s %s: it comes back changed from JSON", self._prefix, aggregate.id
            )
            return None
        return state

    def _revived(self, state: Any) -> T | None:
        if state is None:
            return None
        try:
            aggregate = self._entity_type.model_validate(state["state"])
        except (pydantic.ValidationError, DomainError, KeyError, TypeError) as error:
            logger.warning("cached %s is unusable: %r", self._prefix, error)
            return None
        aggregate.mark_persisted(state["version"])
        return aggregate

    async def _read(self, key: str) -> Any:
        try:
            return await self._cache.get(key)
        except CacheError as error:
            logger.warning("cannot read %s: %r", key, error)
            return None

    async def _lease(self, key: str) -> str | None:
        try:
            return await self._cache.lease_fill(key, FILL_LEASE)
        except CacheError as error:
            logger.warning("cannot fill %s: %r", key, error)
            return None

    async def _keep(self, key: str, state: dict[str, Any], lease: str) -> None:
        try:
            await self._cache.fill(key, state, lease, self._ttl)
        except (CacheError, SerializationError) as error:
            logger.warning("cannot fill %s: %r", key, error)


class CachingRepository(IBulkRepository[T, ID], Generic[T, ID]):
    """A repository behind a cache; lists and searches go to the repository.

    ``add_many`` needs an ``IBulkRepository``.
    """

    def __init__(
        self,
        inner: IRepository[T, ID],
        cache: IVersionedCache,
        entity_type: type[T],
        *,
        ttl: float | None = 300.0,
    ) -> None:
        self._inner = inner
        self._states = AggregateCache(cache, entity_type, ttl=ttl)

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        return await self._states.save(entity, uow, lambda: self._inner.add(entity, uow))

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        inner = self._inner
        if not isinstance(inner, IBulkRepository):
            raise no_bulk(self)
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
