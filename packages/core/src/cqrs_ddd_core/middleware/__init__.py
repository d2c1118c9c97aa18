"""Ready-made steps around handlers."""

from .event_store import EventStorePersistenceMiddleware
from .idempotency import IdempotencyMiddleware
from .locking import CriticalSection, LockingMiddleware
from .logging import LoggingMiddleware
from .outbox import OutboxMiddleware
from .validation import ValidatorMiddleware

__all__ = [
    "CriticalSection",
    "EventStorePersistenceMiddleware",
    "IdempotencyMiddleware",
    "LockingMiddleware",
    "LoggingMiddleware",
    "OutboxMiddleware",
    "ValidatorMiddleware",
]
