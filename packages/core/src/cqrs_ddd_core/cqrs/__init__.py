"""Commands, queries and events to their handlers."""

from .event_dispatcher import EventDispatcher
from .handlers import CommandHandler, EventHandler, QueryHandler
from .mediator import Mediator, Plan
from .registry import HandlerRegistry

__all__ = [
    "CommandHandler",
    "EventDispatcher",
    "EventHandler",
    "HandlerRegistry",
    "Mediator",
    "Plan",
    "QueryHandler",
]
