"""Event sourcing, projections, conflicts, the dispatcher; what is not here is in the folders."""

from .conflict import AggregateUpdater, ConflictRetryMiddleware
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
    "AggregateUpdater",
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
    "UpcasterRegistry",
    "UpcastingEventRegistry",
]
