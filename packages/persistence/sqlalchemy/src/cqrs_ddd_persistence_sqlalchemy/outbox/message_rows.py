"""Conversion of messages to and from rows of the outbox table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json

from cqrs_ddd_core import OutboxMessage
from cqrs_ddd_core.spi import tenancy
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..schema.column_types import iso_utc

Row = tuple[Any, ...]
_FIELDS = tuple(OutboxMessage.__dataclass_fields__)


def to_row(message: OutboxMessage, tenant_id: str) -> Row:
    """Return the values of ``COLUMNS``.

    Raises:
        SerializationError: JSON cannot represent the payload or the metadata without loss.
        InvalidOperationError: the metadata name another tenant.
    """
    subject = f"message {message.message_id}"
    tenancy.ensure_own_metadata(message.metadata, tenant_id, subject)
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
        tenant_id,
    )


def to_sqlite_row(row: Row) -> Row:
    """Return the same values with the times as text."""
    times = (None if time is None else iso_utc(time) for time in row[6:8])
    return (*row[:6], *times, *row[8:])


def read_message(row: sa.Row[Any]) -> OutboxMessage:
    """Return the message of a row that SQLAlchemy has read."""
    fields = dict(row._mapping)
    del fields["lease_key"]
    return _create(fields, fields.pop("tenant_id"))


def read_driver_row(row: Sequence[Any]) -> OutboxMessage:
    """Return the message of a row of ``OutboxStatements.waiting``, after tenant and lease key."""
    fields = dict(zip(_FIELDS, row[2:]))  # noqa: B905
    fields["payload"] = from_json(fields["payload"])
    fields["metadata"] = from_json(fields["metadata"])
    return _create(fields, row[0])


def _create(fields: dict[str, Any], tenant_id: str) -> OutboxMessage:
    tenancy.set_metadata_tenant(fields["metadata"], tenant_id)
    message = OutboxMessage.__new__(OutboxMessage)
    # Without the constructor: save_messages has validated the fields.
    message.__dict__.update(fields)
    return message
