"""Contracts of the small ports, and naive implementations that the contracts catch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from cqrs_ddd_core import (
    Command,
    CommandResponse,
    DomainEvent,
    EventDispatcher,
    EventStorePersistenceMiddleware,
    HandlerRegistry,
    IMiddleware,
    LoggingMiddleware,
    Mediator,
    ValidatorMiddleware,
)
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryBackgroundWorker,
    InMemoryBlobStorage,
    InMemoryEventStore,
    InMemoryInbox,
    InMemoryLockStrategy,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
    InMemoryUnitOfWork,
    SequentialIdGenerator,
)
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.middleware import (
    IdempotencyMiddleware,
    LockingMiddleware,
    OutboxMiddleware,
)
from cqrs_ddd_core.ports import IClock, IEventUpcaster, IValidator, ValidationResult
from cqrs_ddd_core.primitives.exceptions import BusinessRuleError
from cqrs_ddd_core.primitives.id_generator import IIdGenerator, UUID4Generator, UUID7Generator
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.testing.contracts.background_worker import (
    BackgroundWorkerContract,
    WorkerContract,
)
from cqrs_ddd_core.testing.contracts.blob_storage import BlobStorageContract
from cqrs_ddd_core.testing.contracts.bus import BusContract, CountShouts, Shout
from cqrs_ddd_core.testing.contracts.clock import ClockContract, PassTime
from cqrs_ddd_core.testing.contracts.event_dispatcher import EventDispatcherContract, Subscribe
from cqrs_ddd_core.testing.contracts.id_generator import IdGeneratorContract
from cqrs_ddd_core.testing.contracts.middleware import MiddlewareContract
from cqrs_ddd_core.testing.contracts.outbox import message
from cqrs_ddd_core.testing.contracts.queue_signal import QueueSignalContract
from cqrs_ddd_core.testing.contracts.upcasting import UpcasterContract
from cqrs_ddd_core.testing.contracts.validation import ValidatorContract
from cqrs_ddd_core.validation import CompositeValidator, PydanticValidator


class TestFakeClock(ClockContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        return clock.advance


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> IClock:
        return SystemClock()

    @pytest.fixture
    def pass_time(self) -> PassTime:
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
    """Work of an outbox relay: the messages in its outbox."""

    def __init__(self) -> None:
        self.outbox, self.bus = InMemoryOutboxStorage(), InMemoryMessageBus()

    async def add_job(self) -> str:
        job = message("k")
        await self.outbox.save_messages([job])
        return job.message_id

    async def list_done(self) -> list[str]:
        return [each.message_id for each in self.bus.published]


class TestOutboxRelay(WorkerContract):
    @pytest.fixture
    def work(self) -> OutboxWork:
        return OutboxWork()

    @pytest.fixture
    def worker(self, work: OutboxWork) -> OutboxRelay:
        return OutboxRelay(work.outbox, work.bus, poll_interval=0.01)


class LeavesItsTask(OutboxRelay):
    """Wrong variant: does not wait for its task when it stops."""

    async def stop(self, grace: float | None = None) -> None:
        self._loops = []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (LeavesItsTask, WorkerContract.test_stopped_worker_leaves_no_running_task),
        (LeavesItsTask, WorkerContract.test_worker_processes_jobs_only_between_start_and_stop),
    ],
)
async def test_worker_contract_catches_a_worker_whose_task_runs_on_after_stop(
    mutant: Any, test: Any
) -> None:
    work = OutboxWork()
    worker = mutant(work.outbox, work.bus, poll_interval=0.01)
    fixtures = {"worker": worker, "work": work}
    names = test.__code__.co_varnames[1 : test.__code__.co_argcount]

    with pytest.raises(AssertionError):
        await test(WorkerContract(), **{name: fixtures[name] for name in names})

    worker._stopping.set()
    await asyncio.sleep(0.05)


def test_id_generator_contract_catches_a_generator_that_repeats_ids() -> None:
    class Repeating(IIdGenerator):
        number = 0

        def next_id(self) -> str:
            self.number = (self.number + 1) % 1_000
            return str(self.number)

    with pytest.raises(AssertionError):
        IdGeneratorContract().test_generated_ids_are_unique_across_threads(Repeating())


def _build_shouting_bus() -> Mediator:
    shouts: list[str] = []
    handlers = HandlerRegistry()

    async def shout(command: Shout) -> str:
        await asyncio.sleep(0)
        if not command.text:
            raise BusinessRuleError("nothing to shout")
        shouts.append(command.text)
        return command.text.upper()

    async def count(query: CountShouts) -> int:
        return len(shouts)

    handlers.register_command_handler(Shout, shout)
    handlers.register_query_handler(CountShouts, count)
    return Mediator(handlers, uow_factory=InMemoryUnitOfWork)


class TestMediator(BusContract):
    @pytest.fixture
    def bus(self) -> Mediator:
        return _build_shouting_bus()


class TestEventDispatcher(EventDispatcherContract):
    @pytest.fixture
    def handlers(self) -> HandlerRegistry:
        return HandlerRegistry()

    @pytest.fixture
    def dispatcher(self, handlers: HandlerRegistry) -> EventDispatcher:
        return EventDispatcher(handlers)

    @pytest.fixture
    def subscribe(self, handlers: HandlerRegistry) -> Subscribe:
        return handlers.register_event_handler


@pytest.mark.parametrize(
    "middleware",
    [
        LoggingMiddleware(),
        ValidatorMiddleware(PydanticValidator()),
        EventStorePersistenceMiddleware(),
        OutboxMiddleware(),
        IdempotencyMiddleware(),
        LockingMiddleware(InMemoryLockStrategy()),
    ],
    ids=lambda middleware: type(middleware).__name__,
)
class TestMiddlewares(MiddlewareContract):
    @pytest.fixture(autouse=True)
    async def unit_of_work(self) -> AsyncIterator[None]:
        async with InMemoryUnitOfWork(
            InMemoryEventStore(), InMemoryOutboxStorage(), InMemoryInbox()
        ) as uow:
            yield
            await uow.rollback()

    @pytest.fixture
    def middleware(self, request: pytest.FixtureRequest) -> IMiddleware:
        middleware: IMiddleware = request.param
        return middleware


class NamesInOneField(IEventUpcaster):
    event_type = "PersonRegistered"
    source_version = 1

    def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        rest = {k: v for k, v in payload.items() if k not in ("first", "last")}
        return {**rest, "name": f"{payload['first']} {payload['last']}"}


class TestUpcaster(UpcasterContract):
    @pytest.fixture
    def upcaster(self) -> IEventUpcaster:
        return NamesInOneField()

    @pytest.fixture
    def old(self) -> dict[str, Any]:
        return {"first": "Ada", "last": "Lovelace", "tags": ["x"]}


class TestInMemoryBackgroundWorker(BackgroundWorkerContract):
    @pytest.fixture
    def handled(self) -> list[Any]:
        return []

    @pytest.fixture
    def worker(self, handled: list[Any]) -> InMemoryBackgroundWorker:
        async def handle(job: Any) -> None:
            await asyncio.sleep(0)
            if job == "poison":
                raise LookupError("poison")
            handled.append(job)

        return InMemoryBackgroundWorker(handle)


class Swallowing(IMiddleware):
    """Wrong variant: returns a response although the handler failed."""

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            return await next_(message)
        except BaseException:
            return CommandResponse("done")


@pytest.mark.parametrize(
    "test",
    [
        MiddlewareContract.test_handler_error_passes_through_the_middleware_unchanged,
        MiddlewareContract.test_cancellation_passes_through_the_middleware,
    ],
)
async def test_middleware_contract_catches_a_middleware_that_swallows_errors(test: Any) -> None:
    with pytest.raises(AssertionError):
        await test(MiddlewareContract(), Swallowing())


def test_upcaster_contract_catches_an_upcaster_that_modifies_its_payload() -> None:
    class Mutating(NamesInOneField):
        def upcast(self, payload: Mapping[str, Any]) -> dict[str, Any]:
            changed: Any = payload
            changed["name"] = changed.pop("first")
            return dict(changed)

    with pytest.raises(AssertionError):
        UpcasterContract().test_upcaster_does_not_modify_the_old_payload(
            Mutating(), {"first": "Ada"}
        )


async def test_event_dispatcher_contract_catches_a_dispatcher_that_ignores_errors() -> None:
    handlers = HandlerRegistry()

    class Lenient(EventDispatcher):
        async def dispatch(self, events: Sequence[DomainEvent]) -> None:
            for event in events:
                with suppress(LookupError):
                    await super().dispatch([event])

    with pytest.raises(AssertionError):
        await EventDispatcherContract().test_failing_event_handler_ends_dispatch_with_its_error(
            Lenient(handlers), handlers.register_event_handler
        )


async def test_background_worker_contract_catches_a_worker_that_dies_of_a_failed_job() -> None:
    handled: list[Any] = []

    class Mortal(InMemoryBackgroundWorker):
        async def _run(self) -> None:
            with suppress(LookupError):
                while not self.is_stopping:
                    while self._jobs:
                        await self._handler(self._jobs.popleft()[1])
                    await self.wait(asyncio.sleep(0))

    async def handle(job: Any) -> None:
        if job == "poison":
            raise LookupError
        handled.append(job)

    contract = BackgroundWorkerContract()
    judged = contract.test_failing_job_does_not_stop_later_jobs_of_the_background_worker(
        Mortal(handle), handled
    )
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(judged, timeout=0.2)

    assert handled == ["one"]


class KeepsTheBuffer(InMemoryBlobStorage):
    """Wrong variant: keeps the buffer that the caller can still change."""

    async def save(self, key: str, content: bytes, *, content_type: str | None = None) -> None:
        await super().save(key, b"")
        self._contents["", key] = content


class WakesOne(InMemoryQueueSignal):
    """Wrong variant: wakes one waiter, like a semaphore."""

    async def notify(self, channel: str) -> None:
        for waiter in list(self._waiters._waiting.get(channel, ()))[:1]:
            waiter.set_result(None)


class NeverSleeps(FakeClock):
    """Wrong variant: does not sleep."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class RaisesItsErrors(PydanticValidator):
    """Wrong variant: raises its errors instead of returning them."""

    async def validate(self, obj: Any) -> ValidationResult:
        outcome = await super().validate(obj)
        if not outcome.is_valid:
            raise AssertionError(outcome.errors)
        return outcome


class SharesOneResponse:
    """Wrong variant: keeps one slot for the responses of concurrent commands."""

    def __init__(self, bus: Mediator) -> None:
        self._bus = bus
        self._answer: Any = None

    async def send(self, command: Any) -> Any:
        self._answer = await self._bus.send(command)
        await asyncio.sleep(0)
        return self._answer

    async def query(self, query: Any) -> Any:
        return await self._bus.query(query)


async def test_contract_of_each_small_port_catches_a_wrong_implementation() -> None:
    blobs = BlobStorageContract().test_saving_a_blob_again_replaces_its_whole_content(
        KeepsTheBuffer()
    )
    with pytest.raises(AssertionError):
        await blobs

    signal = QueueSignalContract().test_notification_wakes_all_waiters_of_its_channel(WakesOne())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(signal, timeout=0.5)

    clock = NeverSleeps()
    sleeper = ClockContract().test_clock_sleep_ends_after_its_duration_and_not_before(
        clock, clock.advance
    )
    with pytest.raises(AssertionError):
        await sleeper

    outcome = ValidatorContract().test_validator_returns_errors_by_field_instead_of_raising(
        RaisesItsErrors(), Sized(size=1).model_copy(update={"size": "large"})
    )
    with pytest.raises(AssertionError):
        await outcome


async def test_bus_contract_catches_a_bus_that_mixes_up_responses() -> None:
    bus: Any = SharesOneResponse(_build_shouting_bus())

    with pytest.raises(AssertionError):
        await BusContract().test_bus_returns_each_of_many_concurrent_commands_its_own_response(bus)
