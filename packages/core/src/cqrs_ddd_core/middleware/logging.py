"""Log lines of messages, and ids of the running request in all log records."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from ..context import get_tenant_id, get_user_id
from ..correlation import get_causation_id, get_correlation_id
from ..ports import IClock, IMiddleware, Next
from ..spi.system_clock import SystemClock

logger = logging.getLogger("cqrs_ddd_core.messages")


class LoggingMiddleware(IMiddleware):
    """Middleware that logs each message and its duration: INFO on success, WARNING on failure.

    Args:
        clock: measures the duration; the system clock by default.
    """

    order: ClassVar[int] = 10

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message and log its duration, or its error."""
        name = type(message).__name__
        started = self._clock.monotonic()
        try:
            response = await next_(message)
        except BaseException as error:
            logger.warning("%s failed after %.1f ms: %r", name, self._measure_since(started), error)
            raise
        logger.info("%s took %.1f ms", name, self._measure_since(started))
        return response

    def _measure_since(self, started: float) -> float:
        return (self._clock.monotonic() - started) * 1000


class ContextFilter(logging.Filter):
    """Filter that adds the ids of the running request to each log record.

    The ids are ``correlation_id``, ``causation_id``, ``tenant_id`` and ``user_id``. Attach the
    filter to handlers: a filter on a logger does not see the records of child loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the ids on the record and return True, so that no record is dropped."""
        record.correlation_id = get_correlation_id()
        record.causation_id = get_causation_id()
        record.tenant_id = get_tenant_id()
        record.user_id = get_user_id()
        return True


def install_context_filter(handler: logging.Handler) -> None:
    """Attach a ``ContextFilter`` unless the handler has one."""
    if not any(isinstance(present, ContextFilter) for present in handler.filters):
        handler.addFilter(ContextFilter())
