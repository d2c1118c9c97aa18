"""Base classes of handlers, and the binding of a handler to its message."""

import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from ..messages import CommandResponse, QueryResponse
from ..primitives.exceptions import HandlerRegistrationError

R = TypeVar("R")

Call = Callable[[Any], Awaitable[Any]]
Resolver = Callable[[type], Any]
Unfit = Callable[[str], HandlerRegistrationError]
"""Function that builds the error for a problem of a handler."""


class CommandHandler(ABC, Generic[R]):
    """Handler of one type of command; an ``async def`` with one parameter can replace it.

    ``handle`` takes ``Any`` so that a subclass may narrow it to its message; the registry checks
    that the annotation fits the message.
    """

    @abstractmethod
    async def handle(self, command: Any) -> CommandResponse[R] | R:
        """Return the result, or a response that also raises events."""
        ...


class QueryHandler(ABC, Generic[R]):
    """Handler of one type of query."""

    @abstractmethod
    async def handle(self, query: Any) -> QueryResponse[R] | R:
        """Return the result, or a response that contains it."""
        ...


class EventHandler(ABC):
    """Handler of events in the transaction that raised them: an error rolls it back."""

    @abstractmethod
    async def handle(self, event: Any) -> None:
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
    without parameters, is called for each message.

    Raises:
        HandlerRegistrationError: the handler does not fit the message type.
    """
    name = describe_handler(handler)
    unfit = partial(HandlerRegistrationError.unfit, name, message_type.__name__, "handle")
    is_class = inspect.isclass(handler)
    if is_class and not hasattr(handler, "handle"):
        raise unfit("has no handle method")
    if is_class:
        function = handler.handle
        call = _build_call(_find_factory(handler, resolver, unfit))
    elif hasattr(handler, "handle"):
        function = call = handler.handle
    elif not callable(handler):
        raise unfit("is not callable and has no handle method")
    elif not _list_required_parameters(handler):
        return BoundHandler(message_type, name, _build_call(handler), None)
    else:
        function = call = handler
    _ensure_fits(function, message_type, unfit)
    return BoundHandler(message_type, name, call, _find_result_types(message_type, function))


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


def _find_factory(handler: type, resolver: Resolver | None, unfit: Unfit) -> Callable[[], Any]:
    if resolver is not None:
        return lambda: resolver(handler)
    if needed := _list_required_parameters(handler):
        raise unfit(
            f"needs {', '.join(needed)} to be created; register an instance or a factory, or pass "
            "a resolver to the registry"
        )
    return handler


def _build_call(factory: Callable[[], Any]) -> Call:
    def call(message: object) -> Awaitable[object]:
        answer: Awaitable[object] = factory().handle(message)
        return answer

    return call


def _list_required_parameters(function: Callable[..., object]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _ensure_fits(function: Callable[..., object], message_type: type, unfit: Unfit) -> None:
    if not _is_async(function):
        raise unfit("is not async; write async def")
    parameters = _list_required_parameters(function)
    if parameters[:1] == ["self"]:
        del parameters[0]
    if len(parameters) != 1:
        raise unfit(f"takes ({', '.join(parameters)}), not exactly one message")
    accepted = _read_hints(function).get(parameters[0], Any)
    if not any(_accepts(option, message_type) for option in _split_union(accepted)):
        raise unfit(f"takes {getattr(accepted, '__name__', accepted)}; register it for that")


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - is its code async, not: is it callable
    )


def _accepts(option: object, message_type: type) -> bool:
    # Any is a class from Python 3.11 on.
    return option is Any or not inspect.isclass(option) or issubclass(message_type, option)


def _read_hints(function: object) -> dict[str, object]:
    try:
        return get_type_hints(getattr(function, "func", function))
    except (NameError, TypeError):
        return {}  # Hints of local classes and callable objects cannot be resolved.


def _split_union(hint: object) -> tuple[object, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _find_result_types(message_type: type, function: object) -> tuple[type, ...] | None:
    """Return the types that the message declares, or else the types that the handler returns."""
    declared = find_declared_result(message_type)
    if declared is Any:
        declared = _read_hints(function).get("return", Any)
    found: list[type] = []
    for option in _split_union(declared):
        for result in _split_union(_strip_response(option)):
            classes = _find_classes(result)
            if classes is None:
                return None
            found += classes
    return tuple(found)


def _strip_response(hint: object) -> object:
    is_response = get_origin(hint) in (CommandResponse, QueryResponse)
    return get_args(hint)[0] if is_response else hint


def _find_classes(hint: object) -> tuple[type, ...] | None:
    """Return the classes to test for, or None for a hint that cannot be tested at run time."""
    if hint is None:
        return (type(None),)
    if hint is float:
        return (float, int)  # PEP 484 accepts an int as a float.
    origin = get_origin(hint) or hint
    if isinstance(hint, TypeVar) or not inspect.isclass(origin) or origin in (Any, object):
        return None
    is_protocol: bool = getattr(origin, "_is_protocol", False)
    return None if is_protocol or origin in (CommandResponse, QueryResponse) else (origin,)
