"""The projections of an application."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cqrs_ddd_core.primitives.exceptions import HandlerAlreadyRegisteredError

from ..exceptions import UnknownProjectionError
from .handler import ProjectionHandler


class ProjectionRegistry:
    """Handlers by name; no two of them share a name or a collection."""

    def __init__(self, handlers: Iterable[ProjectionHandler] = ()) -> None:
        self._handlers: dict[str, ProjectionHandler] = {}
        for handler in handlers:
            self.register(handler)

    def register(self, handler: ProjectionHandler) -> ProjectionHandler:
        """Raises ``HandlerAlreadyRegisteredError``, which says who holds the place."""
        for held in self:
            if handler.name == held.name or handler.collection == held.collection:
                raise HandlerAlreadyRegisteredError(
                    f"{type(held).__qualname__} is the projection {held.name!r} and writes "
                    f"{held.collection!r} already; give {type(handler).__qualname__} a name and a "
                    "collection of its own",
                    message_type=handler.name,
                    handler=type(held).__qualname__,
                )
        self._handlers[handler.name] = handler
        return handler

    def get(self, name: str) -> ProjectionHandler:
        """Raises ``UnknownProjectionError``."""
        try:
            return self._handlers[name]
        except KeyError:
            raise UnknownProjectionError(
                f"no projection {name!r} is registered; there is "
                f"{', '.join(self._handlers) or 'none yet'}",
                projection=name,
            ) from None

    def __iter__(self) -> Iterator[ProjectionHandler]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)
