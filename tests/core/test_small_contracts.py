"""Clocks, ids, workers and validators keep their contracts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cqrs_ddd_core import Command
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryMessageBus,
    InMemoryOutbox,
    SequentialIdGenerator,
)
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import IClock, IValidator, SystemClock
from cqrs_ddd_core.primitives.id_generator import IIdGenerator, UUID4Generator, UUID7Generator
from cqrs_ddd_core.testing.contracts.background_worker import WorkerContract
from cqrs_ddd_core.testing.contracts.clock import ClockContract, Pass
from cqrs_ddd_core.testing.contracts.id_generator import IdGeneratorContract
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_core.testing.contracts.validation import ValidatorContract
from cqrs_ddd_core.validation import CompositeValidator, PydanticValidator


class TestFakeClock(ClockContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> Pass:
        return clock.advance


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> IClock:
        return SystemClock()

    @pytest.fixture
    def pass_time(self) -> Pass:
        return asyncio.sleep


@pytest.mark.parametrize("make", [UUID4Generator, UUID7Generator, SequentialIdGenerator])
class TestIdGenerators(IdGeneratorContract):
    @pytest.fixture
    def ids(self, make: Any) -> IIdGenerator:
        generator: IIdGenerator = make()
        return generator


class Sized(Command[None]):
    size: int


@pytest.mark.parametrize(
    "validator", [PydanticValidator(), CompositeValidator(PydanticValidator())]
)
class TestValidators(ValidatorContract):
    @pytest.fixture
    def validator(self, request: pytest.FixtureRequest) -> IValidator:
        validator: IValidator = request.param
        return validator

    @pytest.fixture
    def valid(self) -> Sized:
        return Sized(size=1)

    @pytest.fixture
    def invalid(self) -> Sized:
        return Sized(size=1).model_copy(update={"size": "large"})


class OutboxWork:
    """A relay's work is in its outbox."""

    def __init__(self) -> None:
        self.outbox, self.bus = InMemoryOutbox(), InMemoryMessageBus()

    async def give(self) -> str:
        given = message("k")
        await self.outbox.save_messages([given])
        return given.message_id

    async def done(self) -> list[str]:
        return [each.message_id for each in self.bus.published]


class TestOutboxRelay(WorkerContract):
    @pytest.fixture
    def work(self) -> OutboxWork:
        return OutboxWork()

    @pytest.fixture
    def worker(self, work: OutboxWork) -> OutboxRelay:
        return OutboxRelay(work.outbox, work.bus, poll_interval=0.01)


class LeavesItsTask(OutboxRelay):
    """Forgets to wait for its loop."""

    async def stop(self) -> None:
        self._task = None


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (LeavesItsTask, WorkerContract.test_stopping_leaves_no_task_behind),
        (LeavesItsTask, WorkerContract.test_it_works_between_start_and_stop),
    ],
)
async def test_the_contract_catches_a_naive_worker(mutant: Any, test: Any) -> None:
    work = OutboxWork()
    worker = mutant(work.outbox, work.bus, poll_interval=0.01)
    fixtures = {"worker": worker, "work": work}
    names = test.__code__.co_varnames[1 : test.__code__.co_argcount]

    with pytest.raises(AssertionError):
        await test(WorkerContract(), **{name: fixtures[name] for name in names})

    worker._stopping.set()
    await asyncio.sleep(0.05)


def test_the_contract_catches_ids_that_come_twice() -> None:
    class Clumsy(IIdGenerator):
        made = 0

        def next_id(self) -> str:
            self.made = (self.made + 1) % 1_000
            return str(self.made)

    with pytest.raises(AssertionError):
        IdGeneratorContract().test_no_id_comes_twice_also_among_threads(Clumsy())
