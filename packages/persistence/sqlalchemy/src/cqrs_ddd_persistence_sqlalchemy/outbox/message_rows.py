"""Messages as they come from the outbox table, and as they go there."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from sqlalchemy import Row

from cqrs_ddd_core.adapters.refusals import json_of, lease_key_of, refuse_unkept_message
from cqrs_ddd_core.ports.outbox import OutboxMessage

from ..schema.column_types import iso_utc


def row_of(message: OutboxMessage) -> tuple[Any, ...]:
    """The values of ``COLUMNS``; raises ``SerializationError`` for what is not JSON or no id."""
    refuse_unkept_message(message)
    owner = f"message {message.message_id}"
    return (
        message.message_id,
        lease_key_of(message),
        message.partition_key,
        message.event_type,
        json_of(message.payload, owner, message.event_type).decode(),
        json_of(message.metadata, owner, message.event_type).decode(),
        message.created_at,
        message.published_at,
        message.error,
        message.retry_count,
        message.correlation_id,
        message.causation_id,
    )


def for_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same values with the times as text."""
    times = (None if time is None else iso_utc(time) for time in row[6:8])
    return (*row[:6], *times, *row[8:])


def message_of(row: Row[Any]) -> OutboxMessage:
    facts = dict(row._mapping)
    del facts["lease_key"]
    return OutboxMessage(**facts)


def message_of_postgres(row: Any) -> OutboxMessage:
    """A row of ``OutboxStatements.waiting``, whose first column is the key."""
    _, message_id, event_type, payload, metadata, *rest = row
    return OutboxMessage(message_id, event_type, from_json(payload), from_json(metadata), *rest)
