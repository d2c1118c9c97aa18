from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    DomainEvent,
    EventStorePersistenceMiddleware,
    LoggingMiddleware,
    StoredEvent,
    UnitOfWork,
    ValidatorMiddleware,
)
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.ports.validation import ValidationResult
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    MissingIdentityError,
    OptimisticConcurrencyError,
    SerializationError,
    ValidationError,
)
from cqrs_ddd_core.validation import CompositeValidator, PydanticValidator


class Register(Command[str]):
    name: str
    age: int = 0


class Registered(DomainEvent):
    name: str


class Person(AggregateRoot[str]):
    name: str = ""


class Refusing:
    """A validator with one finding."""

    def __init__(self, field: str, text: str) -> None:
        self._finding = {field: (text,)}

    async def validate(self, obj: Any) -> ValidationResult:
        return ValidationResult(self._finding)


def _events(number: int = 1) -> list[DomainEvent]:
    person = Person(id="p-1")
    for count in range(number):
        person.add_event(Registered(name=f"name {count}"))
    return person.collect_events()


def _answering(response: CommandResponse[Any]) -> Callable[[Any], Any]:
    async def next_(message: Any) -> CommandResponse[Any]:
        return response

    return next_


async def test_a_message_that_went_well_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    caplog.set_level(logging.INFO)

    async def next_(message: Any) -> CommandResponse[str]:
        await clock.advance(0.25)
        return CommandResponse("done")

    response = await LoggingMiddleware(clock)(Register(name="secret"), next_)

    assert response.result == "done"
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "Register took 250.0 ms")


@pytest.mark.parametrize("error", [LookupError("in the handler"), asyncio.CancelledError()])
async def test_a_message_that_failed_is_a_warning_and_still_fails(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def next_(message: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        await LoggingMiddleware(FakeClock())(Register(name="x"), next_)

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"Register failed after 0.0 ms: {error!r}"


async def test_an_invalid_message_does_not_reach_its_handler() -> None:
    reached: list[Any] = []

    async def next_(message: Any) -> CommandResponse[None]:
        reached.append(message)
        return CommandResponse(None)

    validator = CompositeValidator(
        Refusing("name", "is taken"), Refusing("name", "is rude"), Refusing("", "comes too late")
    )

    with pytest.raises(ValidationError) as caught:
        await ValidatorMiddleware(validator)(Register(name="x"), next_)

    assert str(caught.value) == (
        "Register is not valid: name: is taken, is rude; message: comes too late"
    )
    assert caught.value.errors == {"name": ("is taken", "is rude"), "": ("comes too late",)}
    assert reached == []


async def test_a_valid_message_passes() -> None:
    response = CommandResponse("done")

    answer = await ValidatorMiddleware(PydanticValidator())(
        Register(name="x"), _answering(response)
    )

    assert answer is response


async def test_pydantic_finds_what_was_smuggled_past_it() -> None:
    smuggled = Register(name="x").model_copy(update={"age": "old"})

    verdict = await PydanticValidator().validate(smuggled)

    assert not verdict.is_valid
    assert set(verdict.errors) == {"age"}


async def test_pydantic_judges_by_another_model_and_refuses_what_is_no_model() -> None:
    class Adult(Register):
        age: int = 18

    assert (await PydanticValidator(Adult).validate({"name": "x", "age": 3})).is_valid
    assert not (await PydanticValidator(Adult).validate({"age": 3})).is_valid
    verdict = await PydanticValidator().validate("text")
    assert verdict.errors == {"": ("str is not a pydantic model",)}


async def test_events_are_appended_with_tenant_and_user() -> None:
    store = InMemoryEventStore()
    response = CommandResponse("done", _events(2))

    async with InMemoryUnitOfWork(event_store=store):
        with request_context(tenant_id="t-1", user_id="u-1"):
            answer = await EventStorePersistenceMiddleware()(
                Register(name="x"), _answering(response)
            )

    assert answer is response
    stored = await store.get_events("p-1")
    assert [event.payload for event in stored] == [{"name": "name 0"}, {"name": "name 1"}]
    assert stored[0].metadata == {"tenant_id": "t-1", "user_id": "u-1"}


async def test_events_that_a_repository_has_appended_are_left_out() -> None:
    store = InMemoryEventStore()
    appended, other = _events(2)

    async with InMemoryUnitOfWork(event_store=store) as uow:
        await uow.event_store.append(StoredEvent.from_event(appended))
        uow.aggregates.mark_appended(Person(id="p-1"), [appended])
        answer = await EventStorePersistenceMiddleware()(
            Register(name="x"), _answering(CommandResponse("done", (appended, other)))
        )

    assert [event.event_id for event in answer.events] == [appended.event_id, other.event_id]
    assert [event.version for event in await store.get_events("p-1")] == [1, 2]


async def test_where_all_are_appended_no_event_store_is_needed() -> None:
    events = _events(1)

    async with InMemoryUnitOfWork() as uow:
        uow.aggregates.mark_appended(Person(id="p-1"), events)
        await EventStorePersistenceMiddleware()(
            Register(name="x"), _answering(CommandResponse("done", events))
        )


async def test_without_events_no_event_store_is_needed() -> None:
    response = CommandResponse("done")

    async with InMemoryUnitOfWork():
        answer = await EventStorePersistenceMiddleware()(Register(name="x"), _answering(response))

    assert answer is response


async def test_a_unit_of_work_without_an_event_store_is_named() -> None:
    class Bare(UnitOfWork):
        async def commit(self) -> None: ...

        async def rollback(self) -> None: ...

    next_ = _answering(CommandResponse("done", _events()))
    with pytest.raises(InvalidOperationError, match="Bare carries no event_store; use a unit of"):
        async with Bare():
            await EventStorePersistenceMiddleware()(Register(name="x"), next_)
    with pytest.raises(InvalidOperationError, match="this unit of work has no event store; create"):
        async with InMemoryUnitOfWork():
            await EventStorePersistenceMiddleware()(Register(name="x"), next_)


async def test_events_that_cannot_be_stored_fail_the_command() -> None:
    class Opaque(DomainEvent, arbitrary_types_allowed=True):
        thing: object

    person = Person(id="p-1")
    person.add_event(Opaque(thing=object()))
    store = InMemoryEventStore()
    unstorable: list[tuple[list[DomainEvent], type[Exception]]] = [
        ([Registered(name="of nobody")], MissingIdentityError),
        (person.collect_events(), SerializationError),
        (_events() + _events(), OptimisticConcurrencyError),
    ]

    for events, error in unstorable:
        next_ = _answering(CommandResponse("done", events))
        with pytest.raises(error):
            async with InMemoryUnitOfWork(event_store=store):
                await EventStorePersistenceMiddleware()(Register(name="x"), next_)

    assert await store.latest_position() == 0
