"""Read models that follow the events."""

from .batch import OnPoison
from .handler import ProjectionHandler
from .inline import InlineProjectionMiddleware
from .live import LiveProjection
from .persistence import (
    ProjectionBackedDualPersistence,
    ProjectionBackedQueryPersistence,
    ProjectionBackedSpecPersistence,
)
from .rebuild import ProjectionRebuild, RebuildProgress
from .registry import ProjectionRegistry
from .view import ProjectionView
from .worker import ProjectionWorker

__all__ = [
    "InlineProjectionMiddleware",
    "LiveProjection",
    "OnPoison",
    "ProjectionBackedDualPersistence",
    "ProjectionBackedQueryPersistence",
    "ProjectionBackedSpecPersistence",
    "ProjectionHandler",
    "ProjectionRebuild",
    "ProjectionRegistry",
    "ProjectionView",
    "ProjectionWorker",
    "RebuildProgress",
]
