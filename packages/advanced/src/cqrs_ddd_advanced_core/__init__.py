"""Event sourcing, projections, conflicts, the dispatcher; what is not here is in the folders."""

from .conflict import ConflictRetryMiddleware, ResilientHandler
from .event_sourcing import EventSourcedLoader, EventSourcedMediator, EventSourcedRepository
from .persistence import (
    CachingPersistenceDispatcher,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from .projections import ProjectionHandler, ProjectionWorker
from .snapshots import EveryNEventsStrategy, LoadingTimeStrategy
from .upcasting import EventUpcaster, UpcasterRegistry, UpcastingEventRegistry

__all__ = [
    "CachingPersistenceDispatcher",
    "ConflictRetryMiddleware",
    "EventSourcedLoader",
    "EventSourcedMediator",
    "EventSourcedRepository",
    "EventUpcaster",
    "EveryNEventsStrategy",
    "LoadingTimeStrategy",
    "PersistenceDispatcher",
    "PersistenceRegistry",
    "ProjectionHandler",
    "ProjectionWorker",
    "ResilientHandler",
    "UpcasterRegistry",
    "UpcastingEventRegistry",
]
