"""Projections: documents computed from events, by workers, inline, or at each read."""

from ..ports.projections import JsonDocument
from .batch import PoisonEventPolicy
from .documents import ProjectionDocuments
from .handler import ProjectionHandler, ProjectionRegistry
from .inline import InlineProjectionMiddleware
from .lag import ProjectionLag, measure_projection_lag
from .live import LiveProjection
from .persistence import (
    ProjectionBackedDualPersistence,
    ProjectionBackedPersistence,
    ProjectionBackedQueryPersistence,
    ProjectionBackedSpecPersistence,
)
from .rebuild import ProjectionRebuild, RebuildProgress
from .worker import ProjectionWorker

__all__ = [
    "InlineProjectionMiddleware",
    "JsonDocument",
    "LiveProjection",
    "PoisonEventPolicy",
    "ProjectionBackedDualPersistence",
    "ProjectionBackedPersistence",
    "ProjectionBackedQueryPersistence",
    "ProjectionBackedSpecPersistence",
    "ProjectionDocuments",
    "ProjectionHandler",
    "ProjectionLag",
    "ProjectionRebuild",
    "ProjectionRegistry",
    "ProjectionWorker",
    "RebuildProgress",
    "measure_projection_lag",
]
