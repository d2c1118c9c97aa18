"""Time limit of a command."""

import asyncio
from typing import Any, ClassVar

from ..ports import IMiddleware, Next, Placement
from ..primitives import exceptions
from ..primitives.shielding import OwnCancellation


class TimeoutMiddleware(IMiddleware):
    """Middleware that rolls back a command which takes too long.

    The limit covers all work in the unit of work: the handler, event handlers, the wait for a
    connection of the pool, and the statements of other middlewares. It never interrupts a COMMIT,
    so nothing is half committed. The time of nested commands is part of their root command.

    Args:
        seconds: time limit of a command.

    Raises:
        ConfigError: the time limit is not positive.
        CommandTimeoutError: a command took longer and is not stored.

    Example:
        ```python
        from cqrs_ddd_core import Application, InMemoryBackend, standard_middlewares
        from cqrs_ddd_core.middleware import TimeoutMiddleware

        middlewares = standard_middlewares(TimeoutMiddleware(5.0))
        app = Application(InMemoryBackend(), middlewares=middlewares)
        ```
    """

    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 5

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise exceptions.ConfigError(
                f"seconds={seconds} leaves no time for a command; pass a positive number",
                variable="seconds",
            )
        self._seconds = seconds

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Run the command, and cancel it at the end of its time."""
        expiry = OwnCancellation()
        timer = asyncio.get_running_loop().call_later(self._seconds, expiry.cancel)
        try:
            return await next_(message)
        except (asyncio.CancelledError, Exception) as error:
            if expiry.was_made and expiry.undo():
                name = type(message).__name__
                raise exceptions.CommandTimeoutError.after(name, self._seconds) from error
            raise
        finally:
            timer.cancel()
            expiry.undo()
