"""Ports of the message broker."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from .outbox import OutboxMessage


@runtime_checkable
class IMessagePublisher(Protocol):
    """Publisher of messages to a broker."""

    @abstractmethod
    async def publish(self, message: OutboxMessage) -> None:
        """Publish a message; return when the broker has accepted it.

        Raises:
            MessagingError: the broker did not accept the message.
        """
        ...


@runtime_checkable
class IMessageConsumer(Protocol):
    """Consumer of messages from a broker, each delivered at least once."""

    @abstractmethod
    async def subscribe(
        self, topic: str, handler: Callable[[OutboxMessage], Awaitable[None]]
    ) -> None:
        """Call the handler for each message of the topic.

        A message is acknowledged when its handler returns, and delivered again if it raises.
        """
        ...
