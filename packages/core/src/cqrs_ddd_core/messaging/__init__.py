"""From the outbox to a broker, and from a broker to a handler."""

from .consumer import InboxConsumer, event_of
from .outbox_relay import OutboxRelay
from .routing import TopicRouting

__all__ = ["InboxConsumer", "OutboxRelay", "TopicRouting", "event_of"]
