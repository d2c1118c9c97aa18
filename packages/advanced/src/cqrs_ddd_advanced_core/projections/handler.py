"""Handlers, which compute the documents of one collection from events, and their registry."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from cqrs_ddd_core import DomainEvent, HandlerAlreadyRegisteredError, StoredEvent, TypeRegistryError
from cqrs_ddd_core.domain.event_handlers import find_event_methods
from cqrs_ddd_core.domain.events import EventTypeRegistry, default_event_registry, defined_events

from ..exceptions import ProjectionError
from ..ports.positions import IPositionStore
from ..ports.projections import MAX_COLLECTION_NAME, Fields
from ..upcasting import add_upcasting
from .documents import ProjectionDocuments

logger = logging.getLogger(__name__)

REBUILD_SUFFIX = "__rebuild"
"""Suffix of the collection in which a rebuild writes the new documents."""


class ProjectionHandler:
    """Handler with methods ``apply_<Event>(self, event, documents)``, or marked ``@when(Event)``.

    Events without a method are skipped. A method must depend only on the event and the documents,
    so that the same class computes the same documents inline, in a worker, in a rebuild and live.

    Raises:
        ProjectionError: the class has no collection or no methods, or an invalid name or
            version.

    Example:
        ```python
        from cqrs_ddd_advanced_core import ProjectionHandler
        from cqrs_ddd_core import DomainEvent

        class Deposited(DomainEvent):
            cents: int

        class Deposits(ProjectionHandler):
            collection = "deposits"
            fields = {"cents": int}  # Fields that queries may use.

            def apply_Deposited(self, event: Deposited, documents) -> None:
                documents.upsert(event.event_id, {"cents": event.cents})
        ```
    """

    collection: ClassVar[str] = ""
    """Collection that the handler writes; its position and dead letters have the same name."""
    version: ClassVar[int] = 1
    """Version of the documents; increase it when their shape or meaning changes, and rebuild."""
    fields: ClassVar[Fields] = MappingProxyType({})
    """Declared fields for queries and orderings, with types: see ``ports.projections.Fields``."""
    event_registry: ClassVar[EventTypeRegistry] = default_event_registry
    """Event registry of the stored events."""

    _methods: ClassVar[dict[type | str, str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._methods = find_event_methods(cls, ("event", "documents"))

    def __init__(self) -> None:
        _ensure_usable(self)

    @cached_property
    def _registry(self) -> EventTypeRegistry:
        return add_upcasting(self.event_registry)

    @cached_property
    def _handled_types(self) -> dict[str, bool]:
        return {}

    def verify(self) -> None:
        """Check that the event class of every method is imported.

        Otherwise the handler would treat the events as events of another context, and skip them.

        Raises:
            ProjectionError: the event class of a method is not imported.
        """
        _ensure_usable(self)
        defined = (event for by_path in defined_events.values() for event in by_path.values())
        names = {event.__name__ for event in (*self.event_registry, *defined)}
        for event, method in self._methods.items():
            if isinstance(event, str) and event not in names:
                raise ProjectionError(
                    f"{type(self).__qualname__}.{method} handles {event}, but no event class of "
                    "this name is imported; import its module first, or annotate the event",
                    projection=self.collection,
                )

    def document_ids(self, event: DomainEvent) -> Iterable[str]:
        """Return the ids of the affected documents, by default the id of the aggregate."""
        return () if event.aggregate_id is None else (event.aggregate_id,)

    def handles(self, event_type: str) -> bool:
        """Report whether there is a method for events with this stored name."""
        known = self._handled_types.get(event_type)
        if known is None:
            known = self._handled_types[event_type] = self._has_method(event_type)
        return known

    def decode(self, stored: StoredEvent) -> DomainEvent:
        """Return the event at the current schema version of its class.

        Raises:
            UnknownTypeError: the event type has no class.
            SerializationError: the payload does not fit the class.
        """
        return self._registry.decode(stored)

    def resolve_document_ids(self, event: DomainEvent) -> Collection[str]:
        """Return the result of ``document_ids``; raise ``ProjectionError`` unless all are texts."""
        ids = self.document_ids(event)
        if type(ids) is tuple and len(ids) == 1 and type(ids[0]) is str:
            return ids
        found = () if isinstance(ids, str) else frozenset(ids)
        if isinstance(ids, str) or not all(isinstance(each, str) for each in found):
            raise ProjectionError(
                f"{type(self).__qualname__}.document_ids returned {ids!r} for {event.event_type}; "
                "return texts in a tuple, such as (str(event.order_id),)",
                projection=self.collection,
            )
        return found

    def apply(
        self, event: DomainEvent, ids: Collection[str], documents: ProjectionDocuments
    ) -> None:
        """Call the method for the event; if it raises, the documents stay unchanged."""
        method = self._methods.get(type(event)) or self._methods.get(type(event).__name__)
        if method is None:
            return
        documents.begin_event(ids)
        try:
            getattr(self, method)(event, documents)
        except BaseException:
            documents.end_event(keep=False)
            raise
        documents.end_event(keep=True)

    def _has_method(self, event_type: str) -> bool:
        try:
            event_class = self._registry.get(event_type)
        except TypeRegistryError:
            # The event belongs to another context in the same store, or its class is missing here.
            return any(_event_type_of(key) == event_type for key in self._methods)
        return event_class in self._methods or event_class.__name__ in self._methods


class ProjectionRegistry:
    """Table of the projection handlers of an application, by collection and version.

    Of several versions of a collection, the live one runs: an application that has the previous and
    the next version writes the previous documents until a rebuild replaces them.

    Args:
        handlers: handlers to register.
    """

    def __init__(self, handlers: Iterable[ProjectionHandler] = ()) -> None:
        self._handlers: dict[str, dict[int, ProjectionHandler]] = {}
        for handler in handlers:
            self.register(handler)

    @classmethod
    def create(
        cls, projections: ProjectionRegistry | Iterable[ProjectionHandler]
    ) -> ProjectionRegistry:
        """Return a registry of the handlers; a registry is returned unchanged."""
        if isinstance(projections, ProjectionRegistry):
            return projections
        if isinstance(projections, ProjectionHandler) or not isinstance(projections, Iterable):
            raise ProjectionError(
                f"pass projections as a list of handlers, or as a registry, not {projections!r}"
            )
        return cls(projections)

    def register(self, handler: ProjectionHandler) -> ProjectionHandler:
        """Add a handler and return it.

        Raises:
            HandlerAlreadyRegisteredError: a handler has the same collection and version.
        """
        ensure_handler(handler)
        versions = self._handlers.setdefault(handler.collection, {})
        present = versions.get(handler.version)
        if present is not None:
            advice = (
                "register it once"
                if present is handler
                else f"give {type(handler).__qualname__} another collection, or a later version "
                "that is to replace this one"
            )
            raise HandlerAlreadyRegisteredError(
                f"{type(present).__qualname__} already writes version {handler.version} of "
                f"{handler.collection!r}; {advice}",
                message_type=handler.collection,
                handler=type(present).__qualname__,
            )
        versions[handler.version] = handler
        return handler

    def __iter__(self) -> Iterator[ProjectionHandler]:
        """Iterate over the handlers, of each collection the latest version."""
        return iter([versions[max(versions)] for versions in self._handlers.values()])

    def get_versions(self, collection: str) -> Mapping[int, ProjectionHandler]:
        """Return the handlers of a collection by version."""
        return self._handlers[collection]

    async def find_live(self, positions: IPositionStore) -> list[ProjectionHandler]:
        """Return of each collection the handler of the live version, the latest for a new one.

        Collections of which no handler has the live version are left out, with a warning.
        """
        found = await positions.list_positions(list(self._handlers))
        live = {each.projection: each.version for each in found}
        handlers = list[ProjectionHandler]()
        for handler in self:
            version = live.get(handler.collection, handler.version)
            if version in self._handlers[handler.collection]:
                handlers.append(self._handlers[handler.collection][version])
            else:
                logger.warning(
                    "version %d of projection %s waits: version %d is live, until a rebuild "
                    "replaces it",
                    handler.version,
                    handler.collection,
                    version,
                )
        return handlers


def _event_type_of(key: type[Any] | str) -> str:
    return key if isinstance(key, str) else str(key.event_type)


def ensure_handler(handler: object) -> None:
    """Raise ``ProjectionError`` unless an object is a handler; a class is not."""
    if not isinstance(handler, ProjectionHandler):
        raise ProjectionError(f"{handler!r} is not a ProjectionHandler; register an instance")


def _ensure_usable(handler: ProjectionHandler) -> None:
    kind = type(handler)
    longest = MAX_COLLECTION_NAME - len(REBUILD_SUFFIX)
    collection: object = kind.collection
    version: object = kind.version
    if not isinstance(collection, str) or not collection:
        problem = 'has no collection; set one, such as collection = "order_summaries"'
    elif len(collection) > longest:
        problem = f"has a collection of {len(collection)} characters; use {longest} at most"
    elif not kind._methods:
        problem = "has no method for any event; write def apply_<Event>(self, event, documents)"
    elif type(version) is not int or version < 1:
        problem = f"has version {version!r}; versions count from 1"
    elif collection.endswith(REBUILD_SUFFIX):
        problem = f"has a collection with the suffix of rebuilds, {REBUILD_SUFFIX}; rename it"
    else:
        return
    raise ProjectionError(f"{kind.__qualname__} {problem}", projection=str(kind.collection))
