"""Which topic a message belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ..ports.outbox import OutboxMessage


class TopicRouting:
    """Topics by pattern of the event type, the first that fits; without one the type is the topic.

    ``TopicRouting({"Order*": "orders"})``: a pattern is matched as a shell matches file names.
    """

    def __init__(self, topics: Mapping[str, str] | None = None) -> None:
        self._topics = dict(topics or {})

    def topic_of(self, message: OutboxMessage) -> str:
        for pattern, topic in self._topics.items():
            if fnmatchcase(message.event_type, pattern):
                return topic
        return message.event_type
