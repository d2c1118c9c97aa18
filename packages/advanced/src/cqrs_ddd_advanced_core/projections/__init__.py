"""Read models that follow the events."""

from .batch import PoisonEventPolicy
from .documents import ProjectionDocuments
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
from .worker import ProjectionWorker

__all__ = [
    "InlineProjectionMiddleware",
    "LiveProjection",
    "PoisonEventPolicy",
    "ProjectionBackedDualPersistence",
    "ProjectionBackedQueryPersistence",
    "ProjectionBackedSpecPersistence",
    "ProjectionDocuments",
    "ProjectionHandler",
    "ProjectionRebuild",
    "ProjectionRegistry",
    "ProjectionWorker",
    "RebuildProgress",
]
