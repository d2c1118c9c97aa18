from __future__ import annotations

import asyncio
import logging
import re
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


class RejectingValidator:
    """Validator that reports one error."""

    def __init__(self, field: str, text: str) -> None:
        self._finding = {field: (text,)}

    async def validate(self, obj: Any) -> ValidationResult:
        return ValidationResult(self._finding)


def _events(number: int = 1) -> list[DomainEvent]:
    person = Person(id="p-1")
    for count in range(number):
        person.add_event(Registered(name=f"name {count}"))
    return person.collect_events()


def _build_next(response: CommandResponse[Any]) -> Callable[[Any], Any]:
    async def next_(message: Any) -> CommandResponse[Any]:
        return response

    return next_


async def test_logging_middleware_logs_a_successful_message_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
async def test_logging_middleware_logs_a_failed_message_as_a_warning_and_reraises(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def next_(message: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        await LoggingMiddleware(FakeClock())(Register(name="x"), next_)

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    # The text of an error from outside the toolkit may hold values.
    name = "LookupError" if isinstance(error, LookupError) else "asyncio.exceptions.CancelledError"
    place = r"at test_middleware\.py:\d+ in next_"
    assert re.fullmatch(rf"Register failed after 0\.0 ms: {name} {place}", record.getMessage())


async def test_validator_middleware_keeps_an_invalid_message_from_its_handler() -> None:
    reached: list[Any] = []

    async def next_(message: Any) -> CommandResponse[None]:
        reached.append(message)
        return CommandResponse(None)

    validator = CompositeValidator(
        RejectingValidator("name", "is taken"),
        RejectingValidator("name", "is rude"),
        RejectingValidator("", "comes too late"),
    )

    with pytest.raises(ValidationError) as caught:
        await ValidatorMiddleware(validator)(Register(name="x"), next_)

    assert str(caught.value) == (
        "Register is not valid: name: is taken, is rude; message: comes too late"
    )
    assert caught.value.errors == {"name": ("is taken", "is rude"), "": ("comes too late",)}
    assert reached == []


async def test_validator_middleware_passes_a_valid_message() -> None:
    response = CommandResponse("done")

    answer = await ValidatorMiddleware(PydanticValidator())(
        Register(name="x"), _build_next(response)
    )

    assert answer is response


async def test_pydantic_validator_finds_invalid_data_that_was_never_validated() -> None:
    unvalidated = Register(name="x").model_copy(update={"age": "old"})

    outcome = await PydanticValidator().validate(unvalidated)

    assert not outcome.is_valid
    assert set(outcome.errors) == {"age"}


async def test_pydantic_validator_uses_a_given_model_and_rejects_objects_without_one() -> None:
    class Adult(Register):
        age: int = 18

    assert (await PydanticValidator(Adult).validate({"name": "x", "age": 3})).is_valid
    assert not (await PydanticValidator(Adult).validate({"age": 3})).is_valid
    outcome = await PydanticValidator().validate("text")
    assert outcome.errors == {"": ("str is not a pydantic model",)}


async def test_event_store_middleware_appends_events_with_tenant_and_user() -> None:
    store = InMemoryEventStore()
    response = CommandResponse("done", _events(2))

    async with InMemoryUnitOfWork(event_store=store):
        with request_context(tenant_id="t-1", user_id="u-1"):
            answer = await EventStorePersistenceMiddleware()(
                Register(name="x"), _build_next(response)
            )

    assert answer is response
    with request_context(tenant_id="t-1"):
        stored = await store.get_events("p-1")
    assert [event.payload for event in stored] == [{"name": "name 0"}, {"name": "name 1"}]
    assert stored[0].metadata == {"tenant_id": "t-1", "user_id": "u-1"}


async def test_event_store_middleware_skips_events_that_a_repository_has_appended() -> None:
    store = InMemoryEventStore()
    appended, other = _events(2)

    async with InMemoryUnitOfWork(event_store=store) as uow:
        await uow.event_store.append(StoredEvent.from_event(appended))
        uow.aggregates.mark_appended(Person(id="p-1"), [appended])
        answer = await EventStorePersistenceMiddleware()(
            Register(name="x"), _build_next(CommandResponse("done", (appended, other)))
        )

    assert [event.event_id for event in answer.events] == [appended.event_id, other.event_id]
    assert [event.version for event in await store.get_events("p-1")] == [1, 2]


async def test_event_store_middleware_needs_no_store_if_all_events_are_appended() -> None:
    events = _events(1)

    async with InMemoryUnitOfWork() as uow:
        uow.aggregates.mark_appended(Person(id="p-1"), events)
        await EventStorePersistenceMiddleware()(
            Register(name="x"), _build_next(CommandResponse("done", events))
        )


async def test_event_store_middleware_needs_no_store_without_events() -> None:
    response = CommandResponse("done")

    async with InMemoryUnitOfWork():
        answer = await EventStorePersistenceMiddleware()(Register(name="x"), _build_next(response))

    assert answer is response


async def test_error_names_a_unit_of_work_without_an_event_store() -> None:
    class Bare(UnitOfWork):
        async def commit(self) -> None: ...

        async def rollback(self) -> None: ...

    next_ = _build_next(CommandResponse("done", _events()))
    with pytest.raises(InvalidOperationError, match="Bare carries no event_store; use a unit of"):
        async with Bare():
            await EventStorePersistenceMiddleware()(Register(name="x"), next_)
    with pytest.raises(InvalidOperationError, match="this unit of work has no event store; create"):
        async with InMemoryUnitOfWork():
            await EventStorePersistenceMiddleware()(Register(name="x"), next_)


async def test_events_that_cannot_be_stored_fail_the_command() -> None:
    class Opaque(DomainEvent, arbitrary_types_allowed=True):
        thing: object

    place: dict[str, Any] = {
        "aggregate_id": "p-1",
        "aggregate_type": "Person",
        "aggregate_version": 1,
    }
    store = InMemoryEventStore()
    unstorable: list[tuple[list[DomainEvent], type[Exception]]] = [
        ([Registered(name="not recorded")], MissingIdentityError),
        ([Opaque(thing=object(), **place)], SerializationError),
        (_events() + _events(), InvalidOperationError),
    ]

    for events, error in unstorable:
        next_ = _build_next(CommandResponse("done", events))
        with pytest.raises(error):
            async with InMemoryUnitOfWork(event_store=store):
                await EventStorePersistenceMiddleware()(Register(name="x"), next_)

    assert await store.latest_position() == 0
