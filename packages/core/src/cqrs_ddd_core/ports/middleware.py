"""Port of middlewares, the steps around a handler."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

__all__ = ["IMiddleware", "Next", "Placement"]

Next = Callable[[Any], Awaitable[Any]]
"""Rest of the pipeline, which a middleware calls with the message."""


class Placement(Enum):
    """Side of the unit of work on which a middleware runs."""

    OUTSIDE = "outside the unit of work"
    """Runs for every message, before a unit of work opens and after it has ended."""
    INSIDE = "inside the unit of work"
    """Runs once per unit of work, around the whole work of its first command, before the commit."""


@runtime_checkable
class IMiddleware(Protocol):
    """Step that passes a message to the next step, or returns a response of its own."""

    placement: ClassVar[Placement] = Placement.OUTSIDE
    order: ClassVar[int] = 50
    """Place among the middlewares of one placement in a sorted list; the lowest runs first."""
    includes_nested: ClassVar[bool] = False
    """True to run inside the unit of work for each nested command, too, not only for the root."""

    @abstractmethod
    async def __call__(self, message: Any, next_: Next) -> Any:
        """Return the result of ``await next_(message)``, or a response of your own."""
        ...
