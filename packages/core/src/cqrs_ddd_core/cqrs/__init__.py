"""Dispatch of commands, queries and events to their handlers."""

from ..messages import Command, CommandResponse, MessageRegistry, Query, QueryResponse
from .handlers import CommandHandler, EventHandler, QueryHandler
from .mediator import Mediator, Plan
from .registry import EventDispatcher, HandlerRegistry

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
