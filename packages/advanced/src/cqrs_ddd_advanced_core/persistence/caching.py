"""A cache before a dispatcher."""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.ports.cache import ICacheService, IVersionedCache
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError, HandlerNotRegisteredError
from cqrs_ddd_core.primitives.shielding import run_to_completion
from cqrs_ddd_core.spi.caching.aggregate_codec import AggregateCodec
from cqrs_ddd_core.spi.caching.fail_open_cache import FailOpenCache
from cqrs_ddd_core.spi.caching.read_through import CacheCodec, Load, ReadThrough

from ..ports.persistence import Criteria, IdOf, IPersistenceDispatcher, IReadModels
from .fill_leases import InProcessFillLeases
from .registry import id_of_results
from .request_binding import bind_request, current_uow, distinct_ids, in_order, is_condition
from .result_codec import ResultCodec

T = TypeVar("T", bound=AggregateRoot[Any])
R = TypeVar("R")
Touched = tuple[type[Any], str]
"""A type, and the id of one that is changed, as text."""

logger = logging.getLogger(__name__)

_BY_ID = attrgetter("id")


class CachingPersistenceDispatcher(IReadModels):
    """Aggregates and read models by id come from the cache, searches and streams never.

    After the commit, ``apply`` drops the aggregate, every read model under the same id, and what
    ``link`` adds. Within a unit of work the cache is read and not filled, and what was applied in
    it comes from ``inner``. Of a plain ``ICacheService`` one caching dispatcher in a process sees
    to that a load which raced a change is not kept; among processes an ``IVersionedCache`` does.

    Args:
        default_ttl: seconds, None for no limit.
        uncached: types that always come from ``inner``.
    """

    def __init__(
        self,
        inner: IPersistenceDispatcher,
        cache_service: ICacheService,
        default_ttl: float | None = 300,
        *,
        exclude: Collection[type[Any]] = (),
    ) -> None:
        if default_ttl is not None and not default_ttl > 0:
            raise ConfigError(
                f"default_ttl must be positive, or None for no limit, got {default_ttl!r}",
                variable="default_ttl",
            )
        self._inner = inner
        self._known = inner if isinstance(inner, IReadModels) else None
        leased = (
            cache_service
            if isinstance(cache_service, IVersionedCache)
            else InProcessFillLeases(cache_service)
        )
        self._values = ReadThrough(FailOpenCache(leased, default_ttl))
        self._forms: dict[type[Any], CacheCodec | None] = dict.fromkeys(exclude)
        self._links: dict[type[Any], list[tuple[type[Any], Callable[[Any], Iterable[Any]]]]] = {}
        self._changed: WeakKeyDictionary[UnitOfWork, set[Touched]] = WeakKeyDictionary()

    @property
    def read_models(self) -> Mapping[type[Any], IdOf | None]:
        return {} if self._known is None else self._known.read_models

    def invalidate_with(
        self, entity_type: type[T], result_type: type[Any], ids: Callable[[T], Iterable[Any]]
    ) -> None:
        """A change of the aggregate drops the read models with these ids as well.

        Raises ``HandlerNotRegisteredError`` for read models that nobody reads by id.
        """
        if self._known is not None and result_type not in self.read_models:
            name = getattr(result_type, "__name__", None) or repr(result_type)
            known = ", ".join(sorted(each.__name__ for each in self.read_models))
            raise HandlerNotRegisteredError(
                f"cannot link {name}, which no handler reads by id; there are handlers for "
                f"{known or 'nothing'}; call registry.register_query({name}, ...) first",
                message_type=name,
            )
        self._links.setdefault(entity_type, []).append((result_type, ids))

    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        current = current_uow(uow)
        touched = set(self._touched(entity))
        keys = [form.key(each) for type_, each in touched if (form := self._form(type_))]
        # Now, so that a retry after a conflict reads anew; and again after the commit.
        await self._values.drop(keys)
        if current is not None:
            self._changed.setdefault(current, set()).update(touched)
            current.on_commit(partial(self._values.drop, keys))
            return await self._inner.apply(entity, current, events)
        try:
            return await self._inner.apply(entity, None, events)
        finally:
            ended = await run_to_completion(self._values.drop(keys), grace=UnitOfWork.hook_timeout)
            if ended.interruption is not None:
                raise ended.interruption

    async def invalidate(self, result_type: type[Any], ids: Iterable[Any]) -> None:
        """Drop what is cached under the ids, for who changes it past ``apply``: after its commit.

        A ``ProjectionWorker`` calls it by its ``on_change``.
        """
        form = self._form(result_type)
        if form is not None:
            await self._values.drop([form.key(str(each)) for each in ids])

    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[T]:
        form = self._form(entity_type)
        if form is None:
            return await self._inner.fetch_domain(entity_type, ids, uow)
        asked = distinct_ids(ids, entity_type.__name__)
        current = current_uow(uow)

        async def load(ids: list[Any]) -> list[T]:
            return await self._inner.fetch_domain(entity_type, ids, current)

        found: list[T] = await self._read(entity_type, asked, load, _BY_ID, current)
        if current is not None:
            for entity in found:
                current.aggregates.track(entity)
        return found

    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        if is_condition(criteria) or not self._is_dropped(result_type):
            return await self._inner.fetch(result_type, criteria, uow)
        asked = distinct_ids(criteria, result_type.__name__)
        id_of = self.read_models.get(result_type) or id_of_results(result_type)
        current = current_uow(uow)

        async def load(ids: list[Any]) -> list[R]:
            return await (await self._inner.fetch(result_type, ids, current))

        async def read() -> list[R]:
            return await self._read(result_type, asked, load, id_of, current)

        async def inner() -> SearchResult[R]:
            return await self._inner.fetch(result_type, asked, current)

        for_request = bind_request(inner)

        async def stream(batch_size: int) -> AsyncIterator[R]:
            async for each in (await for_request()).stream(batch_size):
                yield each

        return SearchResult(bind_request(read), stream)

    async def _read(
        self,
        type_: type[Any],
        ids: list[Any],
        load: Load,
        id_of: IdOf | None,
        current: UnitOfWork | None,
    ) -> list[Any]:
        form = self._form(type_)
        if form is None or not ids:
            return await load(ids)
        if current is None:
            return in_order(await self._values.values(form, ids, load, id_of), ids, id_of)
        current.ensure_open(f"fetch {type_.__name__}")
        changed = self._changed.get(current, ())
        own = [
            each
            for each in ids
            if (type_, str(each)) in changed or current.aggregates.has_changed(each)
        ]
        # Not filled: its transaction may see what was before a change that voided all leases long
        # ago, or what was changed in it past the dispatcher.
        found = await self._values.values(form, ids, load, id_of, unread=own, fills=False)
        return in_order(found, ids, id_of)

    def _touched(self, entity: Any) -> Iterator[Touched]:
        if not isinstance(entity, AggregateRoot):
            return  # It is refused by what is behind.
        yield type(entity), str(entity.id)
        for result_type in self.read_models:
            yield result_type, str(entity.id)
        for entity_type, links in self._links.items():
            if isinstance(entity, entity_type):
                for result_type, ids in links:
                    yield from ((result_type, str(each)) for each in ids(entity))

    def _is_dropped(self, result_type: type[Any]) -> bool:
        """Whether a change drops such read models; what nobody drops would stay as it is."""
        linked = (each for links in self._links.values() for each, _ in links)
        if result_type not in self.read_models and result_type not in linked:
            return False
        # An aggregate that is read as such may come from elsewhere than the one to be changed.
        return not issubclass(result_type, AggregateRoot)

    def _form(self, type_: type[Any]) -> CacheCodec | None:
        """None for what is not cached."""
        if type_ not in self._forms:
            try:
                is_aggregate = issubclass(type_, AggregateRoot)
                self._forms[type_] = AggregateCodec(type_) if is_aggregate else ResultCodec(type_)
            except ConfigError as error:
                logger.warning("%s; it is read without the cache", error)
                self._forms[type_] = None
        return self._forms[type_]
