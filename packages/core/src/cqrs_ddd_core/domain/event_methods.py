"""Methods that are there for events: ``apply_<Event>``, or marked with ``@when(Event)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar, get_type_hints

from ..primitives.exceptions import EventHandlerError
from .events import DomainEvent

F = TypeVar("F", bound=Callable[..., None])

_PREFIX = "apply_"
_MARK = "__applies_events__"


def when(*event_classes: type[DomainEvent]) -> Callable[[F], F]:
    """Mark a method as the one that applies these events."""

    def mark(method: F) -> F:
        setattr(method, _MARK, event_classes)
        return method

    return mark


def find_event_methods(
    owner: type[Any], parameters: Sequence[str] = ("event",)
) -> dict[type[Any] | str, str]:
    """Event class, or its name where the method has no annotation, to the method's name.

    ``parameters`` are what a method takes after ``self``, the event first. Raises
    ``EventHandlerError`` for a wrong or ambiguous one.
    """
    methods: dict[type[Any] | str, str] = {}
    for each in reversed(owner.__mro__):
        for name, member in vars(each).items():
            for event in _events_of(owner, name, member, parameters):
                _claim(methods, event, name, owner)
    return methods


def _events_of(
    owner: type[Any], name: str, member: object, parameters: Sequence[str]
) -> tuple[type[Any] | str, ...]:
    marked: tuple[type[Any], ...] | None = getattr(member, _MARK, None)
    named = name.startswith(_PREFIX) and name[len(_PREFIX) : len(_PREFIX) + 1].isupper()
    if not inspect.isfunction(member) or not (named or marked):
        return ()
    parameter = _event_parameter(owner, name, member, parameters)
    if marked:
        return marked
    return (_event_named(owner, name, member, parameter),)


def _event_parameter(
    owner: type[Any], name: str, method: Callable[..., Any], wanted: Sequence[str]
) -> str:
    parameters = list(inspect.signature(method).parameters)
    if inspect.iscoroutinefunction(method) or len(parameters) != len(wanted) + 1:
        raise _wrong(
            owner,
            name,
            f"is not a plain method with one event; write def {name}(self, {', '.join(wanted)})",
        )
    return parameters[1]


def _event_named(
    owner: type[Any], name: str, method: Callable[..., Any], parameter: str
) -> type[Any] | str:
    suffix = name[len(_PREFIX) :]
    annotation = method.__annotations__.get(parameter)
    if annotation is None:
        return suffix
    try:
        annotation = get_type_hints(method)[parameter]
    except NameError:
        # A class that is local to a function: its name is all there is.
        if str(annotation).rpartition(".")[2].strip("'\"") == suffix:
            return suffix
    if _is_event(annotation) and annotation.__name__ == suffix:
        return annotation
    raise _wrong(
        owner,
        name,
        f"takes {annotation!r}, not a DomainEvent named {suffix}; "
        f"rename it, or mark it with @when({suffix})",
    )


def _is_event(annotation: object) -> TypeGuard[type[DomainEvent]]:
    return inspect.isclass(annotation) and issubclass(annotation, DomainEvent)


def _claim(
    methods: dict[type[Any] | str, str], event: type[Any] | str, name: str, owner: type[Any]
) -> None:
    for other, holder in methods.items():
        if holder != name and _same_event(other, event):
            raise _wrong(owner, name, f"and {holder} both apply {_label(event)}; keep one")
    methods[event] = name


def _same_event(one: type[Any] | str, other: type[Any] | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return _label(one) == _label(other)
    return one is other


def _label(event: type[Any] | str) -> str:
    return event if isinstance(event, str) else event.__name__


def _wrong(owner: type[Any], handler: str, problem: str) -> EventHandlerError:
    name = owner.__name__
    return EventHandlerError(f"{name}.{handler} {problem}", aggregate_type=name, handler=handler)
