"""Event sourcing: aggregates that are loaded from their events and saved as events."""

from .loader import EventMapper, EventSourcedLoader
from .mediator import EventSourcedMediator
from .repository import EventSourcedRepository

__all__ = [
    "EventMapper",
    "EventSourcedLoader",
    "EventSourcedMediator",
    "EventSourcedRepository",
]
