"""One log line for each message."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..ports.clock import IClock
from ..ports.middleware import IMiddleware
from ..spi.system_clock import SystemClock

logger = logging.getLogger("cqrs_ddd_core.messages")


class LoggingMiddleware(IMiddleware):
    """Says what was handled and how long it took: INFO when it went well, WARNING when not."""

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        name = type(message).__name__
        started = self._clock.monotonic()
        try:
            response = await next_(message)
        except BaseException as error:
            logger.warning("%s failed after %.1f ms: %r", name, self._since(started), error)
            raise
        logger.info("%s took %.1f ms", name, self._since(started))
        return response

    def _since(self, started: float) -> float:
        return (self._clock.monotonic() - started) * 1000
