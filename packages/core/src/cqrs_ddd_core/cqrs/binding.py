"""From what was registered to something that can be called with a message."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..messages import CommandResponse, QueryResponse
from ..primitives.exceptions import HandlerRegistrationError

Call = Callable[[Any], Awaitable[Any]]
Resolver = Callable[[type], Any]


@dataclass(frozen=True)
class BoundHandler:
    """A handler ready to be called.

    ``result_types`` are the classes of which its result must be an instance; None for any.
    """

    message_type: type
    name: str
    call: Call
    result_types: tuple[type, ...] | None


def bind(message_type: type, handler: Any, resolver: Resolver | None) -> BoundHandler:
    """Accepts an instance with ``handle``, its class, an async function or a factory.

    A class is made anew for each message, by ``resolver`` where there is one; so is what a factory,
    a callable without parameters, returns. Raises ``HandlerRegistrationError``.
    """
    unfit = partial(HandlerRegistrationError.unfit, _name(handler), message_type.__name__, "handle")
    is_class = inspect.isclass(handler)
    if is_class and not hasattr(handler, "handle"):
        raise unfit("has no handle method")
    if is_class:
        function = handler.handle
        call = _from_factory(_maker(handler, resolver, unfit))
    elif hasattr(handler, "handle"):
        function = call = handler.handle
    elif not callable(handler):
        raise unfit("is not callable and has no handle method")
    elif not _required_parameters(handler):
        return BoundHandler(message_type, _name(handler), _from_factory(handler), None)
    else:
        function = call = handler
    _check(function, message_type, unfit)
    results = _result_types(message_type, function)
    return BoundHandler(message_type, _name(handler), call, results)


_Unfit = Callable[[str], HandlerRegistrationError]
"""Builds the error for a problem of the handler."""


def _maker(handler: type, resolver: Resolver | None, unfit: _Unfit) -> Callable[[], Any]:
    if resolver is not None:
        return lambda: resolver(handler)
    if needed := _required_parameters(handler):
        raise unfit(
            f"needs {', '.join(needed)} to be made; register an instance, a factory, or give the "
            "registry a resolver"
        )
    return handler


def _from_factory(make: Callable[[], Any]) -> Call:
    def call(message: Any) -> Awaitable[Any]:
        answer: Awaitable[Any] = make().handle(message)
        return answer

    return call


def _required_parameters(function: Callable[..., Any]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _check(function: Any, message_type: type, unfit: _Unfit) -> None:
    if not _is_async(function):
        raise unfit("is not async; write async def")
    parameters = _required_parameters(function)
    if parameters[:1] == ["self"]:
        del parameters[0]
    if len(parameters) != 1:
        raise unfit(f"takes ({', '.join(parameters)}), not exactly one message")
    accepted = _hints(function).get(parameters[0], Any)
    if not any(_accepts(option, message_type) for option in _options(accepted)):
        raise unfit(f"takes {getattr(accepted, '__name__', accepted)}; register it for that")


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - asks about its colour, not its presence
    )


def _accepts(option: Any, message_type: type) -> bool:
    # Any is a class from Python 3.11 on.
    return option is Any or not inspect.isclass(option) or issubclass(message_type, option)


def _hints(function: Any) -> dict[str, Any]:
    target = getattr(function, "func", function)  # functools.partial
    try:
        return get_type_hints(target)
    except (NameError, TypeError):
        return {}  # Local classes, or a callable object: nothing to check against.


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _result_types(message_type: type, function: Any) -> tuple[type, ...] | None:
    """What the message promises its sender, else what the handler says it returns."""
    promised = declared_result(message_type)
    if promised is Any:
        promised = _hints(function).get("return", Any)
    found: list[type] = []
    for option in _options(promised):
        for inner in _options(_unwrapped(option)):
            checkable = _checkable(inner)
            if checkable is None:
                return None
            found += checkable
    return tuple(found)


def declared_result(message_type: type) -> Any:
    """``R`` of ``Command[R]`` or ``Query[R]``; Any where the message does not say."""
    for base in message_type.__mro__:
        arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
        if arguments:
            return arguments[0]
    return Any


def _unwrapped(hint: Any) -> Any:
    is_response = get_origin(hint) in (CommandResponse, QueryResponse)
    return get_args(hint)[0] if is_response else hint


def _checkable(hint: Any) -> tuple[type, ...] | None:
    """The classes to test for, or None for a hint that cannot be tested at run time."""
    if hint is None:
        return (type(None),)
    if hint is float:
        return (float, int)  # PEP 484: an int will do for a float.
    origin = get_origin(hint) or hint
    if isinstance(hint, TypeVar) or not inspect.isclass(origin) or origin in (Any, object):
        return None
    is_protocol: bool = getattr(origin, "_is_protocol", False)
    return None if is_protocol or origin in (CommandResponse, QueryResponse) else (origin,)


def _name(handler: Any) -> str:
    target = getattr(handler, "func", handler)
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"
