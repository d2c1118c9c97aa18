"""Event sourcing and the persistence dispatcher; what is not here is in the folders."""

from .event_sourcing import EventSourcedLoader, EventSourcedMediator, EventSourcedRepository
from .persistence import (
    CachingPersistenceDispatcher,
    PersistenceDispatcher,
    PersistenceRegistry,
)
from .snapshots import EveryNEventsStrategy, LoadingTimeStrategy
from .upcasting import EventUpcaster, UpcasterRegistry, UpcastingEventRegistry

__all__ = [
    "CachingPersistenceDispatcher",
    "EventSourcedLoader",
    "EventSourcedMediator",
    "EventSourcedRepository",
    "EventUpcaster",
    "EveryNEventsStrategy",
    "LoadingTimeStrategy",
    "PersistenceDispatcher",
    "PersistenceRegistry",
    "UpcasterRegistry",
    "UpcastingEventRegistry",
]
