"""Ready-made steps around handlers."""

from .event_store import EventStorePersistenceMiddleware
from .logging import LoggingMiddleware
from .validation import ValidatorMiddleware

__all__ = ["EventStorePersistenceMiddleware", "LoggingMiddleware", "ValidatorMiddleware"]
