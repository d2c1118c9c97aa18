"""An application on the in-memory backend: wiring, order of start and stop, and its services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Application,
    Command,
    ConfigError,
    DomainEvent,
    EventStorePersistenceMiddleware,
    IBackend,
    IdempotencyMiddleware,
    InvalidOperationError,
    LoggingMiddleware,
    OutboxMiddleware,
    OutboxRelay,
    PositionTimeoutError,
    Query,
    ReadOnlyError,
    ServiceState,
    standard_middlewares,
)
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_core.adapters.memory.backend import InMemoryBackend
from cqrs_ddd_core.adapters.memory.locking import InMemoryLockStrategy
from cqrs_ddd_core.application import (
    BackgroundService,
    IInlineService,
    ILag,
    IPositionWaiter,
    IService,
)
from cqrs_ddd_core.middleware import LockingMiddleware
from cqrs_ddd_core.ports import IMiddleware, Next, Placement
from cqrs_ddd_core.primitives.background_service import Loops


class Deposited(DomainEvent):
    cents: int


class Account(AggregateRoot[str]):
    cents: int = 0

    def deposit(self, cents: int) -> None:
        self.add_event(Deposited(cents=cents))

    def apply_Deposited(self, event: Deposited) -> None:
        self.cents += event.cents


class Deposit(Command[int]):
    account_id: str
    cents: int


class GetBalance(Query[int]):
    account_id: str


class Recorder(BackgroundService):
    """Service that records its start and its stop."""

    def __init__(self, name: str, steps: list[str]) -> None:
        super().__init__()
        self._name, self._steps = name, steps

    def create_loops(self) -> Loops:
        return (self._run,)

    async def _run(self) -> None:
        self._steps.append(f"start {self._name}")
        await self.wait(asyncio.sleep(3600))
        self._steps.append(f"stop {self._name}")


class RecordedService(IService):
    def __init__(self, name: str, steps: list[str]) -> None:
        self._name, self._steps = name, steps

    @property
    def name(self) -> str:
        return self._name

    def bind(self, backend: IBackend) -> BackgroundService:
        return Recorder(self._name, self._steps)


class RecordedBackend(InMemoryBackend):
    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self._steps = steps

    async def open(self) -> None:
        self._steps.append("open backend")

    async def close(self) -> None:
        self._steps.append("close backend")


def create_application(**options: Any) -> Application:
    app = Application(InMemoryBackend(), **options)
    accounts = app.backend.repository(Account)

    @app.command_handler
    async def deposit(command: Deposit) -> int:
        account = await accounts.get(command.account_id) or Account(id=command.account_id)
        account.deposit(command.cents)
        await accounts.add(account)
        return account.cents

    @app.query_handler
    async def get_balance(query: GetBalance) -> int:
        account = await accounts.get(query.account_id)
        return account.cents if account is not None else 0

    return app


async def test_application_handles_commands_once_and_answers_queries() -> None:
    command = Deposit(account_id="a-1", cents=250)

    async with create_application() as app:
        results = [(await app.send(command)).result for _ in range(2)]
        balance = (await app.query(GetBalance(account_id="a-1"))).result

    assert (results, balance) == ([250, 250], 250)
    assert len(await app.backend.event_store.get_events("a-1")) == 1


async def test_query_of_an_application_cannot_change_anything() -> None:
    app = create_application()
    accounts = app.backend.repository(Account)

    class CloseAccount(Query[None]):
        pass

    @app.query_handler(CloseAccount)
    async def close_account(query: CloseAccount) -> None:
        await accounts.add(Account(id="a-1"))

    async with app:
        with pytest.raises(ReadOnlyError, match="send a command"):
            await app.query(CloseAccount())

    assert await accounts.get("a-1") is None


async def test_application_without_a_publisher_saves_nothing_in_the_outbox() -> None:
    async with create_application() as app:
        await app.send(Deposit(account_id="a-1", cents=250))

    assert app.relay is None
    assert await app.backend.outbox.get_pending() == []


async def test_application_with_a_publisher_publishes_events_from_its_outbox() -> None:
    bus = InMemoryMessageBus()

    async with create_application(publisher=bus) as app:
        await app.send(Deposit(account_id="a-1", cents=250))
        for _ in range(1000):
            if bus.published:
                break
            await asyncio.sleep(0.001)

    assert [message.payload for message in bus.published] == [{"cents": 250}]


async def test_outbox_middleware_of_the_user_is_not_added_a_second_time() -> None:
    app = create_application(
        publisher=InMemoryMessageBus(), middlewares=standard_middlewares(OutboxMiddleware())
    )

    assert app.explain(Deposit).inside.count("OutboxMiddleware") == 1


def test_standard_middlewares_are_sorted_by_placement_and_order() -> None:
    locking = LockingMiddleware(InMemoryLockStrategy())

    found = standard_middlewares(OutboxMiddleware(), locking)

    assert [type(each) for each in found] == [
        LoggingMiddleware,
        LockingMiddleware,
        IdempotencyMiddleware,
        EventStorePersistenceMiddleware,
        OutboxMiddleware,
    ]


def test_given_middleware_replaces_the_recommended_one_of_its_class() -> None:
    mine = IdempotencyMiddleware(consumer="orders")

    found = standard_middlewares(mine)

    assert [each for each in found if isinstance(each, IdempotencyMiddleware)] == [mine]


async def test_application_opens_the_backend_first_and_closes_it_last() -> None:
    steps: list[str] = []
    services = [RecordedService(name, steps) for name in ("a", "b")]

    async with Application(RecordedBackend(steps), services=services):
        await asyncio.sleep(0.01)
        steps.append("work")

    assert steps == [
        "open backend",
        "start a",
        "start b",
        "work",
        "stop a",
        "stop b",
        "close backend",
    ]


async def test_application_opened_without_services_starts_none() -> None:
    steps: list[str] = []
    app = Application(InMemoryBackend(), services=[RecordedService("a", steps)])

    async with app.open(services=False):
        await asyncio.sleep(0.01)

    assert steps == []


async def test_application_closes_its_backend_when_a_service_cannot_start() -> None:
    steps: list[str] = []

    class Broken(Recorder):
        async def start(self) -> None:
            raise ConfigError("no such queue")

    class BrokenService(RecordedService):
        def bind(self, backend: IBackend) -> BackgroundService:
            return Broken("broken", steps)

    services = [RecordedService("a", steps), BrokenService("broken", steps)]
    with pytest.raises(ConfigError, match="no such queue"):
        async with Application(RecordedBackend(steps), services=services):
            steps.append("work")

    assert "work" not in steps
    assert steps[-1] == "close backend"


async def test_application_cannot_be_opened_twice_but_again_after_its_end() -> None:
    app = create_application()

    async with app:
        with pytest.raises(InvalidOperationError, match="is open already; close it first"):
            async with app.open():
                pass
    async with app:
        await app.send(Deposit(account_id="a-1", cents=1))


def test_two_services_of_one_name_are_rejected() -> None:
    services = [RecordedService("a", []), RecordedService("a", [])]

    with pytest.raises(ConfigError, match="two services are named 'a'"):
        Application(InMemoryBackend(), services=services)


async def test_application_runs_a_relay_with_options_of_its_own() -> None:
    bus, backend = InMemoryMessageBus(), InMemoryBackend()
    relay = OutboxRelay(backend.background.outbox, bus, batch=1)
    app = Application(backend, relay=relay)

    @app.command_handler(Deposit)
    async def deposit(command: Deposit) -> int:
        account = Account(id=command.account_id)
        account.deposit(command.cents)
        await backend.repository(Account).add(account)
        return account.cents

    async with app.open(services=False):
        for number in range(2):
            await app.send(Deposit(account_id=f"a-{number}", cents=1))

        assert app.relay is relay
        assert [await relay.run_once() for _ in range(3)] == [1, 1, 0]


def test_application_rejects_a_publisher_with_a_relay() -> None:
    backend, bus = InMemoryBackend(), InMemoryMessageBus()

    with pytest.raises(ConfigError, match="pass the publisher to the relay only"):
        Application(backend, publisher=bus, relay=OutboxRelay(backend.outbox, bus))


class RecordingMiddleware(IMiddleware):
    placement: ClassVar[Placement] = Placement.INSIDE
    order: ClassVar[int] = 10

    async def __call__(self, message: Any, next_: Next) -> Any:
        return await next_(message)


class InlineService(RecordedService, IInlineService):
    @property
    def middleware(self) -> IMiddleware | None:
        return RecordingMiddleware()

    async def prepare(self) -> None:
        self._steps.append(f"prepare {self._name}")


async def test_inline_service_is_prepared_at_each_opening_and_adds_its_middleware() -> None:
    steps: list[str] = []
    app = Application(RecordedBackend(steps), services=[InlineService("a", steps)])

    async with app.open(services=False):
        pass
    async with app:
        await asyncio.sleep(0.01)

    assert steps == [
        *("open backend", "prepare a", "close backend"),
        *("open backend", "prepare a", "start a", "stop a", "close backend"),
    ]
    inside = create_application(services=[InlineService("a", [])]).explain(Deposit).inside
    assert inside[:2] == ("RecordingMiddleware", "IdempotencyMiddleware")


async def test_cancelled_application_stops_its_services_before_it_ends() -> None:
    steps: list[str] = []

    async def run() -> None:
        async with Application(RecordedBackend(steps), services=[RecordedService("a", steps)]):
            await asyncio.sleep(3600)

    running = asyncio.ensure_future(run())
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert steps[-2:] == ["stop a", "close backend"]


async def test_service_that_ignores_its_stop_and_a_backend_that_hangs_are_abandoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stubborn(Recorder):
        async def _run(self) -> None:
            await asyncio.sleep(3600)

    class StubbornService(RecordedService):
        def bind(self, backend: IBackend) -> BackgroundService:
            return Stubborn("stubborn", [])

    class HangingBackend(InMemoryBackend):
        async def close(self) -> None:
            await asyncio.sleep(3600)

    caplog.set_level(logging.WARNING)
    app = Application(HangingBackend(), services=[StubbornService("stubborn", [])], grace=0.01)

    async with app:
        assert app.services["stubborn"].status.state is ServiceState.RUNNING

    assert "Stubborn is cancelled: not stopped in 0.01 s" in caplog.text
    assert "the backend is abandoned: not closed in its grace period" in caplog.text


class WaitingService(RecordedService, IPositionWaiter):
    """Service that has processed the events up to position 5."""

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        return position <= 5

    async def measure_lag(self) -> Mapping[str, ILag]:
        return {}


async def test_wait_for_returns_when_every_service_has_reached_the_position() -> None:
    app = Application(InMemoryBackend(), services=[WaitingService("counts", [])])

    await app.wait_for(5)
    await app.wait_for(None)
    with pytest.raises(PositionTimeoutError, match="counts has not reached position 6") as caught:
        await app.wait_for(6, timeout=0.1)

    assert (caught.value.service, caught.value.position) == ("counts", 6)
