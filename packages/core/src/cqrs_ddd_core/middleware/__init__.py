"""Ready-made middlewares."""

from .event_store import EventStorePersistenceMiddleware
from .idempotency import IdempotencyMiddleware
from .locking import CriticalSection, LockingMiddleware
from .logging import ContextFilter, LoggingMiddleware, OutageLog, install_context_filter
from .outbox import OutboxMiddleware
from .timeout import TimeoutMiddleware
from .validation import ValidatorMiddleware

__all__ = [
    "ContextFilter",
    "CriticalSection",
    "EventStorePersistenceMiddleware",
    "IdempotencyMiddleware",
    "LockingMiddleware",
    "LoggingMiddleware",
    "OutageLog",
    "OutboxMiddleware",
    "TimeoutMiddleware",
    "ValidatorMiddleware",
    "install_context_filter",
]
