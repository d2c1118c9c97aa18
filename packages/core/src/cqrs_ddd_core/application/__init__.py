"""Composition root: an application with its handlers and background services on one backend."""

from ..primitives.background_service import BackgroundService, ServiceState, ServiceStatus
from .application import Application
from .health import Health
from .middlewares import sort_middlewares, standard_middlewares
from .retention import Retention
from .services import IInlineService, ILag, IPositionWaiter, IService

__all__ = [
    "Application",
    "BackgroundService",
    "Health",
    "IInlineService",
    "ILag",
    "IPositionWaiter",
    "IService",
    "Retention",
    "ServiceState",
    "ServiceStatus",
    "sort_middlewares",
    "standard_middlewares",
]
