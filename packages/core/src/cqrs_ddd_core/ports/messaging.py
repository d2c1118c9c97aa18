"""Messages to and from a broker."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from .outbox import OutboxMessage


@runtime_checkable
class IMessagePublisher(Protocol):
    """Hands messages to a broker."""

    @abstractmethod
    async def publish(self, message: OutboxMessage) -> None:
        """Returns when the broker has taken it; raises ``MessagingError`` otherwise."""
        ...


@runtime_checkable
class IMessageConsumer(Protocol):
    """Takes messages from a broker, each at least once."""

    @abstractmethod
    async def subscribe(
        self, topic: str, handler: Callable[[OutboxMessage], Awaitable[None]]
    ) -> None:
        """A message is acknowledged when its handler returns, and comes again when it raises."""
        ...
