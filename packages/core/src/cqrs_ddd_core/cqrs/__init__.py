"""Commands, queries and events to their handlers."""

from .handlers import CommandHandler, EventHandler, QueryHandler
from .mediator import Mediator, Plan
from .registry import EventDispatcher, HandlerRegistry

__all__ = [
    "CommandHandler",
    "EventDispatcher",
    "EventHandler",
    "HandlerRegistry",
    "Mediator",
    "Plan",
    "QueryHandler",
]
