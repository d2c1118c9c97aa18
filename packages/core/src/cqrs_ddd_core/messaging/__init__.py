"""From the outbox to a broker, and from a broker to a handler."""

from .consumer import InboxConsumer, decode_event
from .outbox_relay import OutboxRelay
from .routing import TopicRouting

__all__ = ["InboxConsumer", "OutboxRelay", "TopicRouting", "decode_event"]
