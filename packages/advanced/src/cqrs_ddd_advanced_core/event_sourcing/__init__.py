"""Aggregates that are what their events say."""

from .loading import EventSourcedLoader
from .mapping import EventMapper
from .mediator import EventSourcedMediator
from .repository import EventSourcedRepository

__all__ = [
    "EventMapper",
    "EventSourcedLoader",
    "EventSourcedMediator",
    "EventSourcedRepository",
]
