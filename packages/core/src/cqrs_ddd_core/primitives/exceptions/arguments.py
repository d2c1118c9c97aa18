"""Checks of the arguments of constructors, so that a mistake is an error where it is made."""

import inspect
from collections.abc import Callable, Iterable

from .base import ConfigError, InvalidOperationError

_LISTED = 3
"""Missing members that a message lists."""


def ensure_instance(value: object, kind: type, argument: str, *, example: str = "") -> None:
    """Raise ``ConfigError`` unless an argument is an object of a class, or implements a port.

    Args:
        value: the argument.
        kind: the class, or a port, whose members the object must have.
        argument: name of the argument.
        example: object that could be passed instead.
    """
    # A subclass of a port does not need the slower search for its members.
    if kind in type(value).__mro__:
        return
    advice = f", such as {example}" if example else ""
    if isinstance(value, type):
        raise ConfigError(
            f"{argument} is the class {value.__qualname__}, not an object; pass "
            f"{value.__qualname__}(...)",
            variable=argument,
        )
    missing = _list_missing(value, kind)
    if missing:
        lacking = ", ".join(missing[:_LISTED]) + (", ..." if len(missing) > _LISTED else "")
        raise ConfigError(
            f"{argument} is {_describe(value)}, which lacks {lacking}; pass an object that "
            f"implements {kind.__qualname__}{advice}",
            variable=argument,
        )
    if not _is_port(kind):
        raise ConfigError(
            f"{argument} is {_describe(value)}; pass an object of {kind.__qualname__}{advice}",
            variable=argument,
        )


def ensure_instances(values: object, kind: type, argument: str, *, example: str = "") -> None:
    """Raise ``ConfigError`` unless an argument is a list of such objects: see ``ensure_instance``.

    Args:
        values: the argument.
        kind: the class of the objects, or their port.
        argument: name of the argument.
        example: object that could be in the list.
    """
    if isinstance(values, (str, type)) or not isinstance(values, Iterable):
        raise ConfigError(
            f"{argument} is {_describe(values)}, not a list; pass [...]", variable=argument
        )
    for value in values:
        ensure_instance(value, kind, f"an item of {argument}", example=example)


def ensure_factory(factory: object, kind: type, argument: str, *, example: str) -> None:
    """Raise ``ConfigError`` unless an argument is a function that creates objects of a class.

    A subclass is called once, since it may need arguments.

    Args:
        factory: the argument.
        kind: class of the objects.
        argument: name of the argument.
        example: function that could be passed instead.
    """
    if isinstance(factory, type) and issubclass(factory, kind):
        _ensure_needs_nothing(factory, argument, example)
        return
    if isinstance(factory, kind):
        problem = f"is {_describe(factory)}, and each call needs a new one"
    elif not callable(factory):
        problem = f"is {_describe(factory)}, which cannot be called"
    elif isinstance(factory, type):
        problem = f"is the class {factory.__qualname__}, not a subclass of {kind.__qualname__}"
    elif inspect.iscoroutinefunction(factory):
        problem = "is an async function, and it is not awaited"
    else:
        return
    raise ConfigError(
        f"{argument} {problem}; pass a function that creates a new {kind.__qualname__}, such as "
        f"{example}",
        variable=argument,
    )


def ensure_class(value: object, base: type, argument: str) -> None:
    """Raise ``ConfigError`` unless an argument is a subclass of a class, and not its instance.

    Args:
        value: the argument.
        base: the class.
        argument: name of the argument.
    """
    if isinstance(value, type) and issubclass(value, base):
        return
    given = f"the class {value.__qualname__}" if isinstance(value, type) else _describe(value)
    raise ConfigError(
        f"{argument} is {given}; pass a subclass of {base.__qualname__}",
        variable=argument,
    )


def _ensure_needs_nothing(factory: Callable[[], object], argument: str, example: str) -> None:
    try:
        factory()
    except (TypeError, ConfigError, InvalidOperationError) as error:
        raise ConfigError(
            f"{argument} is called without arguments, which {factory.__qualname__} does not "
            f"accept: {error}; pass a function that passes them, such as {example}",
            variable=argument,
        ) from error


def _describe(value: object) -> str:
    return "None" if value is None else f"an object of {type(value).__qualname__}"


def _list_missing(value: object, kind: type) -> list[str]:
    members: frozenset[str] = getattr(kind, "__abstractmethods__", frozenset())
    return [each for each in sorted(members) if not _has_member(value, each)]


def _has_member(value: object, name: str) -> bool:
    """Return whether the object has a member, without reading a property that it has."""
    missing = object()
    return inspect.getattr_static(value, name, missing) is not missing or hasattr(value, name)


def _is_port(kind: type) -> bool:
    is_protocol: bool = getattr(kind, "_is_protocol", False)
    return is_protocol
