"""Topics of messages."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ..ports.outbox import OutboxMessage


class TopicRouting:
    """Topic by the first pattern that matches the event type, or else the event type itself.

    ``TopicRouting({"Order*": "orders"})``: a pattern is matched as a shell matches file names.
    """

    def __init__(self, topics: Mapping[str, str] | None = None) -> None:
        self._topics = dict(topics or {})

    def find_topic(self, message: OutboxMessage) -> str:
        for pattern, topic in self._topics.items():
            if fnmatchcase(message.event_type, pattern):
                return topic
        return message.event_type
