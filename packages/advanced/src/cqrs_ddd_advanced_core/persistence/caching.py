"""Persistence dispatcher with a cache in front of another dispatcher."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import pydantic

from cqrs_ddd_core import ID, AggregateRoot, context
from cqrs_ddd_core.ports import ICacheService, IVersionedCache, SearchResult, UnitOfWork
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.json_form import JsonForm
from cqrs_ddd_core.primitives.shielding import run_to_completion
from cqrs_ddd_core.spi.caching.aggregate_codec import AggregateCodec, build_key, build_key_prefix
from cqrs_ddd_core.spi.caching.fail_open_cache import FailOpenCache
from cqrs_ddd_core.spi.caching.read_through import CacheCodec, Load, ReadThrough

from ..ports.persistence import Criteria, IdOf, IPersistenceDispatcher, IResultCatalog, R, T
from .arguments import current_uow, deduplicate_ids, is_condition, sort_by_ids
from .fill_leases import InProcessFillLeases
from .registry import find_id_getter

Affected = tuple[type, str]
"""Type and id, as text, of a changed object."""
IdsOf = Callable[[Any], Iterable[object]]
"""Function from a changed aggregate to the ids of results that depend on it."""

LoadIn = Callable[[UnitOfWork | None], Load]
"""Function that returns the load of values in a unit of work."""

logger = logging.getLogger(__name__)

_BY_ID = attrgetter("id")


class CachingPersistenceDispatcher(IResultCatalog):
    """Dispatcher that reads aggregates and results by id from a cache; searches are not cached.

    After the commit, ``apply`` invalidates the aggregate, every result under the same id, and the
    results that ``invalidate_with`` names. A unit of work that writes reads the cache, and reads
    objects that it has changed from ``inner``; the values that the cache lacked are loaded once
    more after its commit, and cached. With a plain
    ``ICacheService``, a load that raced a change is dropped if both ran through this dispatcher;
    with an ``IVersionedCache``, whichever process made the change.

    Args:
        inner: dispatcher that is cached.
        cache_service: the cache.
        default_ttl: seconds until a cached value expires, None for no limit.
        exclude: types that are always read from ``inner``.

    Raises:
        ConfigError: a time to live is not positive.
    """

    def __init__(
        self,
        inner: IPersistenceDispatcher,
        cache_service: ICacheService,
        default_ttl: float | None = 300,
        *,
        exclude: Collection[type] = (),
    ) -> None:
        if default_ttl is not None and not default_ttl > 0:
            raise errors.ConfigError(
                f"default_ttl must be positive, or None for no limit, got {default_ttl!r}",
                variable="default_ttl",
            )
        self._inner = inner
        self._catalog = inner if isinstance(inner, IResultCatalog) else None
        leased = (
            cache_service
            if isinstance(cache_service, IVersionedCache)
            else InProcessFillLeases(cache_service)
        )
        self._values = ReadThrough(FailOpenCache(leased, default_ttl))
        self._codecs: dict[type, CacheCodec | None] = dict.fromkeys(exclude)
        self._dependents: dict[type, list[tuple[type, IdsOf]]] = {}
        self._changed: WeakKeyDictionary[UnitOfWork, set[Affected]] = WeakKeyDictionary()

    @property
    def result_types(self) -> Mapping[type, IdOf | None]:
        """Types that ``inner`` reads by id."""
        return {} if self._catalog is None else self._catalog.result_types

    def invalidate_with(
        self, entity_type: type[T], result_type: type, ids: Callable[[T], Iterable[object]]
    ) -> None:
        """Invalidate further results whenever an aggregate of the type changes.

        Args:
            entity_type: class of the aggregates.
            result_type: class of the results.
            ids: function from the changed aggregate to the ids of the results.

        Raises:
            HandlerNotRegisteredError: no handler reads the result type by id.
        """
        if self._catalog is not None and result_type not in self.result_types:
            name = getattr(result_type, "__name__", None) or repr(result_type)
            known = ", ".join(sorted(each.__name__ for each in self.result_types))
            raise errors.HandlerNotRegisteredError(
                f"cannot invalidate {name}, as no handler reads it by id; there are handlers for "
                f"{known or 'no type'}; call registry.register_query({name}, ...) first",
                message_type=name,
            )
        self._dependents.setdefault(entity_type, []).append((result_type, ids))

    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        """Save with ``inner`` and return the id; invalidate before it and after the commit."""
        current = current_uow(uow)
        affected = set(self._list_affected(entity))
        keys = [codec.key(each) for type_, each in affected if (codec := self._codec_of(type_))]
        # The hook may run after the request context has ended.
        drop = context.bind_request(partial(self._values.drop, keys))
        # Drop before the save too, so that a retry after a conflict reads the stored state.
        await drop()
        if current is not None:
            self._changed.setdefault(current, set()).update(affected)
            current.on_commit(drop)
            return await self._inner.apply(entity, current, events)
        try:
            return await self._inner.apply(entity, None, events)
        finally:
            ended = await run_to_completion(drop(), grace=UnitOfWork.hook_timeout)
            if ended.interruption is not None:
                raise ended.interruption

    async def invalidate(self, result_type: type, ids: Iterable[object]) -> None:
        """Drop the cached results of the ids; call it after the commit of any other write.

        A ``ProjectionWorker`` can call it as ``on_change``.

        Args:
            result_type: class of the results.
            ids: ids of the changed results.
        """
        codec = self._codec_of(result_type)
        if codec is not None:
            await self._values.drop([codec.key(str(each)) for each in ids])

    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[object], uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates that exist, in the order of the ids; read misses from ``inner``."""
        if self._codec_of(entity_type) is None:
            return await self._inner.fetch_domain(entity_type, ids, uow)
        distinct = deduplicate_ids(ids, entity_type.__name__)
        current = current_uow(uow)

        def load_in(active: UnitOfWork | None) -> Load:
            return lambda ids: self._inner.fetch_domain(entity_type, ids, active)

        found: list[T] = await self._read(entity_type, distinct, load_in, _BY_ID, current)
        if current is not None:
            for entity in found:
                current.aggregates.track(entity)
            current.aggregates.mark_absent(distinct, found)
        return found

    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        """Return a result that reads the cache when it is awaited; streams read ``inner``."""
        if is_condition(criteria) or not self._is_invalidated(result_type):
            return await self._inner.fetch(result_type, criteria, uow)
        distinct = deduplicate_ids(criteria, result_type.__name__)
        id_of = self.result_types.get(result_type) or find_id_getter(result_type)
        current = current_uow(uow)

        def load_in(active: UnitOfWork | None) -> Load:
            async def load(ids: list[Any]) -> list[R]:
                return await (await self._inner.fetch(result_type, ids, active))

            return load

        async def read() -> list[R]:
            return await self._read(result_type, distinct, load_in, id_of, current)

        async def fetch_inner() -> SearchResult[R]:
            return await self._inner.fetch(result_type, distinct, current)

        fetch_bound = context.bind_request(fetch_inner)

        async def stream(batch_size: int) -> AsyncIterator[R]:
            async for each in (await fetch_bound()).stream(batch_size):
                yield each

        return SearchResult.from_fetch(context.bind_request(read), stream)

    async def _read(
        self,
        type_: type,
        ids: list[Any],
        load_in: LoadIn,
        id_of: IdOf | None,
        current: UnitOfWork | None,
    ) -> list[Any]:
        codec = self._codec_of(type_)
        if codec is None or not ids:
            return await load_in(current)(ids)
        if current is not None:
            current.ensure_open(f"fetch {type_.__name__}")
        if current is None or current.read_only:
            found = await self._values.get_values(codec, ids, load_in(current), id_of)
        else:
            found = await self._read_and_fill_later(type_, codec, ids, load_in, id_of, current)
        return sort_by_ids(found, ids, id_of)

    async def _read_and_fill_later(
        self,
        type_: type,
        codec: CacheCodec,
        ids: list[Any],
        load_in: LoadIn,
        id_of: IdOf | None,
        current: UnitOfWork,
    ) -> list[Any]:
        """Read in a transaction that writes; after its commit, load and cache what was missing.

        The transaction may see a state older than a change that has voided its fill leases, or its
        own changes that bypassed this dispatcher, so it does not fill.
        """
        changed = self._changed.setdefault(current, set())
        missing = list[Any]()

        async def load_missing(ids: list[Any]) -> list[Any]:
            missing.extend(ids)
            return await load_in(current)(ids)

        def is_changed(each: object) -> bool:
            return (type_, str(each)) in changed or current.aggregates.has_changed(each)

        async def fill() -> None:
            unchanged = [each for each in missing if not is_changed(each)]
            if unchanged:
                await self._values.get_values(codec, unchanged, load_in(None), id_of)

        own = [each for each in ids if is_changed(each)]
        found = await self._values.get_values(
            codec, ids, load_missing, id_of, unread=own, fills=False
        )
        if missing:
            current.on_commit(context.bind_request(fill))
        return found

    def _list_affected(self, entity: object) -> Iterable[Affected]:
        if not isinstance(entity, AggregateRoot):
            return  # The inner dispatcher raises.
        yield type(entity), str(entity.id)
        for result_type in self.result_types:
            yield result_type, str(entity.id)
        for entity_type, dependents in self._dependents.items():
            if isinstance(entity, entity_type):
                for result_type, ids in dependents:
                    yield from ((result_type, str(each)) for each in ids(entity))

    def _is_invalidated(self, result_type: type) -> bool:
        """Report whether changes invalidate results of this type; other results are not cached."""
        dependent = (each for dependents in self._dependents.values() for each, _ in dependents)
        if result_type not in self.result_types and result_type not in dependent:
            return False
        # An aggregate read as a result may come from another store than the changed aggregate.
        return not issubclass(result_type, AggregateRoot)

    def _codec_of(self, type_: type) -> CacheCodec | None:
        """Return the codec of a type, or None for a type that is not cached."""
        if type_ not in self._codecs:
            try:
                is_aggregate = issubclass(type_, AggregateRoot)
                self._codecs[type_] = AggregateCodec(type_) if is_aggregate else ResultCodec(type_)
            except errors.ConfigError as error:
                logger.warning("%s; it is read without the cache", error)
                self._codecs[type_] = None
        return self._codecs[type_]


class ResultCodec:
    """Codec of one type of result: a pydantic model, a dataclass, or any type pydantic can dump.

    Args:
        result_type: class of the results.

    Raises:
        ConfigError: pydantic cannot convert the type to JSON, or JSON never keeps a part of it.
    """

    def __init__(self, result_type: type) -> None:
        try:
            self._form: JsonForm[Any] = JsonForm(result_type, result_type.__name__)
            schema = pydantic.TypeAdapter[Any](result_type).json_schema()
        except (errors.SerializationError, pydantic.PydanticUserError) as error:
            raise errors.ConfigError(
                f"{result_type.__name__} cannot be cached: {str(error).splitlines()[0]}"
            ) from error
        self._prefix = build_key_prefix(result_type, schema)

    def key(self, value_id: object) -> str:
        """Return the cache key of the result with this id."""
        return build_key(self._prefix, value_id)

    def encode(self, value: Any) -> Any | None:
        """Return the value as JSON, or None if JSON cannot represent it exactly."""
        try:
            return {"result": self._form.write(value)}
        except errors.SerializationError as error:
            logger.warning("cannot cache %s: %s", self._prefix, error)
            return None

    def decode(self, state: Any) -> Any | None:
        """Return a new copy of the value, or None for JSON of another shape."""
        if state is None:
            return None
        try:
            return self._form.read(state["result"])
        except Exception as error:  # From validators of the application.
            logger.warning("cached %s is unusable: %s", self._prefix, errors.describe_error(error))
            return None
