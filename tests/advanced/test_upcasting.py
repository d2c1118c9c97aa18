"""Tests of upcasters, which convert old events to the current schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqrs_ddd_advanced_core.exceptions import UpcasterChainError, UpcastingError
from cqrs_ddd_advanced_core.upcasting import (
    EventUpcaster,
    UpcasterRegistry,
    UpcastingEventRegistry,
    add_upcasting,
)
from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, StoredEvent
from cqrs_ddd_core.messaging import decode_event
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.exceptions import (
    ConcealedError,
    ErrorClass,
    SerializationError,
    UnknownTypeError,
    classify_error,
)
from cqrs_ddd_core.testing.contracts.upcasting import UpcasterContract


class Dispatched(DomainEvent):
    schema_version: ClassVar[int] = 4

    recipient: str
    grams: int
    tags: tuple[str, ...]


class NameTheRecipient(EventUpcaster):
    event_type = "Dispatched"
    source_version = 1

    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in payload.items() if name != "to"}
        return {**rest, "recipient": payload["to"]}


class WeighInGrams(EventUpcaster):
    event_type = "Dispatched"
    source_version = 2

    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in payload.items() if name != "kilos"}
        return {**rest, "grams": payload["kilos"] * 1000}


class TagInPlace(EventUpcaster):
    """Upcaster that wrongly changes its argument."""

    event_type = "Dispatched"
    source_version = 3

    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        assert isinstance(payload, dict)
        payload.setdefault("tags", []).append("old")
        return payload


CHAIN = (NameTheRecipient(), WeighInGrams(), TagInPlace())


class Shipment(AggregateRoot[str]):
    event_registry = UpcastingEventRegistry(UpcasterRegistry(*CHAIN))

    recipient: str
    grams: int

    def apply_Dispatched(self, event: Dispatched) -> None:
        self.recipient, self.grams = event.recipient, event.grams


Shipment.event_registry.register(Dispatched)

PAYLOADS: dict[int, dict[str, object]] = {
    1: {"to": "ada", "kilos": 2},
    2: {"recipient": "ada", "kilos": 2},
    3: {"recipient": "ada", "grams": 2000},
    4: {"recipient": "ada", "grams": 2000, "tags": ["old"]},
}


def make_stored(schema_version: int, payload: dict[str, object] | None = None) -> StoredEvent:
    return StoredEvent(
        event_id="e-1",
        event_type="Dispatched",
        aggregate_id="s-1",
        aggregate_type="Shipment",
        version=1,
        schema_version=schema_version,
        payload=copy.deepcopy(PAYLOADS[min(schema_version, 4)] if payload is None else payload),
    )


def decode(schema_version: int) -> Dispatched:
    event = Shipment.event_registry.decode(make_stored(schema_version))
    assert isinstance(event, Dispatched)
    return event


@pytest.fixture
def upcaster() -> NameTheRecipient:
    return NameTheRecipient()


@pytest.fixture
def old() -> dict[str, Any]:
    return dict(PAYLOADS[1])


class TestUpcaster(UpcasterContract):
    pass


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_event_of_any_schema_version_is_decoded_in_the_current_schema(version: int) -> None:
    event = decode(version)

    assert (event.recipient, event.grams, event.tags) == ("ada", 2000, ("old",))
    assert (event.event_id, event.aggregate_version) == ("e-1", 1)


def test_upcaster_that_changes_its_argument_does_not_change_the_stored_event() -> None:
    stored = make_stored(3, {"recipient": "ada", "grams": 1, "tags": ["new"]})

    for _ in range(2):
        event = Shipment.event_registry.decode(stored)
        assert isinstance(event, Dispatched)
        assert event.tags == ("new", "old")

    assert stored.payload == {"recipient": "ada", "grams": 1, "tags": ["new"]}


def test_every_decoder_of_stored_events_applies_the_upcasters() -> None:
    stored = make_stored(1)
    message = OutboxMessage.from_event(decode(4).model_copy(update={"aggregate_type": "Shipment"}))
    old_message = OutboxMessage(
        message_id=message.message_id,
        event_type="Dispatched",
        payload=PAYLOADS[1],
        metadata={**message.metadata, "schema_version": 1},
    )

    by_event, by_replay = Shipment.create_empty("s-1"), Shipment.rehydrate("s-1", [stored])
    by_event.apply_event(stored)
    mapped = add_upcasting(Shipment.event_registry).decode(stored)
    by_message = decode_event(old_message, Shipment.event_registry)

    assert by_event.grams == by_replay.grams == 2000
    assert isinstance(mapped, Dispatched)
    assert isinstance(by_message, Dispatched)
    assert (mapped.grams, by_message.grams) == (2000, 2000)
    assert (by_message.aggregate_id, by_message.event_id) == ("s-1", "e-1")


def test_stored_event_without_a_schema_version_has_the_current_schema() -> None:
    class StoredWithoutVersion:
        event_type = "Dispatched"
        payload: ClassVar[dict[str, object]] = PAYLOADS[4]

    event = Shipment.event_registry.decode(StoredWithoutVersion())

    assert isinstance(event, Dispatched)
    assert event.grams == 2000


def test_error_for_a_missing_upcaster_names_event_type_version_and_step() -> None:
    events = UpcastingEventRegistry(UpcasterRegistry(CHAIN[1], CHAIN[2]))
    events.register(Dispatched)

    with pytest.raises(UpcastingError, match="the step from 1 to 2 is missing") as caught:
        events.decode(make_stored(1))

    error = caught.value
    assert (error.event_type, error.stored_version, error.class_version) == ("Dispatched", 1, 4)
    assert error.step == 1
    assert classify_error(error) is ErrorClass.PERMANENT


def test_event_with_a_newer_schema_version_is_an_error() -> None:
    with pytest.raises(UpcastingError, match="schema version 5, but its class has 4") as caught:
        Shipment.event_registry.decode(make_stored(5))

    assert (caught.value.stored_version, caught.value.step) == (5, None)


def test_upcaster_that_fails_or_returns_no_dict_is_named_in_the_error() -> None:
    with pytest.raises(UpcastingError, match="NameTheRecipient cannot upcast Dispatched") as caught:
        Shipment.event_registry.decode(make_stored(1, {"kilos": 2}))
    cause = caught.value.__cause__
    assert isinstance(cause, ConcealedError)
    assert isinstance(cause.orig, KeyError)

    class NoneUpcaster(NameTheRecipient):
        def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
            return None  # type: ignore[return-value]

    events = UpcastingEventRegistry(UpcasterRegistry(NoneUpcaster(), *CHAIN[1:]))
    events.register(Dispatched)
    with pytest.raises(
        UpcastingError, match="NoneUpcaster .* returned an object of NoneType, not a dict"
    ):
        events.decode(make_stored(1))


def test_event_registry_without_upcasters_rejects_old_events() -> None:
    class Weighed(DomainEvent):
        schema_version: ClassVar[int] = 2
        grams: int = 0

    plain = EventTypeRegistry()
    plain.register(Weighed)
    stored = StoredEvent(
        event_id="e-2",
        event_type="Weighed",
        aggregate_id="s-1",
        aggregate_type="Shipment",
        version=1,
        payload={"kilos": 2},
    )

    # Without a check of the version, the weight of 2 kilos is lost silently.
    assert Weighed.model_validate(stored.payload).grams == 0
    with pytest.raises(SerializationError, match="has schema version 1, but .*Weighed has 2"):
        plain.decode(stored)
    with pytest.raises(UpcastingError, match="the step from 1 to 2 is missing"):
        add_upcasting(plain).decode(stored)


def test_second_upcaster_for_the_same_schema_version_is_rejected() -> None:
    class AnotherName(NameTheRecipient):
        pass

    upcasters = UpcasterRegistry(*CHAIN)

    with pytest.raises(UpcasterChainError, match="is already NameTheRecipient") as caught:
        upcasters.register(AnotherName())
    assert (caught.value.event_type, caught.value.step) == ("Dispatched", 1)
    with pytest.raises(UpcasterChainError, match="is already NameTheRecipient; register it once"):
        upcasters.register(CHAIN[0])


def test_upcaster_chain_with_a_gap_is_rejected_completely() -> None:
    upcasters = UpcasterRegistry()

    with pytest.raises(UpcasterChainError, match="from schema version 2 is missing"):
        upcasters.register(CHAIN[0], CHAIN[2])

    assert list(upcasters) == []
    upcasters.register(CHAIN[2], CHAIN[1], CHAIN[0])
    assert list(upcasters) == ["Dispatched"]


@pytest.mark.parametrize(
    ("chain", "problem"),
    [
        (CHAIN[:2], "from schema version 3 is missing: Dispatched has schema_version 4"),
        ((*CHAIN, 4), "from schema version 4 leads beyond Dispatched, which has schema_version 4"),
    ],
)
def test_upcaster_chain_must_end_at_the_schema_version_of_its_class(
    chain: tuple[Any, ...], problem: str
) -> None:
    class Beyond(EventUpcaster):
        event_type = "Dispatched"
        source_version = 4

        def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
            return dict(payload)

    upcasters = UpcasterRegistry(*(Beyond() if step == 4 else step for step in chain))
    table = EventTypeRegistry()
    table.register(Dispatched)

    with pytest.raises(UpcasterChainError, match=problem):
        UpcastingEventRegistry(upcasters).register(Dispatched)
    with pytest.raises(UpcasterChainError, match=problem):
        UpcastingEventRegistry(upcasters, table)


def test_upcaster_chain_for_an_unregistered_event_class_is_an_error() -> None:
    with pytest.raises(UnknownTypeError, match="'Dispatched'"):
        UpcastingEventRegistry(UpcasterRegistry(*CHAIN), EventTypeRegistry())


@pytest.mark.parametrize("version", [0, -1, True, "1"])
def test_upcaster_with_an_invalid_source_version_is_rejected(version: Any) -> None:
    class Wrong(NameTheRecipient):
        source_version = version

    with pytest.raises(UpcasterChainError, match="is not valid; versions count from 1"):
        UpcasterRegistry(Wrong())


def test_object_that_is_not_an_upcaster_cannot_be_registered() -> None:
    not_an_upcaster: Any = object()

    with pytest.raises(UpcasterChainError, match="is not an upcaster"):
        UpcasterRegistry(not_an_upcaster)


def test_upcaster_without_an_upcast_method_cannot_be_created() -> None:
    class Nothing(EventUpcaster):
        event_type = "Dispatched"
        source_version = 1

    with pytest.raises(TypeError, match="abstract"):
        Nothing()  # type: ignore[abstract]


@pytest.mark.parametrize("text", ['{"recipient": "ada"', "[1]", "null", ""])
def test_stored_payload_that_is_not_a_json_object_names_the_event(text: str) -> None:
    class Kept(StoredEvent):
        payload_json: str

    stored = Kept(**vars(make_stored(4)))
    stored.__dict__["payload_json"] = text

    with pytest.raises(SerializationError, match="stored Dispatched e-1"):
        Shipment.event_registry.decode(stored)


@given(st.permutations([0, 1, 2]), st.integers(1, 4))
def test_upcasters_can_be_registered_in_any_order(order: list[int], version: int) -> None:
    events = UpcastingEventRegistry(UpcasterRegistry(*(CHAIN[index] for index in order)))
    events.register(Dispatched)

    assert events.decode(make_stored(version)).payload() == decode(4).payload()
