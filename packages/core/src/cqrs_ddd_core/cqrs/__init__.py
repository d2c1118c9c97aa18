"""Commands and queries to their handlers."""

from ..messages import Command, CommandResponse, MessageRegistry, Query, QueryResponse
from .event_dispatcher import EventDispatcher
from .handler import CommandHandler, EventHandler, QueryHandler
from .mediator import Mediator, Plan
from .registry import HandlerRegistry

__all__ = [
    "Command",
    "CommandHandler",
    "CommandResponse",
    "EventDispatcher",
    "EventHandler",
    "HandlerRegistry",
    "Mediator",
    "MessageRegistry",
    "Plan",
    "Query",
    "QueryHandler",
    "QueryResponse",
]
