"""Log lines of messages, and ids of the running request in all log records."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, ClassVar

from ..context import get_tenant_id, get_user_id
from ..correlation import get_causation_id, get_correlation_id
from ..ports import IClock, IMiddleware, Next
from ..primitives.exceptions import describe_error, is_outage
from ..spi.system_clock import SystemClock

logger = logging.getLogger("cqrs_ddd_core.messages")


class OutageLog:
    """Log of errors that limits the lines about an outage, such as of the database.

    During an outage every request fails with the same error. The log has one line per class of
    error and interval; the next line counts the lines that were left out. Lines about other errors
    are never left out. No line has a traceback.

    Args:
        logger: logger of the lines, at WARNING.
        interval: seconds between two lines about one class of outage.
        clock: measures the interval; the system clock by default.
    """

    def __init__(
        self, logger: logging.Logger, *, interval: float = 10.0, clock: IClock | None = None
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock or SystemClock()
        self._next: dict[type, float] = {}
        self._left_out: Counter[type] = Counter()

    def log(self, error: BaseException, text: str, *values: object) -> None:
        """Log a line about an error, unless it is one of many about an outage.

        Args:
            error: the error.
            text: format of the line.
            values: values for the format, as for ``Logger.warning``.
        """
        kind = type(error)
        if is_outage(error):
            now = self._clock.monotonic()
            if now < self._next.get(kind, now):
                self._left_out[kind] += 1
                return
            self._next[kind] = now + self._interval
            if left_out := self._left_out.pop(kind, 0):
                text += "; %d more lines about %s since the last one"
                values += left_out, kind.__name__
        self._logger.warning(text, *values, stacklevel=2)


class LoggingMiddleware(IMiddleware):
    """Middleware that logs each message and its duration: INFO on success, WARNING on failure.

    In an outage it logs the first failure of each interval only, see ``OutageLog``.

    Args:
        clock: measures the duration; the system clock by default.
    """

    order: ClassVar[int] = 10

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._failures = OutageLog(logger, clock=self._clock)

    async def __call__(self, message: Any, next_: Next) -> Any:
        """Handle the message and log its duration, or its error."""
        name = type(message).__name__
        started = self._clock.monotonic()
        try:
            response = await next_(message)
        except BaseException as error:
            duration, text = self._measure_since(started), describe_error(error)
            self._failures.log(error, "%s failed after %.1f ms: %s", name, duration, text)
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
