"""Signatures of handlers: their parameters, and the messages that their annotations name."""

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ..ports.unit_of_work import UnitOfWork


def list_required_parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters without a default, and without ``self``."""
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return required[1:] if required and required[0].name == "self" else required


def read_hints(function: object) -> dict[str, object]:
    """Return the annotations; none if one of them cannot be resolved.

    A name of an enclosing function cannot be resolved under postponed annotations.
    """
    try:
        return get_type_hints(getattr(function, "func", function))
    except (NameError, TypeError):
        return {}


def split_union(hint: object) -> tuple[object, ...]:
    """Return the options of a union, or the hint itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def strip_alias(hint: Any) -> object:
    """Return the type behind ``Annotated``, a ``NewType`` or an alias of the statement ``type``."""
    while True:
        origin = get_origin(hint) or hint
        if origin is Annotated:
            hint = hint.__origin__
        elif hasattr(origin, "__supertype__"):
            hint = origin.__supertype__
        elif not inspect.isclass(origin) and hasattr(origin, "__value__"):
            hint = origin.__value__
        else:
            return hint


def can_be_called_with_one(function: object) -> bool:
    """Return whether the object can be called with one argument."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # A function in C may have no signature.
        pass
    return True


def takes_any_arguments(function: Callable[..., object]) -> bool:
    """Return whether the function has a parameter such as ``*args``."""
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    return inspect.Parameter.VAR_POSITIONAL in kinds


def is_async(function: object) -> bool:
    """Return whether a call of the function, or of a callable object, returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - is its code async, not: is it callable
    )


def accepts(hint: object, given: type) -> bool:
    """Return whether an annotation accepts instances of a class."""
    # Any is a class from Python 3.11 on.
    return any(
        option is Any or not inspect.isclass(option) or issubclass(given, option)
        for option in split_union(hint)
    )


def takes_uow(function: Callable[..., object]) -> bool:
    """Return whether the function has a parameter ``uow`` that can be passed by name."""
    parameter = inspect.signature(function).parameters.get("uow")
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def find_misfit(function: Callable[..., object], message_type: type) -> str | None:
    """Return why a function cannot handle the message, or None if it can."""
    if not list_required_parameters(function) and takes_any_arguments(function):
        return "hides its parameters behind *args; use functools.wraps in its decorator"
    if not is_async(function):
        is_wrapped = is_async(inspect.unwrap(function))
        return f"is not async; write async def{' in its decorator' if is_wrapped else ''}"
    required = list_required_parameters(function)
    messages = [parameter for parameter in required if parameter.name != "uow"]
    names = ", ".join(parameter.name for parameter in required)
    if len(messages) != 1:
        return (
            f"takes ({names}), not exactly one message; write one parameter for the message, and "
            "if needed uow: UnitOfWork"
        )
    (message,) = messages
    if required[0] is not message or message.kind is message.KEYWORD_ONLY:
        return f"takes ({names}); make {message.name} its first parameter, passed by position"
    hints = read_hints(function)
    accepted = hints.get(message.name, Any)
    if not accepts(accepted, message_type):
        return f"takes {getattr(accepted, '__name__', accepted)}; register it for that"
    uow = hints.get("uow", UnitOfWork)
    if takes_uow(function) and not any(map(_is_unit_of_work, split_union(uow))):
        return f"has uow: {getattr(uow, '__name__', uow)}; write uow: UnitOfWork"
    return None


def list_named_messages(function: Callable[..., object], kind: type) -> list[type]:
    """Return the messages of a kind that the annotations of the parameters name, each once."""
    hints = read_hints(function)
    named = [
        option
        for name in inspect.signature(function).parameters
        for option in split_union(hints.get(name))
        if isinstance(option, type) and issubclass(option, kind)
    ]
    return list(dict.fromkeys(named))


def _is_unit_of_work(option: object) -> bool:
    return option is Any or (inspect.isclass(option) and issubclass(option, UnitOfWork))
