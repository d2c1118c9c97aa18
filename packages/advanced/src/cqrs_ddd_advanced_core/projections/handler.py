"""From events to the documents of one collection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from cqrs_ddd_core.domain.event_handlers import find_event_methods
from cqrs_ddd_core.domain.event_registry import EventTypeRegistry, default_event_registry
from cqrs_ddd_core.domain.events import DomainEvent, defined_events
from cqrs_ddd_core.ports.event_store import StoredEvent
from cqrs_ddd_core.primitives.exceptions import TypeRegistryError

from ..exceptions import ProjectionError
from ..ports.projections import MAX_COLLECTION_NAME, Fields
from ..upcasting import with_upcasting
from .documents import ProjectionDocuments

REBUILD_SUFFIX = "__rebuild"
"""The collection that is built anew beside a live one has its name with this."""


class ProjectionHandler:
    """Makes the documents of a collection by methods ``apply_<Event>(self, event, documents)``.

    A method marked with ``@when(Event)`` is one, too; an event that has none is passed over. They
    depend on nothing but the event and the view: then the same class gives the same documents
    inline, in a worker, rebuilt and live.
    """

    collection: ClassVar[str] = ""
    """What it writes, and the name under which its position and its dead letters are kept."""
    version: ClassVar[int] = 1
    """Raise it when the documents change their shape or meaning, and rebuild."""
    fields: ClassVar[Fields] = MappingProxyType({})
    """What queries may ask for and order by, with types: see ``ports.projections.Fields``."""
    event_registry: ClassVar[EventTypeRegistry] = default_event_registry

    _methods: ClassVar[dict[type[Any] | str, str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._methods = find_event_methods(cls, ("event", "documents"))

    def __init__(self) -> None:
        _ensure_usable(self)

    @cached_property
    def _registry(self) -> EventTypeRegistry:
        return with_upcasting(self.event_registry)

    @cached_property
    def _handled(self) -> dict[str, bool]:
        return {}

    def verify(self) -> None:
        """Raises ``ProjectionError`` for a method whose event class is not imported: its events
        would be taken for those of others, and passed over."""
        _ensure_usable(self)
        there = {event.__name__ for event in (*self.event_registry, *_defined())}
        for event, method in self._methods.items():
            if isinstance(event, str) and event not in there:
                raise ProjectionError(
                    f"{type(self).__qualname__}.{method} is for {event}, and there is no event "
                    "class of this name; import its module first, or annotate the event",
                    projection=self.collection,
                )

    def document_ids(self, event: DomainEvent) -> Iterable[str]:
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

    def resolve_document_ids(self, event: DomainEvent) -> Collection[str]:
        """What ``ids_of`` answers; raises ``ProjectionError`` for what are no ids."""
        ids = self.document_ids(event)
        if type(ids) is tuple and len(ids) == 1 and type(ids[0]) is str:
            return ids
        found = () if isinstance(ids, str) else frozenset(ids)
        if isinstance(ids, str) or not all(isinstance(each, str) for each in found):
            raise ProjectionError(
                f"{type(self).__qualname__}.ids_of answered {ids!r} for {event.event_type}, and "
                "not texts in a tuple; return (str(event.order_id),)",
                projection=self.collection,
            )
        return found

    def apply(
        self, event: DomainEvent, ids: Collection[str], documents: ProjectionDocuments
    ) -> None:
        """Raises what the method raises; the view is then as it was."""
        method = self._methods.get(type(event)) or self._methods.get(type(event).__name__)
        if method is None:
            return
        documents.begin(ids)
        try:
            getattr(self, method)(event, documents)
        except BaseException:
            documents.end(keeps=False)
            raise
        documents.end(keeps=True)

    def _finds(self, event_type: str) -> bool:
        try:
            event_class = self._registry.get(event_type)
        except TypeRegistryError:
            # Of another context, which shares the event store; or ours, and then it is an error.
            return any(_stored_name(key) == event_type for key in self._methods)
        return event_class in self._methods or event_class.__name__ in self._methods


def _stored_name(key: type[Any] | str) -> str:
    return key if isinstance(key, str) else str(key.event_type)


def _defined() -> Iterator[type[DomainEvent]]:
    for by_path in defined_events.values():
        yield from by_path.values()


def _ensure_usable(handler: ProjectionHandler) -> None:
    kind = type(handler)
    longest = MAX_COLLECTION_NAME - len(REBUILD_SUFFIX)
    collection: object = kind.collection
    version: object = kind.version
    if not isinstance(collection, str) or not collection:
        problem = 'has no collection; set one, such as collection = "order_summaries"'
    elif len(collection) > longest:
        problem = f"has a collection of {len(collection)} characters; {longest} at most"
    elif not kind._methods:
        problem = "has no method for any event; write def apply_<Event>(self, event, documents)"
    elif type(version) is not int or version < 1:
        problem = f"has version {version!r}; versions count from 1"
    elif collection.endswith(REBUILD_SUFFIX):
        problem = f"ends in {REBUILD_SUFFIX}, which is for what is built anew; rename it"
    else:
        return
    raise ProjectionError(f"{kind.__qualname__} {problem}", projection=str(kind.collection))
