"""Conversion of messages to and from rows of the outbox table."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from sqlalchemy import Row

from cqrs_ddd_core.ports.outbox import OutboxMessage
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..schema.column_types import iso_utc

_FIELDS = tuple(OutboxMessage.__dataclass_fields__)


def row_of(message: OutboxMessage) -> tuple[Any, ...]:
    """Return the values of ``COLUMNS``; raise ``SerializationError`` unless both are JSON."""
    subject = f"message {message.message_id}"
    return (
        message.message_id,
        message.lease_key,
        message.partition_key,
        message.event_type,
        encode_json(message.payload, subject, type_name=message.event_type).decode(),
        encode_json(message.metadata, subject, type_name=message.event_type).decode(),
        message.created_at,
        message.published_at,
        message.error,
        message.retry_count,
        message.correlation_id,
        message.causation_id,
    )


def for_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the same values with the times as text."""
    times = (None if time is None else iso_utc(time) for time in row[6:8])
    return (*row[:6], *times, *row[8:])


def message_of(row: Row[Any]) -> OutboxMessage:
    facts = dict(row._mapping)
    del facts["lease_key"]
    return _message(facts)


def message_of_postgres(row: Any) -> OutboxMessage:
    """Read a row of ``OutboxStatements.waiting``, whose first column is the key."""
    facts = dict(zip(_FIELDS, row[1:]))  # noqa: B905
    facts["payload"] = from_json(facts["payload"])
    facts["metadata"] = from_json(facts["metadata"])
    return _message(facts)


def _message(facts: dict[str, Any]) -> OutboxMessage:
    message = OutboxMessage.__new__(OutboxMessage)
    message.__dict__.update(facts)  # Checked when it was saved, so not again by the constructor.
    return message
