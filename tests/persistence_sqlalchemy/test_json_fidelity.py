"""Events of every kind of field in a database."""

from __future__ import annotations

from itertools import count
from typing import Any

import pydantic

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, StoredEvent
from cqrs_ddd_core.messaging import decode_event
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.json_form import find_difference
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, SQLAlchemyOutboxStorage, Tables
from cqrs_ddd_persistence_sqlalchemy.engine import SessionFactory
from tests.core.json_cases import CASES, CONVERTED, KEPT

_numbers = count(1)


class Chest(AggregateRoot[str]): ...


def _record_each_kind(registry: EventTypeRegistry) -> list[DomainEvent]:
    chest = Chest(id="c-1")
    for case in CASES:
        if case.fate in (KEPT, CONVERTED):
            name = f"Kept{next(_numbers)}"
            fields: Any = {"value": (case.annotation, ...)}
            event_class: Any = pydantic.create_model(name, __base__=DomainEvent, **fields)
            chest.add_event(registry.register(event_class)(value=case.value))
    return chest.collect_events()


async def test_event_of_every_kind_of_field_is_read_back_from_the_database(
    session_factory: SessionFactory, tables: Tables
) -> None:
    registry = EventTypeRegistry()
    recorded = _record_each_kind(registry)
    store = SQLAlchemyEventStore(session_factory, tables=tables)
    outbox = SQLAlchemyOutboxStorage(session_factory, tables=tables)

    await store.append_batch([StoredEvent.from_event(event) for event in recorded])
    await outbox.save_messages([OutboxMessage.from_event(event) for event in recorded])
    stored = [registry.decode(event) for event in await store.get_events("c-1")]
    received = [decode_event(each, registry) for each in await outbox.get_pending(limit=1000)]

    assert len(stored) == len(received) == len(recorded)
    for event, one, other in zip(recorded, stored, received, strict=True):
        assert find_difference(event, one, exclude={"occurred_at"}) is None
        assert find_difference(event, other) is None
