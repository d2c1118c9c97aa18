"""What handlers look like; a plain ``async def handle(message)`` is one too.

``handle`` takes ``Any`` so that a subclass may narrow it to its message; the registry checks that
the annotation fits the message it is registered for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from ..messages import CommandResponse, QueryResponse

R = TypeVar("R")


class CommandHandler(ABC, Generic[R]):
    """Carries out one type of command."""

    @abstractmethod
    async def handle(self, command: Any) -> CommandResponse[R] | R:
        """The result, or a response that also raises events."""
        ...


class QueryHandler(ABC, Generic[R]):
    """Answers one type of query."""

    @abstractmethod
    async def handle(self, query: Any) -> QueryResponse[R] | R: ...


class EventHandler(ABC):
    """Reacts to events inside the transaction that raised them: an error rolls it back."""

    @abstractmethod
    async def handle(self, event: Any) -> None: ...
