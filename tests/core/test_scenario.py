from __future__ import annotations

from typing import Any

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    DomainEvent,
    HandlerRegistry,
    Mediator,
)
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError, EntityNotFoundError
from cqrs_ddd_core.testing.scenario import given, given_sent


class Lent(DomainEvent):
    reader: str
    days: int = 14


class Returned(DomainEvent):
    pass


class Copy(AggregateRoot[str]):
    reader: str | None = None

    def lend(self, reader: str) -> str:
        if self.reader:
            raise BusinessRuleError(f"{self.id} is lent to {self.reader}")
        self.add_event(Lent(reader=reader))
        return reader

    def apply_Lent(self, event: Lent) -> None:
        self.reader = event.reader

    def apply_Returned(self, event: Returned) -> None:
        self.reader = None


class Lend(Command[str]):
    copy_id: str
    reader: str


@pytest.fixture
def mediator() -> Mediator:
    copies: InMemoryRepository[Copy, str] = InMemoryRepository(Copy)
    handlers = HandlerRegistry()

    async def lend(command: Lend) -> str:
        copy = await copies.get(command.copy_id) or Copy(id=command.copy_id)
        if command.copy_id == "lost":
            raise EntityNotFoundError("the copy is lost")
        copy.lend(command.reader)
        await copies.add(copy)
        return copy.id

    handlers.register_command_handler(Lend, lend)
    return Mediator(handlers, uow_factory=InMemoryUnitOfWork)


def test_scenario_checks_events_result_and_state() -> None:
    outcome = given(Copy, "c-1", Lent(reader="anna"), Returned()).when(lambda c: c.lend("berta"))

    outcome.then(Lent(reader="berta")).then_result("berta").then_state(reader="berta")


def test_scenario_checks_the_raised_error() -> None:
    outcome = given(Copy, "c-1", Lent(reader="anna")).when(lambda copy: copy.lend("berta"))

    outcome.then_raises(BusinessRuleError, "is lent to anna")


def test_scenario_shows_the_fields_that_differ() -> None:
    outcome = given(Copy, "c-1").when(lambda copy: copy.lend("berta"))

    with pytest.raises(AssertionError) as caught:
        outcome.then(Lent(reader="anna", days=7))

    assert str(caught.value) == (
        "the events differ:\n"
        "  1. Lent\n"
        "    reader: expected 'anna', got 'berta'\n"
        "    days: expected 7, got 14"
    )


def test_scenario_shows_missing_unexpected_and_different_events() -> None:
    def act(copy: Copy) -> None:
        copy.lend("anna")
        copy.add_event(Returned())

    outcome = given(Copy, "c-1").when(act)

    with pytest.raises(AssertionError, match=r"1. expected Returned\(\), got Lent\(reader='anna'"):
        outcome.then(Returned(), Returned())
    with pytest.raises(AssertionError, match=r"2. unexpected Returned\(\)"):
        outcome.then(Lent(reader="anna"))
    with pytest.raises(AssertionError, match=r"3. missing Lent\(reader='carla', days=14\)"):
        outcome.then(Lent(reader="anna"), Returned(), Lent(reader="carla"))
    with pytest.raises(AssertionError, match=r"1\. unexpected Lent"):
        outcome.then()


def test_scenario_chains_an_unexpected_error_as_the_cause() -> None:
    outcome = given(Copy, "c-1", Lent(reader="anna")).when(lambda copy: copy.lend("berta"))

    with pytest.raises(AssertionError, match="it raised BusinessRuleError") as caught:
        outcome.then()
    with pytest.raises(AssertionError, match="it raised BusinessRuleError"):
        outcome.then_result("berta")
    with pytest.raises(AssertionError, match="it raised BusinessRuleError"):
        outcome.then_state(reader="berta")

    assert isinstance(caught.value.__cause__, BusinessRuleError)


def test_scenario_fails_if_the_expected_error_is_missing_or_different() -> None:
    succeeded = given(Copy, "c-1").when(lambda copy: copy.lend("berta"))
    failed = given(Copy, "c-1", Lent(reader="anna")).when(lambda copy: copy.lend("berta"))

    with pytest.raises(AssertionError, match="expected BusinessRuleError, but nothing was raised"):
        succeeded.then_raises(BusinessRuleError)
    with pytest.raises(AssertionError, match="expected LookupError, got BusinessRuleError"):
        failed.then_raises(LookupError)
    with pytest.raises(AssertionError, match="expected BusinessRuleError 'is lost'"):
        failed.then_raises(BusinessRuleError, "is lost")


def test_scenario_fails_if_an_event_was_recorded_before_the_error() -> None:
    def act(copy: Copy) -> None:
        copy.lend("anna")
        raise BusinessRuleError("too late")

    with pytest.raises(AssertionError, match="before it raised, it recorded Lent"):
        given(Copy, "c-1").when(act).then_raises(BusinessRuleError)


def test_scenario_shows_a_wrong_result_or_state() -> None:
    outcome = given(Copy, "c-1").when(lambda copy: copy.lend("berta"))

    with pytest.raises(AssertionError, match="expected 'anna', got 'berta'"):
        outcome.then_result("anna")
    with pytest.raises(AssertionError, match="reader: expected None, got 'berta'"):
        outcome.then_state(reader=None)


async def test_message_scenario_sends_earlier_commands_first(mediator: Mediator) -> None:
    first = await given_sent(mediator).when(Lend(copy_id="c-1", reader="anna"))
    second = await given_sent(mediator, Lend(copy_id="c-2", reader="anna")).when(
        Lend(copy_id="c-2", reader="berta")
    )

    first.then(Lent(reader="anna")).then_result("c-1")
    second.then_raises(BusinessRuleError, "is lent to anna")
    with pytest.raises(AssertionError, match="there is no aggregate"):
        first.then_state(reader="anna")


async def test_message_scenario_raises_the_error_of_an_earlier_command(mediator: Mediator) -> None:
    lost: Any = Lend(copy_id="lost", reader="anna")

    with pytest.raises(EntityNotFoundError):
        await given_sent(mediator, lost).when(Lend(copy_id="c-1", reader="anna"))
