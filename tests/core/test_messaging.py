"""Path of an event from a command through outbox and broker to a consumer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import Field

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    DomainEvent,
    EventStorePersistenceMiddleware,
    EventTypeRegistry,
    HandlerRegistry,
    Mediator,
    UnitOfWork,
    get_causation_id,
    get_correlation_id,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryInbox,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.domain.events import StoredForm
from cqrs_ddd_core.messaging import InboxConsumer, OutboxRelay, TopicRouting, decode_event
from cqrs_ddd_core.middleware import IdempotencyMiddleware, OutboxMiddleware
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    DuplicateCommandError,
    InvalidOperationError,
    SerializationError,
    UnknownTypeError,
)
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_core.testing.faults import cancel_sweep


class TicketSold(DomainEvent):
    seat: str


class Hall(AggregateRoot[str]):
    seats: list[str] = Field(default_factory=list)

    def apply_TicketSold(self, event: TicketSold) -> None:
        self.seats.append(event.seat)


class Sell(Command[list[str]]):
    hall_id: str
    seat: str


class Theatre:
    def __init__(self) -> None:
        self.halls: InMemoryRepository[Hall, str] = InMemoryRepository(Hall)
        self.events, self.outbox = InMemoryEventStore(), InMemoryOutboxStorage()
        self.inbox, self.signal = InMemoryInbox(), InMemoryQueueSignal()
        self.handled = 0
        handlers = HandlerRegistry()
        handlers.register_command_handler(Sell, self.sell)
        self.mediator = Mediator(
            handlers,
            uow_factory=self.new_uow,
            middlewares=[
                IdempotencyMiddleware(),
                EventStorePersistenceMiddleware(),
                OutboxMiddleware(self.signal),
            ],
        )

    def new_uow(self) -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(self.events, self.outbox, self.inbox)

    async def sell(self, command: Sell) -> list[str]:
        self.handled += 1
        hall = await self.halls.get(command.hall_id) or Hall(id=command.hall_id)
        if command.seat in hall.seats:
            raise BusinessRuleError(f"{command.seat} is sold")
        hall.add_event(TicketSold(seat=command.seat))
        await self.halls.add(hall)
        return hall.seats


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


async def test_events_of_a_command_are_saved_to_the_outbox_in_its_transaction(
    theatre: Theatre,
) -> None:
    with request_context(tenant_id="t-1"):
        response = await theatre.mediator.send(
            Sell(hall_id="h", seat="A1", command_id="c-1", correlation_id="r-1")
        )

        (saved,) = await theatre.outbox.get_pending()

    (event,) = response.events
    assert (saved.message_id, saved.event_type) == (event.event_id, "TicketSold")
    assert saved.payload == {"seat": "A1"}
    assert (saved.partition_key, saved.correlation_id, saved.causation_id) == (
        "Hall:h",
        "r-1",
        "c-1",
    )
    assert saved.metadata["tenant_id"] == "t-1"
    assert saved.metadata["aggregate_version"] == 1
    assert "user_id" not in saved.metadata


async def test_commit_wakes_the_outbox_relays(theatre: Theatre) -> None:
    waiting = asyncio.ensure_future(theatre.signal.wait("outbox", 30))
    await asyncio.sleep(0)

    await theatre.mediator.send(Sell(hall_id="h", seat="A1"))

    assert await waiting
    assert not await theatre.signal.wait("outbox", 0.001)


async def test_repeated_command_is_handled_once_and_returns_the_same_result(
    theatre: Theatre,
) -> None:
    command = Sell(hall_id="h", seat="A1")

    first = await theatre.mediator.send(command)
    second = await theatre.mediator.send(command)

    assert first.result == second.result == ["A1"]
    assert (theatre.handled, second.events) == (1, ())
    assert len(await theatre.outbox.get_pending()) == 1


async def test_hundred_concurrent_copies_of_a_command_have_one_effect(theatre: Theatre) -> None:
    command = Sell(hall_id="h", seat="A1")

    answers = await asyncio.gather(*(theatre.mediator.send(command) for _ in range(100)))

    assert theatre.handled == 1
    assert {tuple(answer.result) for answer in answers} == {("A1",)}


async def test_handler_cannot_send_a_command_with_the_id_of_its_own_command() -> None:
    class Recur(Command[None]):
        pass

    async def send_again(command: Recur) -> None:
        await mediator.send(command)

    handlers = HandlerRegistry()
    handlers.register_command_handler(Recur, send_again)
    inbox = InMemoryInbox()
    mediator = Mediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox),
        middlewares=[IdempotencyMiddleware()],
    )

    with pytest.raises(InvalidOperationError, match="Recur is sent with the command_id of a comma"):
        await mediator.send(Recur())


async def test_repeated_command_without_idempotency_middleware_is_handled_twice(
    theatre: Theatre,
) -> None:
    naive = Mediator(
        theatre.mediator._handlers, uow_factory=theatre.new_uow, middlewares=[OutboxMiddleware()]
    )
    command = Sell(hall_id="h", seat="A1")

    await naive.send(command)
    with pytest.raises(BusinessRuleError):
        await naive.send(command)

    assert theatre.handled == 2


async def test_failed_command_is_handled_again_when_it_is_repeated(theatre: Theatre) -> None:
    await theatre.mediator.send(Sell(hall_id="h", seat="A1"))
    again = Sell(hall_id="h", seat="A1")

    for _ in range(2):
        with pytest.raises(BusinessRuleError):
            await theatre.mediator.send(again)

    assert theatre.handled == 3


async def test_known_command_id_with_different_content_is_rejected(theatre: Theatre) -> None:
    await theatre.mediator.send(Sell(hall_id="h", seat="A1", command_id="c-1"))

    with pytest.raises(DuplicateCommandError, match="with id c-1 and different content") as caught:
        await theatre.mediator.send(Sell(hall_id="h", seat="A2", command_id="c-1"))

    assert caught.value.command_id == "c-1"
    assert theatre.handled == 1


async def test_command_cancelled_at_any_point_keeps_state_events_outbox_and_inbox_consistent(
    theatre: Theatre,
) -> None:
    command = Sell(hall_id="h", seat="A1")

    async def send() -> None:
        await theatre.mediator.send(command)

    async def check() -> None:
        hall = await theatre.halls.get("h")
        sold = len(hall.seats) if hall else 0
        assert len(await theatre.events.get_events("h")) == sold
        assert len(await theatre.outbox.get_pending()) == sold
        assert sold <= 1

    assert await cancel_sweep(send, check) > 3
    assert (await theatre.mediator.send(command)).result == ["A1"]
    assert await theatre.halls.get("h") is not None


async def test_inbox_consumer_handles_a_redelivered_message_once(
    theatre: Theatre,
) -> None:
    bus = InMemoryMessageBus(TopicRouting({"Ticket*": "tickets"}).find_topic)
    seen: list[tuple[Any, str | None, str | None]] = []

    async def note(message: OutboxMessage) -> None:
        seen.append((message.payload, get_correlation_id(), get_causation_id()))

    consumer = InboxConsumer("billing", note, uow_factory=theatre.new_uow)
    other = InboxConsumer("shipping", note, uow_factory=theatre.new_uow)
    await bus.subscribe("tickets", consumer)
    await bus.subscribe("tickets", other)
    response = await theatre.mediator.send(Sell(hall_id="h", seat="A1", correlation_id="request-1"))

    await OutboxRelay(theatre.outbox, bus).run_once()
    await bus.deliver()
    for _ in range(3):
        await bus.publish(bus.published[0])
    await bus.deliver()

    event_id = response.events[0].event_id
    assert seen == [({"seat": "A1"}, "request-1", event_id)] * 2


async def test_failing_inbox_consumer_rolls_back_and_receives_the_message_again(
    theatre: Theatre,
) -> None:
    bus = InMemoryMessageBus()
    tries: list[str] = []

    async def flaky(message: OutboxMessage) -> None:
        await theatre.halls.add(Hall(id=message.message_id))
        tries.append(message.message_id)
        if len(tries) < 3:
            raise LookupError("not yet")

    await bus.subscribe("ParcelWeighed", InboxConsumer("x", flaky, uow_factory=theatre.new_uow))
    sent = message("k")
    await bus.publish(sent)

    for _ in range(2):
        with pytest.raises(LookupError):
            await bus.deliver()
        assert await theatre.halls.list_all() == []
    await bus.deliver()
    await bus.deliver()

    assert tries == [sent.message_id] * 3
    assert [hall.id for hall in await theatre.halls.list_all()] == [sent.message_id]


async def test_inbox_consumer_rejects_a_message_that_is_not_json(theatre: Theatre) -> None:
    async def never(message: OutboxMessage) -> None:
        raise AssertionError("the consumer called its handler")

    consumer = InboxConsumer("x", never, uow_factory=theatre.new_uow)

    with pytest.raises(SerializationError, match="cannot be written as JSON"):
        await consumer(message("k", payload={"thing": object()}))


async def test_error_names_a_unit_of_work_without_outbox_or_inbox() -> None:
    class Bare(UnitOfWork):
        async def commit(self) -> None: ...

        async def rollback(self) -> None: ...

    async def next_(message: Any) -> CommandResponse[None]:
        return CommandResponse(None, [TicketSold(seat="A1")])

    for factory, text in ((Bare, "Bare carries no"), (InMemoryUnitOfWork, "has no")):
        with pytest.raises(InvalidOperationError, match=f"{text} outbox"):
            async with factory():
                await OutboxMiddleware()(Sell(hall_id="h", seat="A1"), next_)
        with pytest.raises(InvalidOperationError, match=f"{text} inbox"):
            async with factory():
                await IdempotencyMiddleware()(Sell(hall_id="h", seat="A1"), next_)


def test_topic_routing_uses_the_first_matching_pattern() -> None:
    routing = TopicRouting({"Parcel*": "parcels", "*": "rest"})

    assert routing.find_topic(message("k")) == "parcels"
    assert routing.find_topic(message("k", event_type="Other")) == "rest"
    assert TopicRouting().find_topic(message("k")) == "ParcelWeighed"


def test_outbox_message_decodes_to_its_original_event() -> None:
    hall = Hall(id="h-1")
    hall.add_event(
        TicketSold(seat="A1", metadata={"till": 3}, correlation_id="r-1", causation_id="c-1")
    )
    (event,) = hall.pending_events

    assert decode_event(OutboxMessage.from_event(event)) == event
    assert decode_event(OutboxMessage.from_event(TicketSold(seat="A1"))).aggregate_id is None


def test_event_registry_receives_the_schema_version_of_a_message() -> None:
    versions: list[object] = []

    class Watching(EventTypeRegistry):
        def decode(self, stored: StoredForm) -> DomainEvent:
            versions.append(getattr(stored, "schema_version", "nothing"))
            return super().decode(stored)

    events = Watching()
    events.register(TicketSold)
    message = OutboxMessage.from_event(TicketSold(seat="A1"))

    decode_event(message, events)
    decode_event(OutboxMessage("m-1", "TicketSold", {"seat": "A1"}), events)

    assert versions == [1, None]


def test_error_names_a_message_that_is_not_a_known_event() -> None:
    with pytest.raises(UnknownTypeError, match="TicketLost"):
        decode_event(OutboxMessage("m-1", "TicketLost", {}))
    with pytest.raises(SerializationError, match="TicketSold"):
        decode_event(OutboxMessage("m-1", "TicketSold", {"chair": "A1"}))
