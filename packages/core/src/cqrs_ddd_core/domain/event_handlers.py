"""Methods that apply events, named ``apply_<Event>`` or marked with ``@when(Event)``."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar, get_type_hints

from ..primitives.exceptions import EventApplicationError, EventHandlerError
from .events import GENERIC_ADVICE, DomainEvent, get_path, is_generic

Apply = Callable[[Any, Any], None]
F = TypeVar("F", bound=Callable[..., None])

_PREFIX = "apply_"
_MARK = "__applies_events__"


def when(*event_classes: type[DomainEvent]) -> Callable[[F], F]:
    """Mark a method as the handler of these event classes.

    Raises:
        EventHandlerError: no event class is given, or something else.
    """
    if not event_classes or not all(map(_is_event, event_classes)):
        given = ", ".join(str(getattr(each, "__name__", each)) for each in event_classes)
        raise EventHandlerError(f"@when({given}) names no event; write @when(OrderPlaced)")

    def mark(method: F) -> F:
        setattr(method, _MARK, event_classes)
        return method

    return mark


class EventHandlers(dict[type, Apply]):
    """Functions that apply events, by event class; a class is resolved at its first lookup."""

    def __init__(self, aggregate: type, apply_stored: Apply) -> None:
        super().__init__()
        self._aggregate = aggregate
        self._apply_stored = apply_stored
        self.methods = find_event_methods(aggregate)

    def __missing__(self, event_class: type) -> Apply:
        self[event_class] = apply = self._resolve(event_class)
        return apply

    def _resolve(self, event_class: type) -> Apply:
        if issubclass(event_class, DomainEvent):
            if is_generic(event_class):
                raise self._build_generic_error(event_class)
            method = self._find_method(event_class)
            return _ignore if method is None else _get_function(self._aggregate, method)
        if hasattr(event_class, "event_type") and hasattr(event_class, "payload"):
            return self._apply_stored
        return self._apply_stored_instance

    def _find_method(self, event_class: type[DomainEvent]) -> str | None:
        method = self.methods.get(event_class) or self.methods.get(event_class.__name__)
        if method is not None:
            return method
        # The module of the event may have been reloaded since the aggregate was defined.
        path = get_path(event_class)
        for known, applying in self.methods.items():
            if isinstance(known, type) and get_path(known) == path:
                return applying
        return None

    def _build_generic_error(self, event_class: type) -> EventApplicationError:
        name = self._aggregate.__name__
        return EventApplicationError(
            f"{name} cannot apply {event_class.__name__}, {GENERIC_ADVICE}",
            aggregate_type=name,
            event_type=event_class.__name__,
        )

    def _apply_stored_instance(self, aggregate: Any, event: Any) -> None:
        # The class does not show attributes that are set on the instance.
        if hasattr(event, "event_type") and hasattr(event, "payload"):
            return self._apply_stored(aggregate, event)
        name = self._aggregate.__name__
        raise EventApplicationError(
            f"{name} cannot apply a {type(event).__name__}; pass a DomainEvent, or a "
            "stored event with event_type and payload",
            aggregate_type=name,
            event_type=type(event).__name__,
        )


def _ignore(aggregate: Any, event: Any) -> None:
    """Do nothing: an event without a handler changes no state."""


def _get_function(aggregate: type, method: str) -> Apply:
    function: Apply = getattr(aggregate, method)
    return function


def find_event_methods(
    owner: type, parameters: Sequence[str] = ("event",)
) -> dict[type | str, str]:
    """Return the name of the method that applies each event class.

    A method without annotation is found by the name of its event instead of the class.

    Args:
        owner: class with the methods.
        parameters: names of the parameters after ``self``, the event first.

    Raises:
        EventHandlerError: a method has another signature, or two methods apply one event.
    """
    methods: dict[type | str, str] = {}
    for each in reversed(owner.__mro__):
        for name, member in vars(each).items():
            for event in _find_events(owner, name, member, parameters):
                _assign(methods, event, name, owner)
    return methods


def _find_events(
    owner: type, name: str, member: object, parameters: Sequence[str]
) -> tuple[type | str, ...]:
    marked: tuple[type, ...] | None = getattr(member, _MARK, None)
    named = name.startswith(_PREFIX) and name[len(_PREFIX) : len(_PREFIX) + 1].isupper()
    if not inspect.isfunction(member) or not (named or marked):
        return ()
    parameter = _find_event_parameter(owner, name, member, parameters)
    found = marked or (_find_event_by_name(owner, name, member, parameter),)
    for event in found:
        if isinstance(event, type) and is_generic(event):
            raise _build_error(owner, name, f"applies {event.__name__}, {GENERIC_ADVICE}")
    return found


def _find_event_parameter(
    owner: type, name: str, method: Callable[..., Any], wanted: Sequence[str]
) -> str:
    parameters = list(inspect.signature(method).parameters)
    if inspect.iscoroutinefunction(method) or len(parameters) != len(wanted) + 1:
        raise _build_error(
            owner,
            name,
            f"is not a plain method with one event; write def {name}(self, {', '.join(wanted)})",
        )
    return parameters[1]


def _find_event_by_name(
    owner: type, name: str, method: Callable[..., Any], parameter: str
) -> type | str:
    suffix = name[len(_PREFIX) :]
    annotation = method.__annotations__.get(parameter)
    if annotation is None:
        return suffix
    try:
        annotation = get_type_hints(method)[parameter]
    except NameError:
        # The event class is local to a function, so only its name can be compared.
        if str(annotation).rpartition(".")[2].strip("'\"") == suffix:
            return suffix
    if _is_event(annotation) and (annotation.__name__ == suffix or is_generic(annotation)):
        return annotation
    raise _build_error(
        owner,
        name,
        f"takes {annotation!r}, not a DomainEvent named {suffix}; "
        f"rename it, or mark it with @when({suffix})",
    )


def _is_event(annotation: object) -> TypeGuard[type[DomainEvent]]:
    return inspect.isclass(annotation) and issubclass(annotation, DomainEvent)


def _assign(methods: dict[type | str, str], event: type | str, name: str, owner: type) -> None:
    for other, holder in methods.items():
        if holder != name and _is_same_event(other, event):
            raise _build_error(
                owner, name, f"and {holder} both apply {_get_label(event)}; keep one"
            )
    methods[event] = name


def _is_same_event(one: type | str, other: type | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return _get_label(one) == _get_label(other)
    return one is other


def _get_label(event: type | str) -> str:
    return event if isinstance(event, str) else event.__name__


def _build_error(owner: type, handler: str, problem: str) -> EventHandlerError:
    name = owner.__name__
    return EventHandlerError(f"{name}.{handler} {problem}", aggregate_type=name, handler=handler)
