"""The ids of the running request in every log record."""

from __future__ import annotations

import logging

from .context import get_tenant_id, get_user_id
from .correlation import get_causation_id, get_correlation_id


class ContextFilter(logging.Filter):
    """Adds ``correlation_id``, ``causation_id``, ``tenant_id`` and ``user_id`` to each record.

    Attach it to handlers: a filter on a logger does not see the records of child loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = get_correlation_id()
        record.causation_id = get_causation_id()
        record.tenant_id = get_tenant_id()
        record.user_id = get_user_id()
        return True


def install_context_filter(handler: logging.Handler) -> None:
    """Attach a ``ContextFilter`` unless the handler has one."""
    if not any(isinstance(present, ContextFilter) for present in handler.filters):
        handler.addFilter(ContextFilter())
