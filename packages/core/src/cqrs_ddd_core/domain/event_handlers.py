"""Which method of an aggregate applies which event, found once per class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..primitives.exceptions import EventApplicationError
from .event_methods import find_event_methods
from .events import DomainEvent

Apply = Callable[[Any, Any], None]


class EventHandlers(dict[type[Any], Apply]):
    """Event class to the function that applies it, filled on first use of a class."""

    def __init__(self, aggregate: type[Any], apply_stored: Apply) -> None:
        super().__init__()
        self._aggregate = aggregate
        self._apply_stored = apply_stored
        self.methods = find_event_methods(aggregate)

    def __missing__(self, event_class: type[Any]) -> Apply:
        self[event_class] = apply = self._resolve(event_class)
        return apply

    def _resolve(self, event_class: type[Any]) -> Apply:
        if issubclass(event_class, DomainEvent):
            method = self.methods.get(event_class) or self.methods.get(event_class.__name__)
            return _ignore if method is None else _function(self._aggregate, method)
        if hasattr(event_class, "event_type") and hasattr(event_class, "payload"):
            return self._apply_stored
        return self._read_stored_form_or_refuse

    def _read_stored_form_or_refuse(self, aggregate: Any, event: Any) -> None:
        # Instance attributes do not show on the class.
        if hasattr(event, "event_type") and hasattr(event, "payload"):
            return self._apply_stored(aggregate, event)
        name = self._aggregate.__name__
        raise EventApplicationError(
            f"{name} was given {event!r} to apply; it takes a DomainEvent, or a stored event "
            "with event_type and payload",
            aggregate_type=name,
            event_type=type(event).__name__,
        )


def _ignore(aggregate: Any, event: Any) -> None:
    """An event without a handler changes no state."""


def _function(aggregate: type[Any], method: str) -> Apply:
    function: Apply = getattr(aggregate, method)
    return function
