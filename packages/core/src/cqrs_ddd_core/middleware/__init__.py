"""Ready-made steps around handlers."""

from .event_store import EventStorePersistenceMiddleware
from .locking import ConcurrencyGuardMiddleware, CriticalSection
from .logging import LoggingMiddleware
from .validation import ValidatorMiddleware

__all__ = [
    "ConcurrencyGuardMiddleware",
    "CriticalSection",
    "EventStorePersistenceMiddleware",
    "LoggingMiddleware",
    "ValidatorMiddleware",
]
