"""Registration of the classes that save, load and query each type."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from operator import attrgetter
from typing import Any, get_origin

from pydantic import BaseModel

from cqrs_ddd_core.domain import AggregateRoot
from cqrs_ddd_core.primitives import exceptions as errors

from ..ports.persistence import IdOf


@dataclass(frozen=True, eq=False)
class Role:
    """Kind of handler.

    Attributes:
        name: name of the role, for errors.
        method: method that a handler class must have.
        arguments: arguments of the method, for errors.
        call: method of the registry that registers such a handler, for errors.
    """

    name: str
    method: str
    arguments: str
    call: str


OPERATION = Role(
    "operation", "persist", "(entity, uow) or (entity, uow, events=...)", "register_operation"
)
RETRIEVAL = Role("retrieval", "retrieve", "(ids, uow)", "register_retrieval")
QUERY = Role("query", "fetch", "(ids, uow)", "register_query")
QUERY_SPEC = Role("specification query", "fetch", "(criteria, uow)", "register_query_spec")


@dataclass(frozen=True)
class Registration:
    """Handler class for one role of a type.

    Attributes:
        role: kind of handler.
        subject: class of the aggregates or results.
        handler_cls: class of the handler.
        source: name of the factory that creates its unit of work.
        priority: order of the handlers that save a type, the highest first.
        takes_events: whether ``persist`` accepts ``events``.
        id_of: function from a result to its id, None if unknown.
    """

    role: Role
    subject: type[Any]
    handler_cls: type
    source: str
    priority: int = 0
    takes_events: bool = False
    id_of: IdOf | None = None


class PersistenceRegistry:
    """Table of handler classes, by the exact type of aggregate or result.

    A type has one handler for each role, except that any number of handlers may save it, each with
    its own priority.

    Every ``register`` method raises ``HandlerRegistrationError`` for a class that does not fit its
    role, and ``HandlerAlreadyRegisteredError`` if another class has the place.
    """

    def __init__(self) -> None:
        self._chains: dict[type, tuple[Registration, ...]] = {}
        self._single: dict[tuple[Role, type], Registration] = {}
        self._result_types: dict[type, IdOf | None] = {}

    def register_operation(
        self,
        entity_type: type[AggregateRoot],
        handler_cls: type,
        source: str = "default",
        priority: int = 0,
    ) -> None:
        """Add a handler that saves the type.

        All handlers of a type save it in one unit of work, so they share a source.

        Args:
            entity_type: class of the aggregates.
            handler_cls: class with ``persist(entity, uow)``.
            source: name of the factory that creates its unit of work.
            priority: the handler with the highest priority runs first, and its id is returned.
        """
        _ensure_aggregate(entity_type)
        signature = _inspect_method(handler_cls, OPERATION, entity_type)
        chain = self._chains.get(entity_type, ())
        new = Registration(
            OPERATION, entity_type, handler_cls, source, priority, _accepts_events(signature)
        )
        for present in chain:
            _ensure_compatible(new, present)
        by_priority = sorted((*chain, new), key=lambda each: -each.priority)
        self._chains[entity_type] = tuple(by_priority)

    def register_retrieval(
        self, entity_type: type[AggregateRoot], handler_cls: type, source: str = "default"
    ) -> None:
        """Set the handler that loads aggregates of the type.

        Args:
            entity_type: class of the aggregates.
            handler_cls: class with ``retrieve(ids, uow)``.
            source: name of the factory that creates its unit of work.
        """
        _ensure_aggregate(entity_type)
        self._register(RETRIEVAL, entity_type, handler_cls, source)

    def register_query(
        self,
        result_type: type,
        handler_cls: type,
        source: str = "default",
        *,
        id_attribute: str | None = None,
    ) -> None:
        """Set the handler that reads results of the type by id.

        Args:
            result_type: class of the results.
            handler_cls: class with ``fetch(ids, uow)``.
            source: name of the factory that creates its unit of work.
            id_attribute: attribute that holds the id, ``id`` by default; it sorts the results by
                the ids, and is their key in the cache.
        """
        id_of = find_id_getter(result_type, id_attribute)
        self._register(QUERY, result_type, handler_cls, source, id_of)
        self._result_types[result_type] = id_of

    def register_query_spec(
        self, result_type: type, handler_cls: type, source: str = "default"
    ) -> None:
        """Set the handler that searches results of the type.

        Args:
            result_type: class of the results.
            handler_cls: class with ``fetch(criteria, uow)``.
            source: name of the factory that creates its unit of work.
        """
        self._register(QUERY_SPEC, result_type, handler_cls, source)

    def find_operations(self, entity_type: type) -> tuple[Registration, ...]:
        """Return the handlers that save the type, in the order in which they run."""
        try:
            return self._chains[entity_type]
        except KeyError:
            raise self._build_missing_error(OPERATION, entity_type) from None

    def find(self, role: Role, type_: type) -> Registration:
        """Return the handler for a role of the type; raise ``HandlerNotRegisteredError``."""
        try:
            return self._single[role, type_]
        except KeyError:
            raise self._build_missing_error(role, type_) from None

    def __iter__(self) -> Iterator[Registration]:
        for chain in self._chains.values():
            yield from chain
        yield from self._single.values()

    @property
    def result_types(self) -> Mapping[type, IdOf | None]:
        """Types that are read by id, each with the function that returns its id, or None."""
        return self._result_types

    def _register(
        self, role: Role, type_: type, handler_cls: type, source: str, id_of: IdOf | None = None
    ) -> None:
        if not isinstance(type_, type):
            raise errors.HandlerRegistrationError(
                f"{type_!r} is not a class; register the class of the results",
                message_type=str(type_),
            )
        _inspect_method(handler_cls, role, type_)
        if present := self._single.get((role, type_)):
            raise _build_duplicate_error(
                present, f"the {role.name} of {type_.__name__}", "a type can have one only"
            )
        self._single[role, type_] = Registration(role, type_, handler_cls, source, id_of=id_of)

    def _build_missing_error(self, role: Role, type_: type) -> errors.HandlerNotRegisteredError:
        name = getattr(type_, "__name__", None) or repr(type_)
        known = {each.subject.__name__ for each in self if each.role is role}
        return errors.HandlerNotRegisteredError.unknown(role.name, name, known, role.call)


def find_id_getter(result_type: object, attribute: str | None = None) -> IdOf | None:
    """Return the function that reads the id of a result, or None for a class without such a field.

    Args:
        result_type: class of the results.
        attribute: name of the attribute; by default ``id``.

    Raises:
        HandlerRegistrationError: ``attribute`` is given and the class does not have it.
    """
    fields = _declared_fields(result_type)
    name = attribute or "id"
    has_name = hasattr(result_type, name)  # A property is enough.
    if fields is not None and name not in fields and not has_name:
        if attribute is None:
            return None
        type_name = getattr(result_type, "__name__", repr(result_type))
        raise errors.HandlerRegistrationError(
            f"{type_name} has no attribute {attribute!r} to hold its id; its fields are "
            f"{', '.join(fields) or 'none'}",
            message_type=type_name,
        )
    is_known = fields is not None or attribute is not None or has_name
    return attrgetter(name) if is_known else None


def _declared_fields(result_type: object) -> list[str] | None:
    """Return the names of the fields, or None for a class that does not declare them."""
    if isinstance(result_type, type) and issubclass(result_type, BaseModel):
        return list(result_type.model_fields)
    if isinstance(result_type, type) and is_dataclass(result_type):
        return list(result_type.__dataclass_fields__)
    return None


def _ensure_aggregate(entity_type: object) -> None:
    if not (isinstance(entity_type, type) and issubclass(entity_type, AggregateRoot)):
        raise errors.HandlerRegistrationError(
            f"{entity_type!r} is not a class of aggregates; register classes of results with "
            "register_query and register_query_spec",
            message_type=str(entity_type),
        )


def _ensure_compatible(new: Registration, present: Registration) -> None:
    name = new.subject.__name__
    if new.handler_cls is present.handler_cls:
        raise _build_duplicate_error(present, f"an operation of {name}", "register it once")
    if new.priority == present.priority:
        raise _build_duplicate_error(
            present,
            f"the operation of {name} at priority {present.priority}",
            f"give {new.handler_cls.__name__} another priority to run before or after it",
        )
    if new.source != present.source:
        raise errors.HandlerRegistrationError(
            f"{new.handler_cls.__name__} saves {name} in {new.source!r}, but "
            f"{present.handler_cls.__name__} in {present.source!r}, and they share one unit of "
            "work; use one source, or handle the events of the first",
            message_type=name,
            handler=new.handler_cls.__qualname__,
        )


def _build_duplicate_error(
    present: Registration, place: str, advice: str
) -> errors.HandlerAlreadyRegisteredError:
    name = present.handler_cls.__qualname__
    return errors.HandlerAlreadyRegisteredError(
        f"{name} (source {present.source!r}) is already {place}; {advice}",
        message_type=present.subject.__name__,
        handler=name,
    )


def _inspect_method(handler_cls: type, role: Role, type_: type) -> inspect.Signature:
    """Return the signature of the role's method; raise ``HandlerRegistrationError``."""
    # A handler may be EventSourcedRepository[Order, str], which is callable like a class.
    class_ = get_origin(handler_cls) or handler_cls
    method = getattr(class_, role.method, None)
    left_out = sorted(getattr(class_, "__abstractmethods__", ()))
    if not isinstance(class_, type):
        problem = "is not a class; pass the class, and a handler_factory that creates it"
    elif method is None:
        problem = f"has no method {role.method}"
    elif left_out:
        problem = f"is abstract; implement {', '.join(left_out)}"
    elif not inspect.iscoroutinefunction(method):
        problem = f"has a method {role.method} that is not async; write async def"
    else:
        signature = inspect.signature(method)
        is_with_events = role is OPERATION and _accepts_events(signature)
        try:
            signature.bind(None, None, None, **({"events": None} if is_with_events else {}))
            return signature
        except TypeError:
            problem = f"has {role.method}{signature}, which cannot be called with {role.arguments}"
    handler = getattr(handler_cls, "__qualname__", None) or repr(handler_cls)
    raise errors.HandlerRegistrationError.unfit(
        handler, type_.__name__, f"be the {role.name} handler of", problem
    )


def _accepts_events(signature: inspect.Signature) -> bool:
    events = signature.parameters.get("events")
    if events is not None:
        return events.kind is not events.POSITIONAL_ONLY
    return any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
