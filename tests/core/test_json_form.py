"""Recorded values come back equal, or are rejected."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pydantic
import pytest
from pydantic.alias_generators import to_camel

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    ConfigError,
    DomainEvent,
    EventTypeRegistry,
    HandlerRegistry,
    Mediator,
    MessageRegistry,
    SerializationError,
    StoredEvent,
    ValidationError,
    ValueObject,
    correlation_scope,
)
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryInbox, InMemoryUnitOfWork
from cqrs_ddd_core.messaging import decode_event
from cqrs_ddd_core.middleware import IdempotencyMiddleware
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.exceptions import DuplicateCommandError, ResultNotRememberedError
from cqrs_ddd_core.primitives.json_form import JsonForm, find_difference
from cqrs_ddd_core.spi.fingerprints import compute_command_fingerprint
from cqrs_ddd_core.spi.inbox import compute_fingerprint
from tests.core.json_cases import (
    CASES,
    CONVERTED,
    DEFINED,
    KEPT,
    NUMBER,
    RECORDED,
    Case,
    Cat,
    Dog,
    GiftLine,
    Line,
)

STORABLE = [case for case in CASES if case.fate in (KEPT, CONVERTED)]
REJECTED = [case for case in CASES if case.fate is RECORDED]
NEVER_KEPT = [case for case in CASES if case.fate is DEFINED]


class Box(AggregateRoot[str]):
    opened: int = 0


def _name(case: Case) -> str:
    return f"{case.kind} {getattr(case.annotation, '__name__', case.annotation)}"


def _define(case: Case) -> Any:
    return pydantic.create_model("Put", __base__=DomainEvent, value=(case.annotation, ...))


async def _record(event: DomainEvent) -> StoredEvent:
    Box(id="b-1").add_event(event)
    store = InMemoryEventStore()
    await store.append(StoredEvent.from_event(event))
    (stored,) = await store.get_events(event.aggregate_id or "")
    return stored


@pytest.mark.parametrize("case", STORABLE, ids=_name)
async def test_value_of_an_event_comes_back_equal(case: Case) -> None:
    event_class = _define(case)
    registry = EventTypeRegistry()
    registry.register(event_class)
    event: Any = event_class(value=case.value)

    restored: Any = registry.decode(await _record(event))
    received: Any = decode_event(OutboxMessage.from_event(event), registry)

    for found in (restored, received):
        assert find_difference(event, found) is None
        assert found.value == event.value
        assert (type(found.value) is type(event.value)) is (case.fate is KEPT)


@pytest.mark.parametrize("case", REJECTED, ids=_name)
async def test_value_that_json_changes_is_rejected_before_it_is_stored(case: Case) -> None:
    event: Any = _define(case)(value=case.value)

    with pytest.raises(SerializationError) as caught:
        await _record(event)

    assert "Put" in str(caught.value)


@pytest.mark.parametrize("case", NEVER_KEPT, ids=_name)
def test_field_that_json_never_keeps_is_rejected_with_the_class(case: Case) -> None:
    with pytest.raises(SerializationError, match=r"JSON does not keep Put\.value") as caught:
        _define(case)

    assert caught.value.type_name == "Put"
    assert caught.value.field.startswith("value")


# In the annotation of a result, the attributes of a field have no effect.
@pytest.mark.parametrize("case", [case for case in CASES if "exclude" not in case.kind], ids=_name)
async def test_repeated_command_has_the_same_result_or_its_first_send_fails(case: Case) -> None:
    ask = type("Ask", (Command[case.annotation],), {"__module__": __name__})  # type: ignore[name-defined]
    command, inbox = ask(), InMemoryInbox()
    handled: list[object] = []

    async def send() -> Any:
        async with InMemoryUnitOfWork(inbox=inbox):
            return (await IdempotencyMiddleware()(command, answer)).result

    async def answer(message: Command) -> CommandResponse[object]:
        handled.append(pydantic.TypeAdapter[Any](case.annotation).validate_python(case.value))
        return CommandResponse(handled[-1])

    if case.fate in (KEPT, CONVERTED):
        assert find_difference(await send(), await send()) is None
        assert len(handled) == 1
    else:
        with pytest.raises(SerializationError, match="result of Ask|outcome of message"):
            await send()
        assert len(handled) == (case.fate is RECORDED)


def _new_mediator(message: type[Command], handler: Any) -> Mediator:
    handlers = HandlerRegistry()
    handlers.register_command_handler(message, handler)
    inbox = InMemoryInbox()
    return Mediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox),
        middlewares=[IdempotencyMiddleware()],
    )


# Events


class Priced(DomainEvent):
    unit_price: Decimal = pydantic.Field(default=0, alias="unitPrice")  # type: ignore[assignment]


class CamelPriced(DomainEvent):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)
    unit_price: Decimal


class Ordered(DomainEvent):
    line: Line


class Cart(AggregateRoot[str]):
    total: Decimal = Decimal(0)

    def apply_Priced(self, event: Priced) -> None:
        self.total += event.unit_price

    def apply_CamelPriced(self, event: CamelPriced) -> None:
        self.total += event.unit_price


def _decode(event_class: type[DomainEvent], payload: dict[str, Any]) -> Any:
    registry = EventTypeRegistry()
    registry.register(event_class)
    stored = StoredEvent(
        event_id="e-1",
        event_type=event_class.event_type,
        aggregate_id="c-1",
        aggregate_type="Cart",
        version=1,
        payload=payload,
    )
    return registry.decode(stored)


@pytest.mark.parametrize("event_class", [Priced, CamelPriced])
def test_field_with_an_alias_has_the_same_value_in_the_live_and_in_the_loaded_state(
    event_class: Any,
) -> None:
    live = Cart(id="c-1")
    live.add_event(event_class(unitPrice=Decimal("1.5")))
    stored = [StoredEvent.from_event(event) for event in live.collect_events()]

    loaded = Cart.rehydrate("c-1", stored)

    assert live.total == loaded.total == Decimal("1.5")
    assert stored[0].payload == {"unit_price": "1.5"}


@pytest.mark.parametrize("event_class", [Priced, CamelPriced])
@pytest.mark.parametrize("key", ["unit_price", "unitPrice"])
def test_stored_field_is_read_by_its_name_and_by_its_alias(event_class: Any, key: str) -> None:
    assert _decode(event_class, {key: "2.5"}).unit_price == Decimal("2.5")


def test_default_that_pydantic_does_not_validate_comes_back_equal() -> None:
    event = Priced(aggregate_id="c-1", aggregate_type="Cart", aggregate_version=1)

    assert _decode(Priced, event.payload()).unit_price == event.unit_price == 0


def test_default_that_its_field_does_not_accept_is_rejected_with_the_event() -> None:
    class Reminded(DomainEvent):
        at: datetime = None  # type: ignore[assignment]

    with pytest.raises(SerializationError, match=r"JSON does not keep Reminded\.at"):
        Box(id="b-1").add_event(Reminded())


@pytest.mark.parametrize(
    "changed", [{"unit_price": "a"}, {"unit_price": ["1"]}, {"unit_price": b"\xff"}]
)
def test_copy_with_a_value_that_was_not_validated_is_rejected(changed: dict[str, Any]) -> None:
    with pytest.raises(SerializationError, match=r"Priced\.unit_price"):
        Priced(unitPrice=Decimal(1)).model_copy(update=changed).payload()


def test_event_that_json_would_change_leaves_its_aggregate_as_it_was() -> None:
    box = Box(id="b-1")

    with pytest.raises(SerializationError, match=r"Ordered\.line: a GiftLine comes back as a Line"):
        box.add_event(Ordered(line=GiftLine(sku="a", note="b")))

    assert (box.pending_events, box.uncommitted_event_count) == ((), 0)


def test_error_names_the_field_within_nested_models_and_no_value() -> None:
    class Delivered(DomainEvent):
        lines: tuple[dict[str, Line], ...]

    with pytest.raises(SerializationError) as caught:
        Delivered(lines=({"a": GiftLine(sku="secret", note="n")},)).payload()

    assert (caught.value.type_name, caught.value.field) == ("Delivered", "lines.0.a")
    assert "secret" not in str(caught.value)


class Folder(DomainEvent):
    entries: tuple[Entry, ...] = ()


class Hidden(DomainEvent):
    later: LaterSecret | None = None


class Entry(ValueObject):
    name: str
    target: UUID | str


class LaterSecret(ValueObject):
    text: pydantic.SecretStr


def test_class_with_an_open_reference_is_checked_at_its_first_use() -> None:
    assert Folder(entries=(Entry(name="a", target=NUMBER),)).payload()["entries"]
    with pytest.raises(SerializationError, match=r"Folder\.entries\.0\.target: a str comes back"):
        Folder(entries=(Entry(name="a", target=str(NUMBER)),)).payload()
    with pytest.raises(SerializationError, match=r"Hidden\.later\.text: it is a secret"):
        Hidden().payload()


def test_stored_field_that_its_class_no_longer_has_is_ignored() -> None:
    assert _decode(Ordered, {"line": {"sku": "a"}, "old": 1}).line == Line(sku="a")


def test_computed_field_of_an_event_is_not_stored() -> None:
    class Summed(DomainEvent, extra="forbid"):
        net: int

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def gross(self) -> int:
            return self.net * 2

    payload = Summed(net=2).payload()

    assert payload == {"net": 2}
    assert _decode(Summed, payload).gross == 4


@pytest.mark.parametrize("ids", [{}, {"correlation_id": "own", "causation_id": "cause"}])
def test_decoded_event_never_takes_the_ids_of_the_reading_request(ids: dict[str, str]) -> None:
    given: dict[str, Any] = {"correlation_id": None, "causation_id": None, **ids}
    event = Ordered(line=Line(sku="a"), **given)
    place = {"aggregate_id": "c-1", "aggregate_type": "Cart", "aggregate_version": 1}
    recorded = event.model_copy(update=place)

    with correlation_scope("reader", "reading"):
        stored = default_decode(StoredEvent.from_event(recorded))
        received = decode_event(OutboxMessage.from_event(recorded))

    for found in (stored, received):
        assert (found.correlation_id, found.causation_id) == (
            ids.get("correlation_id"),
            ids.get("causation_id"),
        )


def default_decode(stored: StoredEvent) -> DomainEvent:
    registry = EventTypeRegistry()
    registry.register(Ordered)
    return registry.decode(stored)


RESERVED = [
    "event_type",
    "schema_version",
    "metadata",
    "payload",
    "occurred_at",
    "event_id",
    "aggregate_id",
    "aggregate_type",
    "aggregate_version",
    "correlation_id",
    "causation_id",
    "detach",
    "json_form",
]


@pytest.mark.parametrize("name", RESERVED)
def test_field_that_hides_a_part_of_the_envelope_is_rejected_with_the_class(name: str) -> None:
    mixin = type("Mixin", (pydantic.BaseModel,), {"__annotations__": {name: str}})
    fields = {"__annotations__": {name: "str"}, name: "x"}

    for bases, namespace in (((DomainEvent,), fields), ((mixin, DomainEvent), {})):
        with pytest.raises(ConfigError, match=f"Clash has a field {name}, which hides {name} of"):
            type("Clash", bases, {"__module__": __name__, **namespace})


def test_event_class_sets_its_stored_name_and_version_as_class_variables() -> None:
    class Renamed(DomainEvent):
        event_type: ClassVar[str] = "OldName"
        schema_version = 2

    assert (Renamed.event_type, Renamed.schema_version) == ("OldName", 2)


# Messages of the outbox


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"source": "till", "roles": ["a", None]},
        {"aggregate_id": "x", "schema_version": 9, "occurred_at": "never", "source": "till"},
        {"aggregate_type": None, "event_metadata": {"aggregate_id": "y"}},
    ],
)
def test_metadata_of_an_event_replace_no_fact_of_its_envelope(metadata: dict[str, Any]) -> None:
    event = Ordered(
        line=Line(sku="a"),
        aggregate_id="c-1",
        aggregate_type="Cart",
        aggregate_version=3,
        metadata=metadata,
    )

    message = OutboxMessage.from_event(event, {"user_id": "u-1", "aggregate_version": 8})
    decoded = decode_event(message)

    facts = message.metadata
    assert (facts["aggregate_id"], facts["aggregate_type"]) == ("c-1", "Cart")
    assert (facts["aggregate_version"], facts["schema_version"]) == (3, 1)
    assert facts["user_id"] == "u-1"
    assert message.partition_key == "Cart:c-1"
    assert decode_event(OutboxMessage.from_event(event)) == event
    assert decoded.metadata == {**metadata, "user_id": "u-1"}


# Commands


class Place(Command[str]):
    item: str
    tags: frozenset[str] = frozenset()
    amount: Decimal = Decimal(1)
    notes: list[str] = pydantic.Field(default_factory=list)
    rate: Decimal = 0  # type: ignore[assignment]
    pet: Cat | Dog | None = None
    password: pydantic.SecretStr | None = None
    at: datetime | None = None


class LogIn(Command[str]):
    remember_result: ClassVar[bool] = False
    user: str
    password: pydantic.SecretStr


async def test_command_with_another_secret_under_the_same_id_is_rejected() -> None:
    async def log_in(command: LogIn) -> str:
        return f"token for {command.password.get_secret_value()}"

    mediator = _new_mediator(LogIn, log_in)
    await mediator.send(LogIn(command_id="l-1", user="ann", password="one"))  # type: ignore[arg-type]

    with pytest.raises(DuplicateCommandError):
        await mediator.send(LogIn(command_id="l-1", user="ann", password="two"))  # type: ignore[arg-type]


async def test_repetition_of_a_command_that_keeps_no_result_says_that_it_was_handled() -> None:
    inbox = InMemoryInbox()
    handlers = HandlerRegistry()

    async def log_in(command: LogIn) -> str:
        return "a token"

    handlers.register_command_handler(LogIn, log_in)
    mediator = Mediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox),
        middlewares=[IdempotencyMiddleware()],
    )
    command = LogIn(command_id="l-1", user="ann", password=pydantic.SecretStr("one"))
    assert (await mediator.send(command)).result == "a token"

    with pytest.raises(ResultNotRememberedError, match="LogIn l-1 was handled before") as caught:
        await mediator.send(command)

    assert caught.value.command_id == "l-1"
    assert [entry.outcome for entry, _ in inbox._rows.values()] == [None]


async def _fingerprint(**fields: Any) -> str:
    return await compute_command_fingerprint(Place(**{"command_id": "p-1", "item": "a", **fields}))


async def test_fingerprint_of_a_command_is_the_same_in_every_release() -> None:
    content = ["Place", {"item": "a"}]

    assert await _fingerprint() == compute_fingerprint(content)
    assert await _fingerprint(tags={"b", "a"}, password="x") == (
        "f811bf75bb222cdcf256f6f6ccf54c5d4f80fa7e6ce7be7306b2fdc4fa0c8668"
    )


def test_fingerprint_of_a_message_is_the_same_in_every_release() -> None:
    print_ = compute_fingerprint(["Sold", {"b": [1, None, "ü"], "a": 1.5}])

    assert print_ == compute_fingerprint(["Sold", {"a": 1.5, "b": [1, None, "ü"]}])
    assert print_ == "5cc587a6e1d3755495d4607273daa29d4d956e9b8827aea5c8b0c85d64c13637"


async def test_fields_that_equal_their_defaults_do_not_change_the_fingerprint() -> None:
    given = {"tags": frozenset(), "amount": Decimal(1), "notes": [], "rate": Decimal(0), "at": None}

    assert await _fingerprint(**given) == await _fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"item": "b"},
        {"tags": {"x"}},
        {"amount": Decimal("1.0")},
        {"notes": ["x"]},
        {"pet": Cat(lives=1)},
        {"pet": Dog(lives=1)},
        {"pet": Dog(lives=2)},
        {"password": "x"},
        {"password": "y"},
        {"at": datetime(2026, 1, 1, tzinfo=timezone.utc)},
    ],
    ids=str,
)
async def test_other_content_has_another_fingerprint(fields: dict[str, Any]) -> None:
    others: list[dict[str, Any]] = [
        {},
        {"pet": Cat(lives=2)},
        {"password": "z"},
        {"amount": Decimal(2)},
    ]

    assert await _fingerprint(**fields) not in [await _fingerprint(**other) for other in others]


async def test_models_that_differ_only_in_their_tag_have_different_fingerprints() -> None:
    assert await _fingerprint(pet=Cat(lives=1)) != await _fingerprint(pet=Dog(lives=1))


async def test_secret_has_another_hash_under_another_command_id() -> None:
    one, two = [
        await _fingerprint(command_id=each, password="guessable") for each in ("p-1", "p-2")
    ]

    assert one != two
    assert await _fingerprint(command_id="p-1") == await _fingerprint(command_id="p-2")


def test_fingerprint_of_a_set_is_the_same_in_every_process() -> None:
    program = (
        "import asyncio; from tests.core.test_json_form import _fingerprint; "
        "print(asyncio.run(_fingerprint(tags=set('abcdefgh'))))"
    )

    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(found) == 1


async def test_class_of_a_command_can_move_to_another_module() -> None:
    moved = type("Place", (Command,), {"__module__": "elsewhere", "__annotations__": {"item": str}})

    assert await compute_command_fingerprint(moved(item="a")) == await _fingerprint()


async def test_command_that_cannot_be_written_as_json_is_rejected_by_name() -> None:
    class Upload(Command[None]):
        data: bytes

    with pytest.raises(SerializationError, match="Upload cannot be written as JSON"):
        await compute_command_fingerprint(Upload(data=b"\xff"))


# Hydration


class Book(Command[None]):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    day: date
    seats: tuple[int, ...]
    room: UUID
    unit_price: Decimal = pydantic.Field(default=Decimal(0), alias="unitPrice")


@pytest.mark.parametrize("key", ["unit_price", "unitPrice"])
def test_message_is_created_from_json_by_name_or_alias(key: str) -> None:
    registry = MessageRegistry()
    registry.register(Book)
    data = {"day": "2026-01-01", "seats": [1, 2], "room": str(NUMBER), key: "1.5"}

    command = registry.hydrate("Book", data)

    assert isinstance(command, Book)
    assert (command.day, command.seats, command.room) == (date(2026, 1, 1), (1, 2), NUMBER)
    assert command.unit_price == Decimal("1.5")


def test_secret_in_the_data_of_a_message_is_not_masked() -> None:
    registry = MessageRegistry()
    registry.register(LogIn)

    for password in ("one", pydantic.SecretStr("one")):
        command: Any = registry.hydrate("LogIn", {"user": "ann", "password": password})
        assert command == LogIn(
            user="ann", password=pydantic.SecretStr("one"), command_id=command.command_id
        )


def test_strict_message_rejects_json_of_another_type() -> None:
    registry = MessageRegistry()
    registry.register(Book)

    with pytest.raises(ValidationError, match="the data does not fit Book: seats"):
        registry.hydrate("Book", {"day": "2026-01-01", "seats": ["1"], "room": str(NUMBER)})
    with pytest.raises(SerializationError, match="the data of Book cannot be written as JSON"):
        registry.hydrate("Book", {"day": object()})


# Forms


def test_json_form_rejects_a_type_that_pydantic_does_not_know() -> None:
    with pytest.raises(SerializationError, match="the result cannot be written as JSON"):
        JsonForm(type("Unknown", (), {}), "the result")


def test_json_form_does_not_call_eq_of_the_values() -> None:
    class Silent(pydantic.BaseModel):
        value: Any

        def __eq__(self, other: object) -> bool:
            return True

    with pytest.raises(SerializationError, match=r"Silent\.value: a tuple comes back as a list"):
        JsonForm[Silent](Silent, "Silent").write(Silent(value=(1,)))
