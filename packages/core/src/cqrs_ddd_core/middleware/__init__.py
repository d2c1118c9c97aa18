"""Ready-made steps around handlers."""

from .event_store import EventStorePersistenceMiddleware
from .idempotency import IdempotencyMiddleware
from .locking import ConcurrencyGuardMiddleware, CriticalSection
from .logging import LoggingMiddleware
from .outbox import OutboxMiddleware
from .validation import ValidatorMiddleware

__all__ = [
    "ConcurrencyGuardMiddleware",
    "CriticalSection",
    "EventStorePersistenceMiddleware",
    "IdempotencyMiddleware",
    "LoggingMiddleware",
    "OutboxMiddleware",
    "ValidatorMiddleware",
]
