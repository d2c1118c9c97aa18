"""Messages as they come from the outbox table, and as they go there."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from sqlalchemy import Row

from cqrs_ddd_core.adapters.refusals import json_of, lease_key_of
from cqrs_ddd_core.ports.outbox import OutboxMessage


def row_of(message: OutboxMessage) -> dict[str, object]:
    """Raises ``SerializationError`` for what is not JSON."""
    owner = f"message {message.message_id}"
    return {
        "message_id": message.message_id,
        "lease_key": lease_key_of(message),
        "partition_key": message.partition_key,
        "event_type": message.event_type,
        "payload": from_json(json_of(message.payload, owner, message.event_type)),
        "metadata": from_json(json_of(message.metadata, owner, message.event_type)),
        "created_at": message.created_at,
        "published_at": message.published_at,
        "error": message.error,
        "retry_count": message.retry_count,
        "correlation_id": message.correlation_id,
        "causation_id": message.causation_id,
    }


def message_of(row: Row[Any]) -> OutboxMessage:
    facts = dict(row._mapping)
    del facts["lease_key"]
    return OutboxMessage(**facts)


def message_of_postgres(row: Any) -> OutboxMessage:
    """A row of ``OutboxStatements.waiting``, whose first column is the key."""
    _, message_id, event_type, payload, metadata, *rest = row
    return OutboxMessage(message_id, event_type, from_json(payload), from_json(metadata), *rest)
