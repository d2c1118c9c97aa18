"""From a type to the handlers that keep, load and read it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from operator import attrgetter
from typing import Any, TypeVar

from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    HandlerRegistrationError,
    HandlerResultError,
    InvalidOperationError,
)

from ..ports.persistence import Criteria, IdOf, IReadModels
from .registry import PersistenceRegistry, Registration
from .request_binding import bind_request, current_uow, distinct_ids, in_order, is_condition

T = TypeVar("T", bound=AggregateRoot[Any])
R = TypeVar("R")

UowFactory = Callable[[], AbstractAsyncContextManager[UnitOfWork]]

_BY_ID = attrgetter("id")


class PersistenceDispatcher(IReadModels):
    """Calls what the registry holds; a handler is made once, at its first use.

    Aggregates that were loaded and saved are told to the unit of work, so their events reach the
    mediator whatever the handler is. Raises ``ConfigError`` for a source without a factory.

    Args:
        uow_factories: by source, for the calls that have no unit of work to take part in.
        handler_factory: makes a handler of its class; without one it takes no arguments.
    """

    def __init__(
        self,
        uow_factories: Mapping[str, UowFactory],
        registry: PersistenceRegistry,
        handler_factory: Callable[[type[Any]], Any] | None = None,
    ) -> None:
        self._uow_factories = dict(uow_factories)
        self._registry = registry
        self._handler_factory = handler_factory or _made_without_arguments
        self._handlers: dict[type[Any], Any] = {}
        for registration in registry:
            self._factory_of(registration)

    @property
    def read_models(self) -> Mapping[type[Any], IdOf | None]:
        return self._registry.read_models

    async def apply(
        self,
        entity: AggregateRoot[ID],
        uow: UnitOfWork | None = None,
        events: list[Any] | None = None,
    ) -> ID:
        chain = self._registry.operations(type(entity))
        current = current_uow(uow)
        with hooks.span("persistence.apply", entity_type=type(entity).__name__):
            answer: ID
            if current is not None:
                answer = await self._persist(chain, entity, current, events)
            else:
                async with self._factory_of(chain[0])() as own:
                    answer = await self._persist(chain, entity, own, events)
        return answer

    async def fetch_domain(
        self, entity_type: type[T], ids: Sequence[Any], uow: UnitOfWork | None = None
    ) -> list[T]:
        registration = self._registry.retrieval(entity_type)
        asked = distinct_ids(ids, entity_type.__name__)
        current = current_uow(uow)
        if not asked:
            return []
        with hooks.span("persistence.fetch_domain", entity_type=entity_type.__name__):
            if current is not None:
                return await self._retrieve(registration, asked, current)
            async with self._factory_of(registration)() as own:
                return await self._retrieve(registration, asked, own)

    async def fetch(
        self, result_type: type[R], criteria: Criteria, uow: UnitOfWork | None = None
    ) -> SearchResult[R]:
        current = current_uow(uow)
        if is_condition(criteria):
            return await self._search(self._registry.query_spec(result_type), criteria, current)
        registration = self._registry.query(result_type)
        asked = distinct_ids(criteria, result_type.__name__)
        return self._by_ids(registration, asked, current)

    async def _persist(
        self,
        chain: tuple[Registration, ...],
        entity: Any,
        uow: UnitOfWork,
        events: list[Any] | None,
    ) -> Any:
        answers = []
        for registration in chain:
            persist = self._handler(registration).persist
            if registration.takes_events:
                answers.append(await persist(entity, uow, events=events))
            else:
                answers.append(await persist(entity, uow))
        if answers[0] is None:
            raise _wrong_answer(chain[0], "the id of the aggregate", None)
        if uow.aggregates.unsaved_events(entity):
            # Its handler has no repository below it that would have said so.
            uow.aggregates.mark_saved(entity, entity.next_version)
        return answers[0]

    async def _retrieve(
        self, registration: Registration, ids: list[Any], uow: UnitOfWork
    ) -> list[Any]:
        found = await self._handler(registration).retrieve(ids, uow)
        if not isinstance(found, list):
            raise _wrong_answer(registration, "a list", found)
        for entity in found:
            if not isinstance(entity, registration.subject):
                raise _wrong_answer(
                    registration, f"a list of {registration.subject.__name__}", entity
                )
            uow.aggregates.track(entity)
        return in_order(found, ids, _BY_ID)

    def _by_ids(
        self, registration: Registration, ids: list[Any], uow: UnitOfWork | None
    ) -> SearchResult[Any]:
        async def read(ids: list[Any]) -> list[Any]:
            if not ids:
                return []
            with hooks.span("persistence.fetch", result_type=registration.subject.__name__):
                if uow is not None:
                    uow.ensure_open(f"fetch {registration.subject.__name__}")
                    return await self._read(registration, ids, uow)
                async with self._factory_of(registration)() as own:
                    return await self._read(registration, ids, own)

        for_request = bind_request(read)

        async def fetch() -> list[Any]:
            return await for_request(ids)

        async def stream(batch_size: int) -> AsyncIterator[Any]:
            for start in range(0, len(ids), batch_size):
                for each in await for_request(ids[start : start + batch_size]):
                    yield each

        return SearchResult(fetch, stream if uow is not None else _no_stream(registration))

    async def _read(self, registration: Registration, ids: list[Any], uow: UnitOfWork) -> list[Any]:
        found = await self._handler(registration).fetch(ids, uow)
        if not isinstance(found, list):
            raise _wrong_answer(registration, "a list", found)
        if any(each is None for each in found):
            raise _wrong_answer(registration, "a list of what there is", None)
        return in_order(found, ids, registration.id_of)

    async def _search(
        self, registration: Registration, criteria: Any, uow: UnitOfWork | None
    ) -> SearchResult[Any]:
        name = registration.subject.__name__

        async def begun(uow: UnitOfWork) -> SearchResult[Any]:
            result = await self._handler(registration).fetch(criteria, uow)
            if not isinstance(result, SearchResult):
                raise _wrong_answer(registration, "a SearchResult", result)
            return result

        async def search() -> list[Any]:
            with hooks.span("persistence.fetch", result_type=name):
                async with self._factory_of(registration)() as own:
                    return await (await begun(own))

        if uow is None:
            return SearchResult(bind_request(search), _no_stream(registration))
        given = await begun(uow)

        async def found() -> list[Any]:
            # Also where the handler has all of it in its hands.
            uow.ensure_open(f"fetch {name}")
            with hooks.span("persistence.fetch", result_type=name):
                return await given

        def stream(batch_size: int) -> AsyncIterator[Any]:
            uow.ensure_open(f"stream {name}")
            return given.stream(batch_size)

        return SearchResult(bind_request(found), stream)

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
            raise ConfigError(
                f"the {registration.role.name} of {name} is registered for source "
                f"{registration.source!r}, and there are units of work for "
                f"{', '.join(map(repr, self._uow_factories)) or 'none'}; add it to uow_factories",
                variable="uow_factories",
            ) from None


def _made_without_arguments(handler_cls: type[Any]) -> Any:
    needed = [
        name
        for name, parameter in inspect.signature(handler_cls).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise HandlerRegistrationError(
            f"{handler_cls.__qualname__} needs {', '.join(needed)} to be made; give them defaults, "
            "or pass what makes it as handler_factory",
            handler=handler_cls.__qualname__,
        )
    return handler_cls()


def _wrong_answer(registration: Registration, expected: str, answer: object) -> HandlerResultError:
    handler = f"{registration.handler_cls.__qualname__}.{registration.role.method}"
    return HandlerResultError(
        f"{handler} should answer {expected}, it answered {answer!r}",
        handler=handler,
        expected=expected,
        actual=type(answer).__name__,
    )


def _no_stream(registration: Registration) -> Callable[[int], AsyncIterator[Any]]:
    def refuse(batch_size: int) -> AsyncIterator[Any]:
        name = registration.subject.__name__
        raise InvalidOperationError(
            f"to stream {name} takes a unit of work that stays open meanwhile; call "
            f"fetch({name}, ..., uow=uow) within one, or await the result for a list"
        )

    return refuse
