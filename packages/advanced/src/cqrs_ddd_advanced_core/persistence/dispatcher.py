"""Dispatcher from a type to the handlers that save, load and query it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from operator import attrgetter
from typing import Any, NoReturn, Protocol, TypeVar

from cqrs_ddd_core import ID, AggregateRoot, SearchResult, UnitOfWork, context
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.spi import tenancy

from ..ports.persistence import Criteria, IdOf, IResultCatalog, R, T
from .arguments import current_uow, deduplicate_ids, is_condition, sort_by_ids
from .registry import QUERY, QUERY_SPEC, RETRIEVAL, PersistenceRegistry, Registration

S = TypeVar("S")


class Read(Protocol):
    """Function that reads a result in a unit of work, for the request that began the search."""

    def __call__(self, how: Callable[[SearchResult[Any]], Awaitable[S]]) -> Awaitable[S]:
        """Return ``how`` of the search result."""
        ...


UowFactory = Callable[[], AbstractAsyncContextManager[UnitOfWork]]

_BY_ID = attrgetter("id")


class PersistenceDispatcher(IResultCatalog):
    """Dispatcher to the handlers of a registry; each handler is created once, at its first use.

    Loaded and saved aggregates are registered with the unit of work, so that the mediator finds
    their events with any kind of handler.

    Args:
        uow_factories: by source, a factory of units of work for calls without one.
        registry: handlers by type.
        handler_factory: creates a handler from its class; by default, calls the class without
            arguments.

    Raises:
        ConfigError: a registered source has no factory, or a factory creates no unit of work.
    """

    def __init__(
        self,
        uow_factories: Mapping[str, UowFactory],
        registry: PersistenceRegistry,
        handler_factory: Callable[[type], Any] | None = None,
    ) -> None:
        for source, factory in uow_factories.items():
            errors.arguments.ensure_factory(
                factory, UnitOfWork, f"uow_factories[{source!r}]", example="backend.unit_of_work"
            )
        self._uow_factories = dict(uow_factories)
        self._registry = registry
        self._handler_factory = handler_factory or _create_handler
        self._handlers: dict[type, Any] = {}
        for registration in registry:
            self._factory_of(registration)

    @property
    def result_types(self) -> Mapping[type, IdOf | None]:
        """Types that the registry reads by id."""
        return self._registry.result_types

    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        """Save the aggregate with all of its handlers, in one unit of work; return the id.

        Raises:
            InvalidOperationError: the ``tenant_id`` of the aggregate is not that of the running
                request.
        """
        tenant_id = tenancy.get_row_tenant(f"apply {type(entity).__name__}")
        if not _is_of(entity, tenant_id):
            raise errors.InvalidOperationError.other_owner(entity.aggregate_type, entity.id)
        chain = self._registry.find_operations(type(entity))
        current = current_uow(uow)
        with hooks.span("persistence.apply", entity_type=type(entity).__name__):
            if current is not None:
                return await self._persist(chain, entity, current, events)
            async with self._factory_of(chain[0])() as own:
                return await self._persist(chain, entity, own, events)

    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[object], uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates that exist, each once, in the order of the ids.

        An aggregate whose ``tenant_id`` is not that of the running request is left out.
        """
        registration = self._registry.find(RETRIEVAL, entity_type)
        distinct = deduplicate_ids(ids, entity_type.__name__)
        current = current_uow(uow)
        if not distinct:
            return []
        with hooks.span("persistence.fetch_domain", entity_type=entity_type.__name__):
            if current is not None:
                return await self._retrieve(registration, distinct, current)
            async with self._factory_of(registration)() as own:
                return await self._retrieve(registration, distinct, own)

    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        """Return a result that reads when it is awaited, in the order of the ids."""
        current = current_uow(uow)
        if is_condition(criteria):
            registration = self._registry.find(QUERY_SPEC, result_type)
            if current is None:
                return self._search_later(registration, criteria)
            return await self._search(registration, criteria, current)
        registration = self._registry.find(QUERY, result_type)
        distinct = deduplicate_ids(criteria, result_type.__name__)
        return self._fetch_by_ids(registration, distinct, current)

    async def _persist(
        self,
        chain: tuple[Registration, ...],
        entity: AggregateRoot[ID],
        uow: UnitOfWork,
        events: list[Any] | None,
    ) -> ID:
        entity_ids = []
        for registration in chain:
            persist = self._handler(registration).persist
            if registration.takes_events:
                entity_ids.append(await persist(entity, uow, events=events))
            else:
                entity_ids.append(await persist(entity, uow))
        entity_id: ID | None = entity_ids[0]
        if entity_id is None:
            _raise_wrong_result(chain[0], "the id of the aggregate", None)
        if uow.aggregates.count_unsaved_events(entity):
            # The handler does not use a repository, which would have marked the aggregate as saved.
            uow.aggregates.mark_saved(entity, entity.next_version)
        return entity_id

    async def _retrieve(
        self, registration: Registration, ids: list[object], uow: UnitOfWork
    ) -> list[Any]:
        tenant_id = tenancy.get_row_tenant(f"fetch {registration.subject.__name__}")
        found = await self._handler(registration).retrieve(ids, uow)
        if not isinstance(found, list):
            _raise_wrong_result(registration, "a list", found)
        own = [entity for entity in found if _is_of(entity, tenant_id)]
        for entity in own:
            if not isinstance(entity, registration.subject):
                expected = f"a list of {registration.subject.__name__}"
                _raise_wrong_result(registration, expected, entity)
            uow.aggregates.track(entity)
        uow.aggregates.mark_absent(ids, found)
        return sort_by_ids(own, ids, _BY_ID)

    def _fetch_by_ids(
        self, registration: Registration, ids: list[object], uow: UnitOfWork | None
    ) -> SearchResult[Any]:
        async def read(ids: list[object]) -> list[Any]:
            if not ids:
                return []
            with hooks.span("persistence.fetch", result_type=registration.subject.__name__):
                if uow is not None:
                    uow.ensure_open(f"fetch {registration.subject.__name__}")
                    return await self._read(registration, ids, uow)
                async with self._factory_of(registration)() as own:
                    return await self._read(registration, ids, own)

        read_bound = context.bind_request(read)

        async def fetch() -> list[Any]:
            return await read_bound(ids)

        async def stream(batch_size: int) -> AsyncIterator[Any]:
            for start in range(0, len(ids), batch_size):
                for each in await read_bound(ids[start : start + batch_size]):
                    yield each

        return SearchResult.from_fetch(
            fetch, stream if uow is not None else _forbid_stream(registration)
        )

    async def _read(
        self, registration: Registration, ids: list[object], uow: UnitOfWork
    ) -> list[Any]:
        found = await self._handler(registration).fetch(ids, uow)
        if not isinstance(found, list):
            _raise_wrong_result(registration, "a list", found)
        if any(each is None for each in found):
            _raise_wrong_result(registration, "a list without None", None)
        return sort_by_ids(found, ids, registration.id_of)

    def _search_later(self, registration: Registration, criteria: object) -> SearchResult[Any]:
        """Return a result that opens its own unit of work when it is read."""

        async def read(how: Callable[[SearchResult[Any]], Awaitable[S]]) -> S:
            with hooks.span("persistence.fetch", result_type=registration.subject.__name__):
                async with self._factory_of(registration)() as own:
                    return await how(await self._begin_search(registration, criteria, own))

        return _read_by(context.bind_request(read), _forbid_stream(registration))

    async def _search(
        self, registration: Registration, criteria: object, uow: UnitOfWork
    ) -> SearchResult[Any]:
        name = registration.subject.__name__
        result = await self._begin_search(registration, criteria, uow)

        async def read(how: Callable[[SearchResult[Any]], Awaitable[S]]) -> S:
            # An ended unit of work is an error even if the handler has read all rows already.
            uow.ensure_open(f"fetch {name}")
            with hooks.span("persistence.fetch", result_type=name):
                return await how(result)

        def stream(batch_size: int) -> AsyncIterator[Any]:
            uow.ensure_open(f"stream {name}")
            return result.stream(batch_size)

        return _read_by(context.bind_request(read), stream)

    async def _begin_search(
        self, registration: Registration, criteria: object, uow: UnitOfWork
    ) -> SearchResult[Any]:
        result = await self._handler(registration).fetch(criteria, uow)
        if not isinstance(result, SearchResult):
            _raise_wrong_result(registration, "a SearchResult", result)
        return result

    def _handler(self, registration: Registration) -> Any:
        handler_cls = registration.handler_cls
        handler = self._handlers.get(handler_cls)
        if handler is None:
            handler = self._handlers[handler_cls] = self._handler_factory(handler_cls)
        return handler

    def _factory_of(self, registration: Registration) -> UowFactory:
        try:
            return self._uow_factories[registration.source]
        except KeyError:
            name = registration.subject.__name__
            raise errors.ConfigError(
                f"the {registration.role.name} of {name} is registered for source "
                f"{registration.source!r}, and uow_factories has "
                f"{', '.join(map(repr, self._uow_factories)) or 'no source'}; add the source to it",
                variable="uow_factories",
            ) from None


def _read_by(read: Read, stream: Callable[[int], AsyncIterator[Any]]) -> SearchResult[Any]:
    """Return a result that reads another one with ``read``."""
    return SearchResult(
        lambda: read(SearchResult.all),
        stream,
        take=lambda count: read(lambda result: result.take(count)),
        count=lambda: read(SearchResult.count),
    )


def _is_of(entity: object, tenant_id: str) -> bool:
    """Report whether an aggregate has the tenant, or none; other objects have none."""
    owner = entity.__dict__.get("tenant_id") if isinstance(entity, AggregateRoot) else None
    return owner is None or str(owner) == tenant_id


def _create_handler(handler_cls: type) -> object:
    needed = [
        name
        for name, parameter in inspect.signature(handler_cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise errors.HandlerRegistrationError(
            f"{handler_cls.__qualname__} cannot be created without {', '.join(needed)}; add "
            "defaults, or pass a handler_factory",
            handler=handler_cls.__qualname__,
        )
    return handler_cls()


def _raise_wrong_result(registration: Registration, expected: str, result: object) -> NoReturn:
    handler = f"{registration.handler_cls.__qualname__}.{registration.role.method}"
    raise errors.HandlerResultError(
        f"{handler} must return {expected}, but it returned a {type(result).__name__}",
        handler=handler,
        expected=expected,
        actual=type(result).__name__,
    )


def _forbid_stream(registration: Registration) -> Callable[[int], AsyncIterator[Any]]:
    def stream(batch_size: int) -> NoReturn:
        name = registration.subject.__name__
        raise errors.InvalidOperationError(
            f"cannot stream {name} without a unit of work that stays open; call "
            f"fetch({name}, ..., uow=uow) within one, or await the result for a list"
        )

    return stream
