"""Ready-made steps around handlers."""

from .locking import CriticalSection, LockingMiddleware
from .logging import ContextFilter, LoggingMiddleware, install_context_filter
from .stores import EventStorePersistenceMiddleware, IdempotencyMiddleware, OutboxMiddleware
from .validation import ValidatorMiddleware

__all__ = [
    "ContextFilter",
    "CriticalSection",
    "EventStorePersistenceMiddleware",
    "IdempotencyMiddleware",
    "LockingMiddleware",
    "LoggingMiddleware",
    "OutboxMiddleware",
    "ValidatorMiddleware",
    "install_context_filter",
]
