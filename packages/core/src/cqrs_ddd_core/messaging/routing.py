"""Routing of messages to topics and to brokers."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from ..ports.messaging import IMessagePublisher
from ..ports.outbox import OutboxMessage
from ..primitives.exceptions import ConfigError
from ..primitives.exceptions.arguments import ensure_instance

T = TypeVar("T")


class TopicRouting:
    """Routing to the topic of the first pattern that matches the event type.

    Without a match the topic is the event type. ``TopicRouting({"Order*": "orders"})``: a pattern
    is matched as a shell matches file names.

    Args:
        topics: topics by pattern, in the order in which the patterns are tried.
    """

    def __init__(self, topics: Mapping[str, str] | None = None) -> None:
        self._topics = dict(topics or {})

    def find_topic(self, message: OutboxMessage) -> str:
        """Return the topic of the message."""
        topic = _find_first(self._topics, message)
        return message.event_type if topic is None else topic


class RoutingPublisher(IMessagePublisher):
    """Publisher that passes each message to the first publisher whose pattern matches its type.

    ``RoutingPublisher({"Order*": kafka, "*": redis})``: patterns are those of ``TopicRouting``. An
    ``OutboxRelay`` publishes the messages of one broker while another one is unavailable.

    Args:
        publishers: publishers by pattern, in the order in which the patterns are tried.

    Raises:
        ConfigError: there is no publisher, or one of them is something else.

    Example:
        ```python
        from cqrs_ddd_core import Application, InMemoryBackend, RoutingPublisher
        from cqrs_ddd_core.adapters.memory import InMemoryMessageBus

        orders, others = InMemoryMessageBus(), InMemoryMessageBus()
        app = Application(
            InMemoryBackend(), publisher=RoutingPublisher({"Order*": orders, "*": others})
        )
        ```
    """

    def __init__(self, publishers: Mapping[str, IMessagePublisher]) -> None:
        given: object = publishers
        if not isinstance(given, Mapping) or not given:
            raise ConfigError(
                'publishers must map patterns to publishers; pass for example {"*": publisher}',
                variable="publishers",
            )
        for pattern, publisher in publishers.items():
            ensure_instance(publisher, IMessagePublisher, f"publishers[{pattern!r}]")
        self._publishers = dict(publishers)

    def find_publisher(self, message: OutboxMessage) -> IMessagePublisher:
        """Return the publisher of the message.

        Raises:
            ConfigError: no pattern matches the event type.
        """
        publisher = _find_first(self._publishers, message)
        if publisher is None:
            raise ConfigError(
                f"no publisher has a pattern for {message.event_type}; the patterns are "
                f"{', '.join(self._publishers)}; add one, such as '*'",
                variable="publishers",
            )
        return publisher

    async def publish(self, message: OutboxMessage) -> None:
        """Publish the message to its broker.

        Raises:
            MessagingError: the broker did not accept the message.
            ConfigError: no pattern matches the event type.
        """
        await self.find_publisher(message).publish(message)


def _find_first(values: Mapping[str, T], message: OutboxMessage) -> T | None:
    for pattern, value in values.items():
        if fnmatchcase(message.event_type, pattern):
            return value
    return None
