"""Where the outside sends commands and queries."""

from abc import abstractmethod
from typing import Protocol, TypeVar, runtime_checkable

from ..messages import Command, CommandResponse, Query, QueryResponse

__all__ = ["ICommandBus", "IQueryBus"]

R = TypeVar("R")


@runtime_checkable
class ICommandBus(Protocol):
    """Carries a command to its one handler."""

    @abstractmethod
    async def send(self, command: Command[R]) -> CommandResponse[R]: ...


@runtime_checkable
class IQueryBus(Protocol):
    """Carries a query to its one handler."""

    @abstractmethod
    async def query(self, query: Query[R]) -> QueryResponse[R]: ...
