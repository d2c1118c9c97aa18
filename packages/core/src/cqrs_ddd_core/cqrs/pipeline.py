"""Chains of middlewares around a handler, built once per message type."""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import CoroutineType
from typing import Any, TypeVar

from ..messages import CommandResponse, QueryResponse
from ..ports.middleware import IMiddleware, Placement
from ..primitives.exceptions import HandlerResultError, MiddlewareError
from .handlers import BoundHandler

Step = Callable[[Any], Coroutine[object, None, Any]]
Response = TypeVar("Response", CommandResponse[Any], QueryResponse[Any])


def split_by_placement(
    middlewares: Sequence[IMiddleware],
) -> tuple[tuple[IMiddleware, ...], tuple[IMiddleware, ...]]:
    """Return the middlewares outside and inside the unit of work.

    Raises:
        MiddlewareError: a middleware cannot run, or not at its place in the order.
    """
    ensure_middlewares(middlewares)
    outside: list[IMiddleware] = []
    inside: list[IMiddleware] = []
    for middleware in middlewares:
        if any(type(middleware) is type(other) for other in (*outside, *inside)):
            name = get_name(middleware)
            raise MiddlewareError(f"{name} is given twice; keep one", middleware=name)
        if middleware.placement is Placement.INSIDE:
            inside.append(middleware)
        elif inside:
            raise _build_order_error(middleware, inside[-1])
        else:
            outside.append(middleware)
    return tuple(outside), tuple(inside)


def chain(middlewares: Sequence[IMiddleware], last: Step, response: type) -> Step:
    """Return a function that runs the middlewares in order, then ``last``."""
    step = last
    for middleware in reversed(middlewares):
        step = _wrap(middleware, step, response)
    return step


def build_handler_step(handler: BoundHandler, response: type[Response]) -> Step:
    """Return the last step: it calls the handler, checks the result and returns a response."""
    call, expected = handler.call, handler.result_types

    async def step(message: object) -> Response:
        answer = await call(message)
        is_response = answer.__class__ is response
        result = answer.result if is_response else answer
        if expected is None:
            if result.__class__ in _NEVER_A_RESULT:
                raise _build_result_error(handler, result)
        elif not isinstance(result, expected):
            raise _build_result_error(handler, result)
        return answer if is_response else response(result)

    return step


def _wrap(middleware: IMiddleware, inner: Step, response: type) -> Step:
    async def step(message: object) -> object:
        answer = await middleware(message, inner)
        if not isinstance(answer, response):
            raise MiddlewareError(
                f"{get_name(middleware)} returned a {type(answer).__name__} for "
                f"{type(message).__name__}; return "
                f"await next_(message), or a {response.__name__} of your own",
                middleware=get_name(middleware),
            )
        return answer

    return step


def get_name(thing: object) -> str:
    """Return the name of a function or a class, or of the class of an object."""
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


_NEVER_A_RESULT = (CoroutineType, CommandResponse, QueryResponse)


def _build_result_error(handler: BoundHandler, result: object) -> HandlerResultError:
    expected = " or ".join(t.__name__ for t in handler.result_types or ()) or "a result"
    actual = type(result).__name__
    hint = (
        "await it" if inspect.iscoroutine(result) else "return the type that the message declares"
    )
    return HandlerResultError(
        f"{handler.name} returned {actual} for {handler.message_type.__name__}, not {expected}; "
        f"{hint}",
        handler=handler.name,
        expected=expected,
        actual=actual,
    )


def ensure_middlewares(middlewares: object) -> None:
    """Raise ``MiddlewareError`` unless an argument is a list of middlewares; a class is not one."""
    if not isinstance(middlewares, Iterable):
        name = get_name(middlewares)
        raise MiddlewareError(
            f"middlewares is {name}, not a list; pass [{name}(...)]", middleware=name
        )
    for each in middlewares:
        _ensure_usable(each)


def _ensure_usable(middleware: object) -> None:
    name = get_name(middleware)
    if isinstance(middleware, type):
        raise MiddlewareError(
            f"{name} is a class, and middlewares= takes objects; pass {name}(...)", middleware=name
        )
    if not isinstance(middleware, IMiddleware) or not inspect.iscoroutinefunction(
        type(middleware).__call__
    ):
        raise MiddlewareError(
            f"{name} is not a middleware; subclass IMiddleware and write "
            "async def __call__(self, message, next_)",
            middleware=name,
        )


def _build_order_error(middleware: IMiddleware, after: IMiddleware) -> MiddlewareError:
    name, previous = get_name(middleware), get_name(after)
    return MiddlewareError(
        f"{name} runs {Placement.OUTSIDE.value} but is listed after {previous}, which runs "
        f"{Placement.INSIDE.value}; list it before {previous}",
        middleware=name,
    )
