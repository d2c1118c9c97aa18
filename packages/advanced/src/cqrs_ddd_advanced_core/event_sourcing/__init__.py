"""Event sourcing: repositories that load aggregates from their events and save them as events."""

from .loader import EventSourcedLoader
from .mediator import EventSourcedMediator
from .repository import EventSourcedRepository

__all__ = ["EventSourcedLoader", "EventSourcedMediator", "EventSourcedRepository"]
