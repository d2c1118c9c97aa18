from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqrs_ddd_core import DomainEvent, EventTypeRegistry, StoredEvent, correlation_scope
from cqrs_ddd_core.primitives.exceptions import (
    ImmutableObjectError,
    MissingIdentityError,
    NaiveDatetimeError,
    SerializationError,
)


class PricePaid(DomainEvent):
    amount: Decimal
    when: datetime | None = None
    tags: tuple[str, ...] = ()


class Opaque(DomainEvent):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: object


def test_new_event_has_an_id_a_time_and_the_ids_of_its_request() -> None:
    with correlation_scope("request-1", "command-1"):
        event = PricePaid(amount=Decimal(1))

    assert UUID(event.event_id).version == 7
    assert event.occurred_at.tzinfo is not None
    assert (event.correlation_id, event.causation_id) == ("request-1", "command-1")


def test_event_type_is_the_class_name_unless_set() -> None:
    class Renamed(DomainEvent):
        event_type = "PriceWasPaid"

    class Child(Renamed):
        pass

    assert PricePaid.event_type == "PricePaid"
    assert Renamed().event_type == "PriceWasPaid"
    assert Child.event_type == "Child"


def test_domain_event_is_immutable() -> None:
    event: Any = PricePaid(amount=Decimal(1))

    with pytest.raises(ImmutableObjectError, match=r"PricePaid.amount cannot be changed") as caught:
        event.amount = Decimal(2)
    with pytest.raises(ImmutableObjectError):
        del event.amount

    assert (caught.value.type_name, caught.value.field) == ("PricePaid", "amount")
    assert event.amount == Decimal(1)


def test_domain_event_rejects_a_time_without_a_zone() -> None:
    with pytest.raises(NaiveDatetimeError, match=r"PricePaid.occurred_at is 2026-01-01") as caught:
        PricePaid(amount=Decimal(1), occurred_at=datetime(2026, 1, 1))

    assert caught.value.field == "occurred_at"
    assert "pass an aware datetime" in str(caught.value)


@pytest.mark.parametrize("event_id", ["", None, 7])
def test_domain_event_rejects_an_id_that_is_empty_or_not_text(event_id: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        PricePaid(amount=Decimal(1), event_id=event_id)


def test_event_payload_is_json_without_the_envelope() -> None:
    event = PricePaid(
        amount=Decimal("1.10"), when=datetime(2026, 1, 1, tzinfo=timezone.utc), tags=("a",)
    )

    assert event.payload() == {"amount": "1.10", "when": "2026-01-01T00:00:00Z", "tags": ["a"]}


def test_event_that_is_not_json_cannot_be_stored() -> None:
    event = Opaque(thing=object(), aggregate_id="1", aggregate_type="A", aggregate_version=1)

    with pytest.raises(
        SerializationError, match=r"Opaque.thing cannot be written as JSON"
    ) as caught:
        StoredEvent.from_event(event)

    assert (caught.value.type_name, caught.value.field) == ("Opaque", "thing")
    assert "give it values that pydantic writes as JSON" in str(caught.value)


def test_event_metadata_must_be_json() -> None:
    with pytest.raises(pydantic.ValidationError):
        PricePaid(amount=Decimal(1), metadata={"thing": object()})  # type: ignore[dict-item]


def test_event_that_no_aggregate_recorded_cannot_be_stored() -> None:
    with pytest.raises(MissingIdentityError, match=r"record it with aggregate.add_event") as caught:
        StoredEvent.from_event(PricePaid(amount=Decimal(1), aggregate_id="a-1"))

    assert caught.value.missing == ("aggregate_type", "aggregate_version")


def test_stored_event_separates_envelope_and_payload_and_merges_metadata() -> None:
    event = PricePaid(
        amount=Decimal(1),
        aggregate_id="a-1",
        aggregate_type="Account",
        aggregate_version=3,
        metadata={"source": "till", "user_id": "u-1"},
    )

    stored = StoredEvent.from_event(event, {"user_id": "u-2"})

    assert stored.stream == ("Account", "a-1")
    assert (stored.version, stored.event_type, stored.schema_version) == (3, "PricePaid", 1)
    assert stored.metadata == {"source": "till", "user_id": "u-2"}
    assert stored.payload == {"amount": "1", "when": None, "tags": []}
    assert (stored.event_id, stored.occurred_at) == (event.event_id, event.occurred_at)


@given(
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    tags=st.lists(st.text()),
    when=st.none() | st.datetimes(timezones=st.timezones()),
    metadata=st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
)
def test_stored_event_decodes_to_an_equal_event(
    amount: Decimal, tags: list[str], when: datetime | None, metadata: dict[str, Any]
) -> None:
    event = PricePaid(
        amount=amount,
        tags=tuple(tags),
        when=when and when.astimezone(timezone.utc),
        metadata=metadata,
        aggregate_id="a-1",
        aggregate_type="Account",
        aggregate_version=1,
    )

    assert _decode(StoredEvent.from_event(event)) == event


def _decode(stored: StoredEvent) -> DomainEvent:
    registry = EventTypeRegistry()
    registry.register(PricePaid)
    return registry.decode(stored)
