"""Routing of messages to topics."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ..ports.outbox import OutboxMessage


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
        for pattern, topic in self._topics.items():
            if fnmatchcase(message.event_type, pattern):
                return topic
        return message.event_type
