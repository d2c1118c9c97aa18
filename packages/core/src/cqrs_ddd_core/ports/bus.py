"""Ports through which commands and queries enter the application."""

from abc import abstractmethod
from typing import Protocol, TypeVar, runtime_checkable

from ..messages import Command, CommandResponse, Query, QueryResponse

__all__ = ["ICommandBus", "IQueryBus"]

R = TypeVar("R")


@runtime_checkable
class ICommandBus(Protocol):
    """Bus that passes each command to its one handler."""

    @abstractmethod
    async def send(self, command: Command[R]) -> CommandResponse[R]:
        """Handle the command and return its response."""
        ...


@runtime_checkable
class IQueryBus(Protocol):
    """Bus that passes each query to its one handler."""

    @abstractmethod
    async def query(self, query: Query[R]) -> QueryResponse[R]:
        """Answer the query and return its response."""
        ...
