"""Base classes of handlers, and the binding of a handler to its message."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_origin

from ..domain import DomainEvent
from ..messages import Command, CommandResponse, Query, QueryResponse
from ..ports.unit_of_work import get_current_uow
from ..primitives.exceptions import HandlerRegistrationError, InvalidOperationError
from . import signatures

R = TypeVar("R")

Call = Callable[[Any], Awaitable[Any]]
Resolver = Callable[[type], Any]
Unfit = Callable[[str], HandlerRegistrationError]
"""Function that builds the error for a problem of a handler."""


class CommandHandler(ABC, Generic[R]):
    """Handler of one type of command; an ``async def`` with one parameter can replace it.

    A subclass narrows ``command`` to its message, and may add a parameter ``uow: UnitOfWork``; the
    registry checks both.
    """

    @abstractmethod
    async def handle(self, command: Any, *args: Any, **kwargs: Any) -> CommandResponse[R] | R:
        """Return the result, or a response that also raises events."""
        ...


class QueryHandler(ABC, Generic[R]):
    """Handler of one type of query."""

    @abstractmethod
    async def handle(self, query: Any, *args: Any, **kwargs: Any) -> QueryResponse[R] | R:
        """Return the result, or a response that contains it."""
        ...


class EventHandler(ABC):
    """Handler of events in the transaction that raised them: an error rolls it back."""

    @abstractmethod
    async def handle(self, event: Any, *args: Any, **kwargs: Any) -> None:
        """React to the event; the transaction has not committed yet."""
        ...


@dataclass(frozen=True)
class BoundHandler:
    """Handler that can be called with a message.

    Attributes:
        message_type: class of the message.
        name: path of the handler, for error messages.
        call: calls the handler with a message.
        result_types: classes of which the result must be an instance; None accepts any result.
    """

    message_type: type
    name: str
    call: Call
    result_types: tuple[type, ...] | None


def bind(message_type: type, handler: Any, resolver: Resolver | None) -> BoundHandler:
    """Bind an instance with ``handle``, its class, an async function or a factory.

    A class is instantiated for each message, by ``resolver`` if there is one; a factory, a callable
    without parameters, is called for each message. A resolver and a factory may be async. A
    parameter ``uow`` gets the current unit of work.

    Raises:
        HandlerRegistrationError: the handler does not fit the message type.
    """
    name = describe_handler(handler)
    unfit = partial(HandlerRegistrationError.unfit, name, message_type.__name__, "handle")
    if isinstance(handler, (Command, Query, DomainEvent)):
        raise unfit("is a message; register a function or a class with handle")
    is_class = inspect.isclass(handler)
    if is_class and not hasattr(handler, "handle"):
        raise unfit("has no handle method; write async def handle(self, message)")
    if not is_class and not hasattr(handler, "handle") and _is_factory(handler, unfit):
        return BoundHandler(message_type, name, _build_call(handler, unfit, None), None)
    function = handler.handle if hasattr(handler, "handle") else handler
    if misfit := signatures.find_misfit(function, message_type):
        raise unfit(misfit)
    needs_uow = signatures.takes_uow(function)
    if is_class:
        call = _build_call(_find_factory(handler, resolver, unfit), unfit, needs_uow)
    else:
        call = _pass_uow(function, name) if needs_uow else function
    return BoundHandler(message_type, name, call, _find_result_types(message_type, function))


def find_message_type(handler: Any, kind: type) -> type:
    """Return the message of a kind that the annotations of a handler name.

    Args:
        handler: function, class or instance.
        kind: base class of the message, ``Command``, ``Query`` or ``DomainEvent``.

    Raises:
        HandlerRegistrationError: the annotations name no such message, or several.
    """
    function = getattr(handler, "handle", handler)
    decorator = _DECORATORS[kind]
    if isinstance(handler, (Command, Query, DomainEvent)):
        raise HandlerRegistrationError.not_a_message(handler, kind.__name__)
    unknown = partial(
        HandlerRegistrationError.unknown_message, describe_handler(handler), decorator
    )
    if not inspect.isroutine(function):
        raise HandlerRegistrationError.unfit(
            describe_handler(handler),
            f"a {kind.__name__}",
            "handle",
            "is not a function and has no method handle; write async def handle(self, message)",
        )
    named = signatures.list_named_messages(function, kind)
    if kind is not DomainEvent:  # All events can have one handler.
        named = [message for message in named if not _is_base(message, kind)]
    if len(named) == 1:
        return named[0]
    if named:
        raise unknown(f"it names {' and '.join(message.__name__ for message in named)}")
    if not signatures.read_hints(function) and getattr(function, "__annotations__", None):
        raise unknown(
            "its annotations cannot be resolved, as in a function with postponed annotations"
        )
    for other, call in _DECORATORS.items():
        if other is not kind and signatures.list_named_messages(function, other):
            raise unknown(f"it takes a {other.__name__}, for which there is {call}")
    raise unknown(f"no parameter is annotated with a subclass of {kind.__name__}")


def find_declared_result(message_type: type) -> Any:
    """Return ``R`` of ``Command[R]`` or ``Query[R]``; ``Any`` if the message declares none."""
    for base in message_type.__mro__:
        arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
        if arguments:
            return arguments[0]
    return Any


def describe_handler(handler: object) -> str:
    """Return the path of a handler, for error messages."""
    target = getattr(handler, "func", handler)  # functools.partial
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"


def _is_factory(handler: object, unfit: Unfit) -> bool:
    if not callable(handler):
        raise unfit("is not callable and has no handle method; register a function or a class")
    return not signatures.list_required_parameters(handler) and not (
        signatures.takes_any_arguments(handler)
    )


_DECORATORS: dict[type, str] = {
    Command: "command_handler",
    Query: "query_handler",
    DomainEvent: "event_handler",
}


def _is_base(message: type, kind: type) -> bool:
    """Return whether the class is ``Command`` or ``Command[int]``, and not a message."""
    generic = getattr(message, "__pydantic_generic_metadata__", {})
    return kind in (message, generic.get("origin"))


def _find_factory(handler: type, resolver: Resolver | None, unfit: Unfit) -> Callable[[], Any]:
    if resolver is not None:
        return partial(resolver, handler)
    if needed := signatures.list_required_parameters(handler):
        names = ", ".join(parameter.name for parameter in needed)
        raise unfit(
            f"needs {names} to be created; register an instance or a factory, or pass a resolver "
            "to the registry"
        )
    return handler


def _build_call(create: Callable[[], Any], unfit: Unfit, needs_uow: bool | None) -> Call:
    """Return a function that creates the handler for each message, and calls it.

    Args:
        create: returns the handler, or an awaitable of it.
        unfit: builds the error for an object that is not a handler.
        needs_uow: whether the handler takes ``uow``; None to look at the first instance.
    """

    def run(handle: Callable[..., Awaitable[Any]], message: object) -> Awaitable[object]:
        nonlocal needs_uow
        if needs_uow is None:
            needs_uow = signatures.takes_uow(handle)
        return (_pass_uow(handle, describe_handler(handle)) if needs_uow else handle)(message)

    async def run_later(created: Any, message: object) -> object:
        if inspect.isawaitable(created):
            created = await created
        if not _is_handler(created):
            is_class = isinstance(created, type)
            given = f"the class {created.__name__}" if is_class else type(created).__name__
            raise unfit(f"was resolved to {given}; return an object with async def handle")
        return await run(created.handle, message)

    def call(message: object) -> Awaitable[object]:
        created = create()
        if _is_handler(created):
            return run(created.handle, message)
        return run_later(created, message)

    return call


def _is_handler(created: object) -> bool:
    return hasattr(created, "handle") and not isinstance(created, type)


def _pass_uow(function: Callable[..., Awaitable[Any]], name: str) -> Call:
    def call(message: object) -> Awaitable[object]:
        uow = get_current_uow()
        if uow is None:
            raise InvalidOperationError(
                f"{name} takes uow, but no unit of work is open; pass query_uow_factory= to the "
                "mediator, or enter a unit of work first"
            )
        return function(message, uow=uow)

    return call


def _find_result_types(message_type: type, function: object) -> tuple[type, ...] | None:
    """Return the types that the message declares, or else the types that the handler returns."""
    declared = find_declared_result(message_type)
    if declared is Any:
        declared = signatures.read_hints(function).get("return", Any)
    found: list[type] = []
    for option in signatures.split_union(signatures.strip_alias(declared)):
        classes = _find_classes(_strip_response(option))
        if classes is None:
            return None
        found += classes
    return tuple(found)


_ALSO_ACCEPTED: dict[object, tuple[type, ...]] = {
    None: (type(None),),
    float: (float, int),
    complex: (complex, float, int),
}
"""Classes that PEP 484 accepts for a hint."""


def _strip_response(hint: object) -> object:
    is_response = get_origin(hint) in (CommandResponse, QueryResponse)
    return get_args(hint)[0] if is_response else hint


def _find_classes(hint: object) -> tuple[type, ...] | None:
    """Return the classes to test for, or None for a hint that cannot be tested at run time."""
    found: list[type] = []
    for option in signatures.split_union(signatures.strip_alias(hint)):
        plain = signatures.strip_alias(option)
        classes = _find_class(plain) if plain is option else _find_classes(plain)
        if classes is None:
            return None
        found += classes
    return tuple(found)


def _find_class(hint: Any) -> tuple[type, ...] | None:
    if hint in _ALSO_ACCEPTED:
        return _ALSO_ACCEPTED[hint]
    origin = get_origin(hint) or hint
    if not inspect.isclass(origin) or origin in (Any, object, CommandResponse, QueryResponse):
        return None
    if hasattr(origin, "__required_keys__"):  # A TypedDict, which is a dict at run time.
        return (dict,)
    generic: Mapping[str, Any] = getattr(origin, "__pydantic_generic_metadata__", {})
    is_protocol: bool = getattr(origin, "_is_protocol", False)
    return None if is_protocol else (generic.get("origin") or origin,)
