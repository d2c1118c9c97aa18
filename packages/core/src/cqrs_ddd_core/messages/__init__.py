"""What is sent to the application, and what it answers."""

from .command import Command
from .query import Query
from .response import CommandResponse, QueryResponse

__all__ = ["Command", "CommandResponse", "Query", "QueryResponse"]
