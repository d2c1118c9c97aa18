"""Relay from the outbox to a broker, and consumer of the messages of a broker."""

from .consumer import InboxConsumer, decode_event
from .outbox_relay import OutboxRelay
from .routing import RoutingPublisher, TopicRouting

__all__ = ["InboxConsumer", "OutboxRelay", "RoutingPublisher", "TopicRouting", "decode_event"]
