from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandResponse,
    DomainEvent,
    EventStorePersistenceMiddleware,
    HandlerRegistry,
    IMiddleware,
    Mediator,
    Query,
    QueryResponse,
    get_causation_id,
    get_correlation_id,
    get_current_uow,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.cqrs import Plan
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.middleware import Placement
from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    HandlerNotRegisteredError,
    HandlerResultError,
    InvalidOperationError,
    MiddlewareError,
    OptimisticConcurrencyError,
    UnsavedChangesError,
)
from cqrs_ddd_core.testing.faults import cancel_sweep


class CounterRaised(DomainEvent):
    by: int


class Counter(AggregateRoot[str]):
    total: int = 0

    def raise_by(self, number: int) -> None:
        self.add_event(CounterRaised(by=number))

    def apply_CounterRaised(self, event: CounterRaised) -> None:
        self.total += event.by


class Noted(DomainEvent):
    text: str = ""


class Raise(Command[int]):
    counter: str
    by: int = 1


class RaiseTwo(Command[int]):
    first: str
    second: str


class Total(Query[int]):
    counter: str


@dataclass
class Shop:
    """Application on in-memory adapters."""

    counters: InMemoryRepository[Counter, str] = field(
        default_factory=lambda: InMemoryRepository(Counter)
    )
    events: InMemoryEventStore = field(default_factory=InMemoryEventStore)
    handlers: HandlerRegistry = field(default_factory=HandlerRegistry)
    units: list[InMemoryUnitOfWork] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handlers.register_command_handler(Raise, self.raise_)
        self.handlers.register_query_handler(Total, self.total)

    async def raise_(self, command: Raise) -> int:
        counter = await self.counters.get(command.counter) or Counter(id=command.counter)
        counter.raise_by(command.by)
        await self.counters.add(counter)
        return counter.total

    async def total(self, query: Total) -> int:
        counter = await self.counters.get(query.counter)
        return counter.total if counter else 0

    def new_uow(self) -> InMemoryUnitOfWork:
        self.units.append(InMemoryUnitOfWork(event_store=self.events))
        return self.units[-1]

    def mediator(self, *middlewares: IMiddleware) -> Mediator:
        return Mediator(self.handlers, uow_factory=self.new_uow, middlewares=middlewares)

    async def load_total(self, counter: str) -> int:
        found = await self.counters.get(counter)
        return found.total if found else 0


@pytest.fixture
def shop() -> Shop:
    return Shop()


class Passing(IMiddleware):
    """Middleware that logs when it is entered and left and whether a unit of work is open."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name = name
        self._log = log

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        self._note("in")
        response = await next_(message)
        self._note("out")
        return response

    def _note(self, way: str) -> None:
        place = "inside" if get_current_uow() else "outside"
        self._log.append(f"{self._name} {way} ({place})")


class Outer(Passing):
    pass


class Inner(Passing):
    placement: ClassVar[Placement] = Placement.INSIDE


async def test_mediator_returns_the_result_of_a_command_and_commits_its_changes(shop: Shop) -> None:
    response = await shop.mediator().send(Raise(counter="c", by=3))

    assert isinstance(response, CommandResponse)
    assert response.result == 3
    assert await shop.load_total("c") == 3


async def test_command_response_carries_the_events_and_the_position(shop: Shop) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())

    first = await mediator.send(Raise(counter="c"))
    second = await mediator.send(Raise(counter="c", by=4))

    assert [event.by for event in second.events if isinstance(event, CounterRaised)] == [4]
    assert (first.position, second.position) == (1, 2)
    stored = await shop.events.get_events("c")
    assert [event.version for event in stored] == [1, 2]
    assert stored[1].event_id == second.events[0].event_id


async def test_events_that_a_handler_returns_are_counted_once(shop: Shop) -> None:
    class Note(Command[str]):
        pass

    async def note(command: Note) -> CommandResponse[str]:
        counter = Counter(id="c")
        counter.raise_by(1)
        await shop.counters.add(counter)
        return CommandResponse("noted", [*counter.pending_events, Noted(text="own")])

    shop.handlers.register_command_handler(Note, note)

    response = await shop.mediator().send(Note())

    assert response.result == "noted"
    assert [event.event_type for event in response.events] == ["CounterRaised", "Noted"]


async def test_error_of_a_command_handler_rolls_back_and_reaches_the_sender(shop: Shop) -> None:
    class Fail(Command[None]):
        pass

    async def fail(command: Fail) -> None:
        await shop.raise_(Raise(counter="c"))
        raise BusinessRuleError("no")

    shop.handlers.register_command_handler(Fail, fail)

    with pytest.raises(BusinessRuleError, match="no"):
        await shop.mediator(EventStorePersistenceMiddleware()).send(Fail())

    assert await shop.load_total("c") == 0
    assert await shop.events.latest_position() == 0


async def test_nested_commands_share_one_unit_of_work_and_one_commit(shop: Shop) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())
    inner: list[CommandResponse[int]] = []

    async def raise_two(command: RaiseTwo) -> int:
        inner.append(await mediator.send(Raise(counter=command.first)))
        inner.append(await mediator.send(Raise(counter=command.second)))
        return 2

    shop.handlers.register_command_handler(RaiseTwo, raise_two)

    response = await mediator.send(RaiseTwo(first="a", second="b"))

    assert len(shop.units) == 1
    assert [event.aggregate_id for event in response.events] == ["a", "b"]
    assert response.position == 2
    assert [r.position for r in inner] == [None, None]
    assert await shop.events.latest_position() == 2


async def test_failing_root_command_rolls_its_nested_commands_back(shop: Shop) -> None:
    mediator = shop.mediator()

    async def raise_two(command: RaiseTwo) -> int:
        await mediator.send(Raise(counter=command.first))
        raise BusinessRuleError("after the first")

    shop.handlers.register_command_handler(RaiseTwo, raise_two)

    with pytest.raises(BusinessRuleError):
        await mediator.send(RaiseTwo(first="a", second="b"))

    assert await shop.load_total("a") == 0


async def test_mediator_joins_the_unit_of_work_of_the_caller_and_does_not_commit_it(
    shop: Shop,
) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())

    async with shop.new_uow() as uow:
        first = await mediator.send(Raise(counter="c"))
        second = await mediator.send(Raise(counter="c"))
        assert uow.is_open
        await uow.rollback()

    assert (first.result, second.result) == (1, 2)
    assert [len(response.events) for response in (first, second)] == [1, 1]
    assert await shop.load_total("c") == 0
    assert await shop.events.latest_position() == 0


async def test_event_handlers_run_inside_the_transaction_and_may_raise_further_events(
    shop: Shop,
) -> None:
    async def echo(event: CounterRaised) -> None:
        if event.aggregate_id == "c":
            await shop.raise_(Raise(counter="echo", by=event.by))

    shop.handlers.register_event_handler(CounterRaised, echo)

    response = await shop.mediator(EventStorePersistenceMiddleware()).send(Raise(counter="c", by=2))

    assert [event.aggregate_id for event in response.events] == ["c", "echo"]
    assert await shop.load_total("echo") == 2
    assert len(shop.units) == 1


async def test_failing_event_handler_rolls_the_command_back(shop: Shop) -> None:
    async def reject(event: CounterRaised) -> None:
        raise BusinessRuleError("not like this")

    shop.handlers.register_event_handler(CounterRaised, reject)

    with pytest.raises(BusinessRuleError, match="not like this"):
        await shop.mediator().send(Raise(counter="c"))

    assert await shop.load_total("c") == 0


async def test_command_sent_by_an_event_handler_is_part_of_the_root_command(shop: Shop) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())

    async def send(event: CounterRaised) -> None:
        if event.aggregate_id == "c":
            await mediator.send(Raise(counter="further"))

    shop.handlers.register_event_handler(CounterRaised, send)

    response = await mediator.send(Raise(counter="c"))

    assert [event.aggregate_id for event in response.events] == ["c", "further"]
    assert len(shop.units) == 1


async def test_endless_chain_of_event_handlers_is_stopped(shop: Shop) -> None:
    async def again(event: CounterRaised) -> None:
        await shop.raise_(Raise(counter="c"))

    shop.handlers.register_event_handler(CounterRaised, again)

    with pytest.raises(InvalidOperationError, match="after 100 rounds, the last CounterRaised"):
        await shop.mediator().send(Raise(counter="c"))

    assert await shop.load_total("c") == 0


async def test_correlation_and_causation_ids_follow_the_message(shop: Shop) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())
    seen: list[tuple[str | None, str | None]] = []

    async def look(event: CounterRaised) -> None:
        seen.append((get_correlation_id(), get_causation_id()))
        if event.aggregate_id == "c":
            await mediator.send(Raise(counter="d", command_id="command-2"))

    shop.handlers.register_event_handler(CounterRaised, look)

    response = await mediator.send(
        Raise(counter="c", command_id="command-1", correlation_id="request-1")
    )

    first, second = response.events
    assert (first.correlation_id, first.causation_id) == ("request-1", "command-1")
    assert (second.correlation_id, second.causation_id) == ("request-1", "command-2")
    assert seen == [("request-1", first.event_id), ("request-1", second.event_id)]
    assert (get_correlation_id(), get_causation_id()) == (None, None)
    (stored,) = await shop.events.get_events("c")
    assert (stored.correlation_id, stored.causation_id) == ("request-1", "command-1")


async def test_command_without_a_correlation_id_uses_its_own_id(shop: Shop) -> None:
    response = await shop.mediator().send(Raise(counter="c", command_id="command-1"))

    assert response.events[0].correlation_id == "command-1"


async def test_query_runs_without_a_unit_of_work(shop: Shop) -> None:
    mediator = shop.mediator()
    await mediator.send(Raise(counter="c", by=5))

    response = await mediator.query(Total(counter="c"))

    assert response == QueryResponse(5)
    assert len(shop.units) == 1


async def test_middlewares_run_in_order_around_the_unit_of_work(shop: Shop) -> None:
    log: list[str] = []

    class Second(Inner):
        pass

    mediator = shop.mediator(Outer("outer", log), Inner("first", log), Second("second", log))
    await mediator.send(Raise(counter="c"))
    await mediator.query(Total(counter="c"))

    assert log == [
        "outer in (outside)",
        "first in (inside)",
        "second in (inside)",
        "second out (inside)",
        "first out (inside)",
        "outer out (outside)",
        "outer in (outside)",
        "outer out (outside)",
    ]


async def test_inner_middlewares_run_once_for_a_root_with_nested_commands(shop: Shop) -> None:
    log: list[str] = []
    mediator = shop.mediator(Inner("inner", log))

    async def raise_two(command: RaiseTwo) -> int:
        await mediator.send(Raise(counter=command.first))
        await mediator.send(Raise(counter=command.second))
        return 2

    shop.handlers.register_command_handler(RaiseTwo, raise_two)

    await mediator.send(RaiseTwo(first="a", second="b"))

    assert log == ["inner in (inside)", "inner out (inside)"]


async def test_error_names_a_middleware_that_returns_no_response(shop: Shop) -> None:
    class WithoutResponse(IMiddleware):
        async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
            return None

    with pytest.raises(
        MiddlewareError, match="WithoutResponse returned a NoneType for Raise; return await"
    ):
        await shop.mediator(WithoutResponse()).send(Raise(counter="c"))

    assert await shop.load_total("c") == 0


async def test_middleware_can_return_its_own_response(shop: Shop) -> None:
    class Cached(IMiddleware):
        async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
            return QueryResponse(42) if isinstance(message, Total) else await next_(message)

    assert (await shop.mediator(Cached()).query(Total(counter="c"))).result == 42


@pytest.mark.parametrize("wrong", ["three", None, CommandResponse("three"), QueryResponse(3), 3.5])
async def test_error_names_a_handler_that_returns_the_wrong_type(shop: Shop, wrong: Any) -> None:
    class Count(Command[int]):
        pass

    async def count(command: Count) -> Any:
        await shop.raise_(Raise(counter="c"))
        return wrong

    shop.handlers.register_command_handler(Count, count)

    with pytest.raises(HandlerResultError, match=r"count returned .* for Count, not int") as caught:
        await shop.mediator().send(Count())

    assert caught.value.expected == "int"
    assert await shop.load_total("c") == 0


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_error_reports_a_handler_result_that_was_not_awaited(shop: Shop) -> None:
    class ReturnCoroutine(Command):
        pass

    async def return_coroutine(command: ReturnCoroutine) -> Any:
        return shop.load_total("c")

    shop.handlers.register_command_handler(ReturnCoroutine, return_coroutine)

    with pytest.raises(
        HandlerResultError, match=r"returned coroutine for ReturnCoroutine, .*; await it"
    ):
        await shop.mediator().send(ReturnCoroutine())


async def test_error_for_an_unknown_message_lists_known_messages(shop: Shop) -> None:
    class Rise(Command[int]):
        pass

    class Totals(Query[int]):
        pass

    with pytest.raises(HandlerNotRegisteredError, match="there are handlers for Raise") as caught:
        await shop.mediator().send(Rise())
    assert caught.value.message_type == "Rise"
    assert "call registry.register_command_handler(Rise, ...) first" in str(caught.value)
    with pytest.raises(HandlerNotRegisteredError, match=r"register_query_handler\(Totals"):
        await shop.mediator().query(Totals())


async def test_send_rejects_a_query_and_query_rejects_a_command(shop: Shop) -> None:
    query: Any = Total(counter="c")
    command: Any = Raise(counter="c")

    with pytest.raises(HandlerNotRegisteredError, match="send takes a Command, got Total"):
        await shop.mediator().send(query)
    with pytest.raises(HandlerNotRegisteredError, match="query takes a Query, got Raise"):
        await shop.mediator().query(command)


def test_explain_returns_the_plan_of_a_message(shop: Shop) -> None:
    mediator = shop.mediator(Outer("outer", []), EventStorePersistenceMiddleware())

    plan = mediator.explain(Raise)

    assert plan == Plan(
        message="Raise",
        outside=("Outer",),
        unit_of_work="Shop.new_uow",
        inside=("EventStorePersistenceMiddleware",),
        handler=f"{__name__}.Shop.raise_",
        needs_locks=False,
    )
    assert (mediator.explain(Total).unit_of_work, mediator.explain(Total).inside) == (None, ())


async def test_unsaved_changes_of_a_loaded_aggregate_fail_the_command(shop: Shop) -> None:
    class ChangeOnly(Command[None]):
        pass

    async def change_only(command: ChangeOnly) -> None:
        counter = await shop.counters.get("c")
        assert counter is not None
        counter.raise_by(1)

    shop.handlers.register_command_handler(ChangeOnly, change_only)
    mediator = shop.mediator()
    await mediator.send(Raise(counter="c"))

    with pytest.raises(UnsavedChangesError, match=r"call repository\.add"):
        await mediator.send(ChangeOnly())


async def test_concurrent_commands_on_one_aggregate_lose_no_update(shop: Shop) -> None:
    mediator = shop.mediator(EventStorePersistenceMiddleware())

    async def raise_until_done() -> None:
        while True:
            try:
                await mediator.send(Raise(counter="c"))
                return
            except OptimisticConcurrencyError:
                continue

    await asyncio.gather(*(raise_until_done() for _ in range(30)))

    assert await shop.load_total("c") == 30
    versions = [event.version for event in await shop.events.get_events("c")]
    assert versions == list(range(1, 31))


async def test_task_that_outlives_its_handler_has_its_own_transaction(shop: Shop) -> None:
    class Start(Command[None]):
        pass

    mediator = shop.mediator()
    ended = asyncio.Event()
    tasks: list[asyncio.Task[CommandResponse[int]]] = []

    async def send_later() -> CommandResponse[int]:
        await ended.wait()
        return await mediator.send(Raise(counter="c"))

    async def start(command: Start) -> None:
        tasks.append(asyncio.ensure_future(send_later()))

    shop.handlers.register_command_handler(Start, start)
    await mediator.send(Start())
    ended.set()
    await tasks[0]

    assert await shop.load_total("c") == 1
    assert len(shop.units) == 2


async def test_instrumentation_hooks_see_each_message_once(shop: Shop) -> None:
    seen: list[tuple[str, object]] = []

    @contextmanager
    def note(operation: Any) -> Any:
        seen.append((operation.name, operation.attributes["message_type"]))
        yield

    remove = hooks.register(note, operations="*.send")
    try:
        await shop.mediator().send(Raise(counter="c"))
        await shop.mediator().query(Total(counter="c"))
    finally:
        remove()

    assert seen == [("command.send", "Raise"), ("query.send", "Total")]


class SlowUnitOfWork(InMemoryUnitOfWork):
    """Unit of work that waits before and after its commit, like a remote database."""

    commits_in_task: ClassVar[bool] = True

    async def commit(self) -> None:
        await asyncio.sleep(0)
        await super().commit()
        await asyncio.sleep(0)


@pytest.mark.parametrize("unit_of_work", [InMemoryUnitOfWork, SlowUnitOfWork])
async def test_command_cancelled_at_any_point_commits_everything_or_nothing(
    unit_of_work: type[InMemoryUnitOfWork],
) -> None:
    shop = Shop()
    hook_runs: list[str] = []

    async def echo(event: CounterRaised) -> None:
        if event.aggregate_id == "c":
            await shop.raise_(Raise(counter="echo"))
        uow = get_current_uow()
        assert uow is not None
        uow.on_commit(record_commit)

    async def record_commit() -> None:
        hook_runs.append("hook")
        await asyncio.sleep(0)

    shop.handlers.register_event_handler(CounterRaised, echo)
    mediator = Mediator(
        shop.handlers,
        uow_factory=lambda: unit_of_work(event_store=shop.events),
        middlewares=[Outer("outer", []), EventStorePersistenceMiddleware()],
    )
    history: list[tuple[int, int]] = []

    async def send() -> None:
        await mediator.send(Raise(counter="c"))

    async def check() -> None:
        raised = await shop.load_total("c")
        assert await shop.load_total("echo") == raised
        for stream in ("c", "echo"):
            versions = [event.version for event in await shop.events.get_events(stream)]
            assert versions == list(range(1, raised + 1))
        assert len(hook_runs) == 2 * raised
        assert (get_current_uow(), get_correlation_id()) == (None, None)
        history.append((raised, len(hook_runs)))

    suspensions = await cancel_sweep(send, check)

    assert suspensions >= 6
    assert len(history) == suspensions + 1
    assert history[0] == (0, 0)
    assert history[-1][0] >= 1
