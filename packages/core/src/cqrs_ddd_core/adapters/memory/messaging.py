"""In-memory message broker."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from operator import attrgetter

from ...ports import IMessageConsumer, IMessagePublisher, OutboxMessage
from .outbox import copy_message

Handler = Callable[[OutboxMessage], Awaitable[None]]


class InMemoryMessageBus(IMessagePublisher, IMessageConsumer):
    """Broker that keeps messages until ``deliver`` passes them to the subscribers of their topics.

    Args:
        find_topic: returns the topic of a message, by default its event type.
    """

    def __init__(self, find_topic: Callable[[OutboxMessage], str] | None = None) -> None:
        self._topic_of = find_topic or attrgetter("event_type")
        self._handlers: dict[str, list[Handler]] = {}
        self._queue: deque[tuple[Handler, OutboxMessage]] = deque()
        self.published: list[OutboxMessage] = []

    async def publish(self, message: OutboxMessage) -> None:
        """Queue a copy of the message for each subscriber of its topic."""
        await asyncio.sleep(0)
        self.published.append(copy_message(message))
        for handler in self._handlers.get(self._topic_of(message), ()):
            self._queue.append((handler, copy_message(message)))

    async def subscribe(self, topic: str, handler: Handler) -> None:
        """Subscribe a handler to the messages that are published from now on."""
        await asyncio.sleep(0)
        self._handlers.setdefault(topic, []).append(handler)

    async def deliver(self) -> None:
        """Pass all queued messages to their handlers.

        The error of a handler is raised, and its message stays first in the queue.
        """
        while self._queue:
            handler, message = self._queue[0]
            await handler(copy_message(message))
            self._queue.popleft()
