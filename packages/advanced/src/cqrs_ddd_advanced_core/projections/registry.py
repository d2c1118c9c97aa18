"""The projections of an application."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cqrs_ddd_core.primitives.exceptions import HandlerAlreadyRegisteredError

from ..exceptions import ProjectionError, UnknownProjectionError
from .handler import ProjectionHandler


class ProjectionRegistry:
    """Handlers by collection; no two write the same one."""

    def __init__(self, handlers: Iterable[ProjectionHandler] = ()) -> None:
        self._handlers: dict[str, ProjectionHandler] = {}
        for handler in handlers:
            self.register(handler)

    @classmethod
    def of(
        cls, projections: ProjectionRegistry | Iterable[ProjectionHandler]
    ) -> ProjectionRegistry:
        """Handlers as a registry; one that is given stays itself."""
        if isinstance(projections, ProjectionRegistry):
            return projections
        if isinstance(projections, ProjectionHandler) or not isinstance(projections, Iterable):
            raise ProjectionError(
                f"projections are handlers in a list, or a registry, not {projections!r}"
            )
        return cls(projections)

    def register(self, handler: ProjectionHandler) -> ProjectionHandler:
        """Raises ``HandlerAlreadyRegisteredError``, which says who holds the place."""
        if not isinstance(handler, ProjectionHandler):
            raise ProjectionError(f"{handler!r} is no ProjectionHandler; register an instance")
        held = self._handlers.setdefault(handler.collection, handler)
        if held is not handler:
            raise HandlerAlreadyRegisteredError(
                f"{type(held).__qualname__} writes {held.collection!r} already; give "
                f"{type(handler).__qualname__} a collection of its own",
                message_type=handler.collection,
                handler=type(held).__qualname__,
            )
        return handler

    def get(self, collection: str) -> ProjectionHandler:
        """Raises ``UnknownProjectionError``."""
        try:
            return self._handlers[collection]
        except KeyError:
            raise UnknownProjectionError(
                f"no projection writes {collection!r}; there is "
                f"{', '.join(self._handlers) or 'none yet'}",
                projection=collection,
            ) from None

    def __iter__(self) -> Iterator[ProjectionHandler]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)
