"""Which class keeps, loads and reads what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.primitives.exceptions import (
    HandlerAlreadyRegisteredError,
    HandlerNotRegisteredError,
    HandlerRegistrationError,
)

from ..ports.persistence import IdOf
from .roles import OPERATION, QUERY, QUERY_SPEC, RETRIEVAL, Role, signature_for, takes_events


@dataclass(frozen=True)
class Registration:
    """A class that has a role for a type, and the source of its unit of work."""

    role: Role
    subject: type[Any]
    handler_cls: type[Any]
    source: str
    priority: int = 0
    takes_events: bool = False
    id_of: IdOf | None = None


class PersistenceRegistry:
    """Classes of handlers by the exact type of aggregate or read model that they are for.

    A type has one handler for each role, and any number of operation handlers, each with a priority
    of its own. Raises ``HandlerRegistrationError`` for a class that does not fit its role, and
    ``HandlerAlreadyRegisteredError``, which says who holds the place.
    """

    def __init__(self) -> None:
        self._chains: dict[type[Any], tuple[Registration, ...]] = {}
        self._single: dict[tuple[Role, type[Any]], Registration] = {}
        self._read_models: dict[type[Any], IdOf | None] = {}

    def register_operation(
        self,
        entity_type: type[AggregateRoot[Any]],
        handler_cls: type[Any],
        source: str = "default",
        priority: int = 0,
    ) -> None:
        """All handlers of a type save it, the highest priority first, so they share a source."""
        _refuse_no_aggregate(entity_type)
        method = signature_for(handler_cls, OPERATION, entity_type)
        chain = self._chains.get(entity_type, ())
        new = Registration(
            OPERATION, entity_type, handler_cls, source, priority, takes_events(method)
        )
        for held in chain:
            _refuse_beside(new, held)
        by_priority = sorted((*chain, new), key=lambda each: -each.priority)
        self._chains[entity_type] = tuple(by_priority)

    def register_retrieval(
        self,
        entity_type: type[AggregateRoot[Any]],
        handler_cls: type[Any],
        source: str = "default",
    ) -> None:
        _refuse_no_aggregate(entity_type)
        self._register(RETRIEVAL, entity_type, handler_cls, source)

    def register_query(
        self,
        result_type: type[Any],
        handler_cls: type[Any],
        source: str = "default",
        *,
        id_attribute: str | None = None,
    ) -> None:
        """``id_attribute`` is the one that holds the id, where that is not ``id``: results are put
        in the order of the ids by it, and cached."""
        id_of = id_of_results(result_type, id_attribute)
        self._register(QUERY, result_type, handler_cls, source, id_of)
        self._read_models[result_type] = id_of

    def register_query_spec(
        self, result_type: type[Any], handler_cls: type[Any], source: str = "default"
    ) -> None:
        self._register(QUERY_SPEC, result_type, handler_cls, source)

    def operations(self, entity_type: type[Any]) -> tuple[Registration, ...]:
        """In the order in which they run; raises ``HandlerNotRegisteredError``."""
        try:
            return self._chains[entity_type]
        except KeyError:
            raise self._missing(OPERATION, entity_type) from None

    def retrieval(self, entity_type: type[Any]) -> Registration:
        """Raises ``HandlerNotRegisteredError``."""
        return self._found(RETRIEVAL, entity_type)

    def query(self, result_type: type[Any]) -> Registration:
        """Raises ``HandlerNotRegisteredError``."""
        return self._found(QUERY, result_type)

    def query_spec(self, result_type: type[Any]) -> Registration:
        """Raises ``HandlerNotRegisteredError``."""
        return self._found(QUERY_SPEC, result_type)

    def __iter__(self) -> Iterator[Registration]:
        for chain in self._chains.values():
            yield from chain
        yield from self._single.values()

    @property
    def read_models(self) -> Mapping[type[Any], IdOf | None]:
        """Those that are read by id, and how to tell it."""
        return self._read_models

    def _register(
        self,
        role: Role,
        type_: type[Any],
        handler_cls: type[Any],
        source: str,
        id_of: IdOf | None = None,
    ) -> None:
        if not isinstance(type_, type):
            raise HandlerRegistrationError(
                f"{type_!r} is not a class; register the class of the results",
                message_type=str(type_),
            )
        signature_for(handler_cls, role, type_)
        if held := self._single.get((role, type_)):
            raise _taken(held, f"the {role.name} of {type_.__name__}", "a type has one")
        new = Registration(role, type_, handler_cls, source, id_of=id_of)
        self._single[role, type_] = new

    def _found(self, role: Role, type_: type[Any]) -> Registration:
        try:
            return self._single[role, type_]
        except KeyError:
            raise self._missing(role, type_) from None

    def _missing(self, role: Role, type_: type[Any]) -> HandlerNotRegisteredError:
        name = getattr(type_, "__name__", None) or repr(type_)
        known = sorted({each.subject.__name__ for each in self if each.role is role})
        near = get_close_matches(name, known, n=3) or known[:5]
        return HandlerNotRegisteredError(
            f"no {role.name} handler for {name}; there are handlers for "
            f"{', '.join(near) or 'nothing'}; call registry.{role.call}({name}, ...) first",
            message_type=name,
        )


def _refuse_no_aggregate(entity_type: Any) -> None:
    if not (isinstance(entity_type, type) and issubclass(entity_type, AggregateRoot)):
        raise HandlerRegistrationError(
            f"{entity_type!r} is not a class of aggregates; register read models by "
            "register_query and register_query_spec",
            message_type=str(entity_type),
        )


def _refuse_beside(new: Registration, held: Registration) -> None:
    name = new.subject.__name__
    if new.handler_cls is held.handler_cls:
        raise _taken(held, f"an operation of {name}", "once is enough")
    if new.priority == held.priority:
        raise _taken(
            held,
            f"the operation of {name} at priority {held.priority}",
            f"give {new.handler_cls.__name__} another priority to run before or after it",
        )
    if new.source != held.source:
        raise HandlerRegistrationError(
            f"{new.handler_cls.__name__} saves {name} in {new.source!r}, "
            f"{held.handler_cls.__name__} in {held.source!r}, and they share one unit of work; "
            "use one source, or react to the events of the first",
            message_type=name,
            handler=new.handler_cls.__qualname__,
        )


def _taken(held: Registration, place: str, advice: str) -> HandlerAlreadyRegisteredError:
    return HandlerAlreadyRegisteredError(
        f"{held.handler_cls.__qualname__} (source {held.source!r}) is {place} already; {advice}",
        message_type=held.subject.__name__,
        handler=held.handler_cls.__qualname__,
    )


def id_of_results(result_type: Any, attribute: str | None = None) -> IdOf | None:
    """How to tell the id of a read model, by ``id`` if nothing else is said; None where it cannot
    be told."""
    fields = _fields_of(result_type)
    name = attribute or "id"
    # A property is fine too.
    if fields is not None and name not in fields and not hasattr(result_type, name):
        if attribute is None:
            return None
        raise HandlerRegistrationError(
            f"{result_type.__name__} has no attribute {attribute!r} to hold its id; there is "
            f"{', '.join(fields) or 'none'}",
            message_type=result_type.__name__,
        )
    is_told = fields is not None or attribute is not None or hasattr(result_type, name)
    return attrgetter(name) if is_told else None


def _fields_of(result_type: Any) -> list[str] | None:
    """None for a class that does not declare them."""
    if isinstance(result_type, type) and issubclass(result_type, BaseModel):
        return list(result_type.model_fields)
    if isinstance(result_type, type) and is_dataclass(result_type):
        return list(result_type.__dataclass_fields__)
    return None
