"""Conversion of events to and from rows of the event table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any

from pydantic_core import from_json

from cqrs_ddd_core import StoredEvent
from cqrs_ddd_core.spi import tenancy
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..schema.column_types import iso_utc

Row = tuple[Any, ...]
COLUMNS = {
    "event_id": "text",
    "event_type": "text",
    "aggregate_id": "text",
    "aggregate_type": "text",
    "version": "bigint",
    "schema_version": "int",
    "payload": "text",
    "metadata": "text",
    "occurred_at": "timestamptz",
    "correlation_id": "text",
    "causation_id": "text",
    "tenant_id": "text",
}
"""Columns of an insert, with the SQL types of the arrays on PostgreSQL."""

_READ = ("position", *COLUMNS)
_AS_TEXT = {"payload": "payload_json", "metadata": "metadata_json"}
_FROM_POSTGRES = tuple(_AS_TEXT.get(name, name) for name in _READ)
_FROM_SQLITE = tuple({**_AS_TEXT, "occurred_at": "occurred_text"}.get(name, name) for name in _READ)

_get_fields = attrgetter(*StoredEvent.__dataclass_fields__)


class StoredRow(StoredEvent):
    """Stored event that decodes its JSON at the first access; it equals its plain form.

    ``payload_json`` and ``metadata_json`` are the stored text, ``tenant_id`` the tenant of the row.
    """

    payload_json: str
    metadata_json: str
    occurred_text: str
    tenant_id: str

    @cached_property
    def payload(self) -> dict[str, object]:
        """Payload of the event, decoded at the first access."""
        payload: dict[str, object] = from_json(self.payload_json)
        return payload

    @cached_property
    def metadata(self) -> dict[str, object]:
        """Metadata of the event with the tenant of the row, decoded at the first access."""
        metadata: dict[str, object] = from_json(self.metadata_json)
        tenancy.set_metadata_tenant(metadata, self.tenant_id)
        return metadata

    @cached_property
    def occurred_at(self) -> datetime:
        """Time of the event, parsed at the first access on SQLite."""
        return datetime.fromisoformat(self.occurred_text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredEvent) and _get_fields(self) == _get_fields(other)

    __hash__ = StoredEvent.__hash__


def read_columns() -> str:
    """Return the columns to select, in the order that ``read_events`` expects; JSON as text."""
    return ", ".join(f"CAST({name} AS text)" if name in _AS_TEXT else name for name in _READ)


def read_events(rows: Iterable[Sequence[object]], *, are_from_postgres: bool) -> list[StoredEvent]:
    """Return an event for each row, without decoding its JSON yet."""
    names = _FROM_POSTGRES if are_from_postgres else _FROM_SQLITE
    events: list[StoredEvent] = []
    for row in rows:
        # Without the constructor, which takes half of the time of a read: the store has validated
        # the event before.
        event = StoredRow.__new__(StoredRow)
        event.__dict__.update(zip(names, row))  # noqa: B905
        events.append(event)
    return events


def clear_positions(events: Iterable[StoredEvent], uncommitted: Sequence[int]) -> None:
    """Set the positions that are not committed yet, an ascending list, to None."""
    if not uncommitted:
        return
    for event in events:
        position = event.position or 0
        index = bisect_left(uncommitted, position)
        if index < len(uncommitted) and uncommitted[index] == position:
            event.__dict__["position"] = None


def to_row(event: StoredEvent, tenant_id: str) -> Row:
    """Return the values of ``COLUMNS``.

    Raises:
        SerializationError: JSON cannot represent the payload or the metadata without loss.
        InvalidOperationError: the metadata name another tenant.
    """
    tenancy.ensure_own_metadata(event.metadata, tenant_id, f"{event.event_type} {event.event_id}")
    return (
        event.event_id,
        event.event_type,
        event.aggregate_id,
        event.aggregate_type,
        event.version,
        event.schema_version,
        _encode_text(event.payload, event),
        _encode_text(event.metadata, event),
        event.occurred_at,
        event.correlation_id,
        event.causation_id,
        tenant_id,
    )


def _encode_text(value: dict[str, object], event: StoredEvent) -> str:
    if value == {}:  # The usual metadata.
        return "{}"
    subject = f"{event.event_type} {event.event_id}"
    return encode_json(value, subject, type_name=event.event_type).decode()


def to_sqlite_row(row: Row) -> Row:
    """Return the same values with the time as text."""
    return (*row[:8], iso_utc(row[8]), *row[9:])
