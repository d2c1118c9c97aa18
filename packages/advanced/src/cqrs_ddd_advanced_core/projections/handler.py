"""From events to the documents of one collection."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import MappingProxyType
from typing import Any, ClassVar

from cqrs_ddd_core.domain.event_methods import find_event_methods
from cqrs_ddd_core.domain.event_registry import EventTypeRegistry, known_events
from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.event_store import StoredEvent
from cqrs_ddd_core.primitives.exceptions import TypeRegistryError

from ..exceptions import ProjectionError
from ..ports.projections import Fields
from ..upcasting import with_upcasting
from .view import ProjectionView

REBUILD_SUFFIX = "__rebuild"
"""What is built anew beside a projection has its name, and its collection's, with this."""


class ProjectionHandler:
    """Makes the documents of a collection by methods ``apply_<Event>(self, event, view)``.

    A method marked with ``@when(Event)`` is one, too; an event that has none is passed over. They
    depend on nothing but the event and the view: then the same class gives the same documents
    inline, in a worker, rebuilt and live.
    """

    name: ClassVar[str]
    """Under which positions are kept: the class name, unless the class sets its own."""
    version: ClassVar[int] = 1
    """Raise it when the documents change their shape or meaning, and rebuild."""
    collection: ClassVar[str] = ""
    fields: ClassVar[Fields] = MappingProxyType({})
    """What queries may ask for and order by, with types: see ``ports.projections.Fields``."""
    event_registry: ClassVar[EventTypeRegistry] = known_events

    _methods: ClassVar[dict[type[Any] | str, str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        cls._methods = find_event_methods(cls, ("event", "view"))

    def __init__(self) -> None:
        _refuse_unusable(self)
        self._registry = with_upcasting(self.event_registry)
        self._handled: dict[str, bool] = {}

    def ids_of(self, event: DomainEvent) -> Iterable[str]:
        """The documents that the event reads or changes: by default that of its aggregate."""
        return () if event.aggregate_id is None else (event.aggregate_id,)

    def handles(self, event_type: str) -> bool:
        """Whether there is a method for events that are stored under this name."""
        known = self._handled.get(event_type)
        if known is None:
            known = self._handled[event_type] = self._finds(event_type)
        return known

    def decode(self, stored: StoredEvent) -> DomainEvent:
        """In today's shape; raises ``UnknownTypeError`` and ``SerializationError``."""
        return self._registry.decode(stored)

    def concerned_by(self, event: DomainEvent) -> Collection[str]:
        """What ``ids_of`` answers; raises ``ProjectionError`` for what are no ids."""
        ids = self.ids_of(event)
        found = () if isinstance(ids, str) else frozenset(ids)
        if isinstance(ids, str) or not all(isinstance(each, str) for each in found):
            raise ProjectionError(
                f"{type(self).__qualname__}.ids_of answered {ids!r} for {event.event_type}, and "
                "not texts in a tuple; return (str(event.order_id),)",
                projection=self.name,
            )
        return found

    def apply(self, event: DomainEvent, ids: Collection[str], view: ProjectionView) -> None:
        """Raises what the method raises; the view is then as it was."""
        method = self._methods.get(type(event)) or self._methods.get(type(event).__name__)
        if method is not None:
            with view.changed_by(ids):
                getattr(self, method)(event, view)

    def _finds(self, event_type: str) -> bool:
        try:
            event_class = self._registry.get(event_type)
        except TypeRegistryError:
            # Of another context, which shares the event store; or ours, and then it is an error.
            return any(_stored_name(key) == event_type for key in self._methods)
        return event_class in self._methods or event_class.__name__ in self._methods


def _stored_name(key: type[Any] | str) -> str:
    return key if isinstance(key, str) else str(key.event_type)


def _refuse_unusable(handler: ProjectionHandler) -> None:
    kind = type(handler)
    if not kind.collection:
        problem = 'has no collection; set one, such as collection = "order_summaries"'
    elif not kind._methods:
        problem = "has no method for any event; write def apply_<Event>(self, event, view)"
    elif kind.version < 1:
        problem = f"has version {kind.version}; versions count from 1"
    elif kind.name.endswith(REBUILD_SUFFIX) or kind.collection.endswith(REBUILD_SUFFIX):
        problem = f"ends in {REBUILD_SUFFIX}, which is for what is built anew; rename it"
    else:
        return
    raise ProjectionError(f"{kind.__qualname__} {problem}", projection=kind.name)
