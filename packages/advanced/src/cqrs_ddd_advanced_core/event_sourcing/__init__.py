"""Event sourcing: aggregates that are loaded from their events and saved as events."""

from .loader import EventSourcedLoader
from .mediator import EventSourcedMediator
from .repository import EventSourcedRepository

__all__ = ["EventSourcedLoader", "EventSourcedMediator", "EventSourcedRepository"]
