"""Tests of the middleware that retries commands after a conflict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any, ClassVar

import pytest

from cqrs_ddd_advanced_core.conflict import CONFLICT_RETRY, ConflictRetryMiddleware
from cqrs_ddd_core import (
    Command,
    HandlerRegistry,
    IMiddleware,
    LoggingMiddleware,
    Mediator,
    Query,
    UnitOfWork,
    ValidatorMiddleware,
    get_current_uow,
)
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryInbox,
    InMemoryLockStrategy,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_core.middleware import IdempotencyMiddleware, LockingMiddleware
from cqrs_ddd_core.ports import Placement, ResourceIdentifier, ValidationResult
from cqrs_ddd_core.primitives.exceptions import (
    AlreadyExistsError,
    BusinessRuleError,
    CommitOutcomeUnknownError,
    ConcurrencyError,
    DuplicateEventError,
    LeaseLostError,
    LockAcquisitionError,
    OptimisticConcurrencyError,
)
from cqrs_ddd_core.primitives.retry import (
    ExponentialBackoffPolicy,
    FixedRetryPolicy,
    NoRetry,
    RetryPolicy,
)
from cqrs_ddd_core.testing.contracts.middleware import MiddlewareContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel, load_parcel, store_parcel
from cqrs_ddd_core.testing.faults import cancel_sweep

CONFLICT = OptimisticConcurrencyError("conflict", subject="Parcel 1", expected=1, actual=2)


class Weigh(Command[int]):
    """Command that adds to the weight; a rival changes it first in ``rivals`` attempts."""

    parcel_id: str = "none"
    rivals: int = 0

    def lock_keys(self) -> list[ResourceIdentifier]:
        return [ResourceIdentifier("parcel", self.parcel_id)]


class WeighTwice(Command[int]):
    parcel_id: str
    rivals: int = 0


class GetWeight(Query[int]):
    pass


class RecordingClock(FakeClock):
    """Clock that records each wait instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


class Depot:
    """Mediator over one repository; ``attempts`` are the aggregates that a handler loaded."""

    def __init__(
        self, *middlewares: IMiddleware, parcels: InMemoryRepository[Parcel, str] | None = None
    ) -> None:
        self.parcels = parcels or InMemoryRepository(Parcel)
        self.attempts: list[Parcel] = []
        self.weights: list[int | None] = []
        self.units: list[UnitOfWork | None] = []
        handlers = HandlerRegistry()
        handlers.register_command_handler(Weigh, self.weigh)
        handlers.register_command_handler(WeighTwice, self.weigh_twice)
        handlers.register_query_handler(GetWeight, self.get_weight)
        inbox = InMemoryInbox()
        self.mediator = Mediator(
            handlers,
            uow_factory=lambda: InMemoryUnitOfWork(inbox=inbox),
            middlewares=middlewares,
        )

    async def load(self, parcel_id: str) -> Parcel:
        return await load_parcel(self.parcels, parcel_id)

    async def weigh(self, command: Weigh) -> int:
        self.units.append(get_current_uow())
        parcel = await self.load(command.parcel_id)
        self.weights.append(parcel.grams)
        parcel.note = "a change by hand"
        parcel.weigh((parcel.grams or 0) + 1)
        self.attempts.append(parcel)
        if len(self.attempts) <= command.rivals:
            await self.change_as_rival(command.parcel_id)
        await self.parcels.add(parcel)
        return parcel.grams or 0

    async def change_as_rival(self, parcel_id: str) -> None:
        async with InMemoryUnitOfWork() as other:
            parcel = await self.parcels.get(parcel_id, other)
            assert parcel is not None
            parcel.grams = (parcel.grams or 0) + 100
            await self.parcels.add(parcel, other)

    async def weigh_twice(self, command: WeighTwice) -> int:
        weigh = Weigh(parcel_id=command.parcel_id, rivals=command.rivals)
        await self.mediator.send(weigh)
        return (await self.mediator.send(weigh)).result

    async def get_weight(self, query: GetWeight) -> int:
        self.attempts.append(Parcel.register("none", "anna"))
        raise CONFLICT


def retry_at_once(max_attempts: int = 5) -> ConflictRetryMiddleware:
    return ConflictRetryMiddleware(RetryPolicy(max_attempts))


async def let_tasks_wait() -> None:
    """Yield until every task waits for the clock or for a lock."""
    for _ in range(200):
        await asyncio.sleep(0)


async def count_attempts(errors: Sequence[BaseException], retrying: IMiddleware) -> int:
    """Return how often the message was handled while ``errors`` were raised, one per attempt."""
    left, attempts = list(errors), 0

    async def next_(message: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if left:
            raise left.pop(0)

    await retrying(Weigh(), next_)
    return attempts


class TestConflictRetryMiddleware(MiddlewareContract):
    @pytest.fixture
    def middleware(self) -> IMiddleware:
        return ConflictRetryMiddleware()


async def test_conflict_retry_runs_the_whole_command_again() -> None:
    depot = Depot(retry_at_once())
    parcel = await store_parcel(depot.parcels)

    response = await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert response.result == 201
    assert depot.weights == [None, 100, 200]
    stored = await load_parcel(depot.parcels, parcel.id)
    assert (stored.grams, stored.version) == (201, 4)
    assert [event.aggregate_version for event in response.events] == [4]


class LoadOrRegister(Command[str]):
    """Command for the parcel of an id; a rival may register it first."""

    parcel_id: str
    looks: bool = True


@pytest.mark.parametrize("looks", [True, False])
async def test_taken_id_is_retried_only_if_the_handler_had_looked_for_it(looks: bool) -> None:
    parcels, attempts = InMemoryRepository[Parcel, str](Parcel), 0

    async def load_or_register(command: LoadOrRegister) -> str:
        nonlocal attempts
        attempts += 1
        found = await parcels.get(command.parcel_id) if command.looks else None
        if attempts == 1:
            async with InMemoryUnitOfWork() as rival:
                await parcels.add(Parcel.register(command.parcel_id, "anna"), rival)
        if found is None:
            found = Parcel.register(command.parcel_id, "berta")
            await parcels.add(found)
        return found.owner

    handlers = HandlerRegistry()
    handlers.register_command_handler(LoadOrRegister, load_or_register)
    mediator = Mediator(handlers, uow_factory=InMemoryUnitOfWork, middlewares=[retry_at_once()])
    send = mediator.send(LoadOrRegister(parcel_id="p-1", looks=looks))

    if looks:
        assert (await send).result == "anna"
    else:
        with pytest.raises(AlreadyExistsError, match="Parcel p-1 exists already, at version 1"):
            await send
    assert attempts == (2 if looks else 1)


async def test_every_attempt_has_a_new_unit_of_work_and_a_freshly_loaded_aggregate() -> None:
    depot = Depot(retry_at_once())
    parcel = await store_parcel(depot.parcels, note="as stored")
    notes = []
    load = depot.load

    async def load_and_note(parcel_id: str) -> Parcel:
        found = await load(parcel_id)
        notes.append((found.note, found.uncommitted_event_count))
        return found

    depot.load = load_and_note  # type: ignore[method-assign]
    await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert notes == [("as stored", 0)] * 3
    assert len({id(unit) for unit in depot.units}) == 3
    assert get_current_uow() is None


async def test_retry_of_a_handler_that_does_not_reload_its_aggregate_never_succeeds() -> None:
    depot = Depot(retry_at_once(max_attempts=3))
    parcel = await store_parcel(depot.parcels)
    kept: dict[str, Parcel] = {}
    load = depot.load

    async def load_once(parcel_id: str) -> Parcel:
        return kept.get(parcel_id) or kept.setdefault(parcel_id, await load(parcel_id))

    depot.load = load_once  # type: ignore[method-assign]
    with pytest.raises(OptimisticConcurrencyError):
        await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    assert len(depot.attempts) == 3


class ReplacedError(ConcurrencyError):
    """Conflict error of an adapter."""


@pytest.mark.parametrize(
    "conflict",
    [CONFLICT, ConcurrencyError("deadlock"), ReplacedError("the collection was replaced")],
)
async def test_conflict_retry_repeats_after_concurrency_errors(conflict: ConcurrencyError) -> None:
    assert await count_attempts([conflict, conflict], retry_at_once()) == 3


@pytest.mark.parametrize(
    "error",
    [
        LockAcquisitionError("taken"),
        LeaseLostError("gone"),
        CommitOutcomeUnknownError("connection lost"),
        DuplicateEventError("stored already"),
        BusinessRuleError("no"),
        ValueError("a bug"),
        asyncio.CancelledError(),
    ],
)
async def test_conflict_retry_does_not_repeat_after_other_errors(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await count_attempts([error], retry_at_once())

    assert caught.value is error


@pytest.mark.parametrize("attempts", [1, 3])
async def test_last_conflict_is_raised_unchanged_and_the_attempts_are_logged(
    attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = OptimisticConcurrencyError("first"), CONFLICT

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await count_attempts(
            [*[first] * (attempts - 1), last, first], retry_at_once(max_attempts=attempts)
        )

    assert caught.value is last
    assert caught.value.__context__ is None
    assert (last.subject, last.expected, last.actual) == ("Parcel 1", 1, 2)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert f"after {attempts} tries" in line.getMessage()
    assert "Weigh" in line.getMessage()


class EndlessRetry(IMiddleware):
    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                await asyncio.sleep(0)


async def test_attempt_count_catches_a_retry_middleware_without_a_limit() -> None:
    assert await count_attempts([CONFLICT] * 1000, EndlessRetry()) == 1001
    with pytest.raises(OptimisticConcurrencyError):
        await count_attempts([CONFLICT] * 1000, ConflictRetryMiddleware())


async def test_conflict_retry_with_no_retry_policy_makes_one_attempt() -> None:
    with pytest.raises(OptimisticConcurrencyError):
        await count_attempts([CONFLICT], ConflictRetryMiddleware(NoRetry()))


async def test_conflict_retry_runs_a_query_once() -> None:
    depot = Depot(retry_at_once())

    with pytest.raises(OptimisticConcurrencyError):
        await depot.mediator.query(GetWeight())

    assert len(depot.attempts) == 1


async def test_conflict_in_a_nested_command_retries_the_outermost_command() -> None:
    depot = Depot(retry_at_once())
    parcel = await store_parcel(depot.parcels)

    response = await depot.mediator.send(WeighTwice(parcel_id=parcel.id, rivals=1))

    assert response.result == 102
    assert depot.weights == [None, 100, 101]
    stored = await load_parcel(depot.parcels, parcel.id)
    assert (stored.grams, stored.version) == (102, 4)


async def test_conflict_in_the_unit_of_work_of_the_caller_is_not_retried() -> None:
    depot = Depot(retry_at_once())
    parcel = await store_parcel(depot.parcels)

    with pytest.raises(OptimisticConcurrencyError):
        async with InMemoryUnitOfWork():
            await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    assert len(depot.attempts) == 1


class InnerRetry(IMiddleware):
    """Retry within the unit of work that failed."""

    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        for _ in range(3):
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                continue
        return await next_(message)


class EveryLevelRetry(IMiddleware):
    """Retry at every level, even in the unit of work of another command."""

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        for _ in range(3):
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                continue
        return await next_(message)


@pytest.mark.parametrize(
    ("naive", "command"), [(InnerRetry(), Weigh), (EveryLevelRetry(), WeighTwice)]
)
async def test_unit_of_work_catches_a_middleware_that_retries_in_the_failed_transaction(
    naive: IMiddleware, command: type[Weigh | WeighTwice]
) -> None:
    depot = Depot(naive)
    parcel = await store_parcel(depot.parcels)

    with pytest.raises(Exception, match="can only be rolled back") as caught:
        await depot.mediator.send(command(parcel_id=parcel.id, rivals=1))

    assert "start a new one" in str(caught.value)
    stored = await load_parcel(depot.parcels, parcel.id)
    assert stored.grams in (None, 100)


async def test_conflict_retry_waits_as_the_policy_defines_but_not_after_the_last_attempt() -> None:
    clock = RecordingClock()
    policy = ExponentialBackoffPolicy(
        max_attempts=4, base=1.0, maximum=3.0, random=Random(20261121).random
    )
    expected = Random(20261121)

    with pytest.raises(OptimisticConcurrencyError):
        await count_attempts([CONFLICT] * 9, ConflictRetryMiddleware(policy, clock=clock))

    assert clock.waits == [ceiling * expected.random() for ceiling in (1.0, 2.0, 3.0)]


def test_default_conflict_retry_is_bounded_and_has_full_jitter() -> None:
    assert CONFLICT_RETRY.max_attempts == 5
    assert CONFLICT_RETRY.jitter == 1.0
    assert CONFLICT_RETRY.base <= 0.02


async def test_jitter_gives_concurrent_retries_different_waits() -> None:
    def sample_backoffs(policy: RetryPolicy) -> set[float]:
        return {policy.get_backoff(1) for _ in range(50)}

    assert len(sample_backoffs(CONFLICT_RETRY)) > 40
    assert len(sample_backoffs(FixedRetryPolicy(delay=0.01))) == 1


async def test_conflict_retry_reports_every_wait_to_the_hooks() -> None:
    depot = Depot(ConflictRetryMiddleware(RetryPolicy(5), clock=RecordingClock()))
    parcel = await store_parcel(depot.parcels)
    operations: list[Operation] = []

    def watch(operation: Operation) -> AbstractContextManager[None]:
        operations.append(operation)
        return nullcontext()

    remove = hooks.register(watch, operations="conflict.*")
    try:
        await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2, command_id="c-1"))
    finally:
        remove()

    facts = {
        "error": "OptimisticConcurrencyError",
        "subject": "Weigh",
        "subject_id": "c-1",
    }
    assert [operation.name for operation in operations] == ["conflict.retry"] * 2
    assert [operation.attributes for operation in operations] == [
        {"attempt": 1, **facts},
        {"attempt": 2, **facts},
    ]


# Order of the middlewares.


async def test_locks_of_a_later_middleware_are_free_during_a_retry_wait() -> None:
    lock, clock = InMemoryLockStrategy(), FakeClock()
    retrying = ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock)
    depot = Depot(retrying, LockingMiddleware(lock, timeout=5))
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(
        depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1, command_id="slow"))
    )
    await let_tasks_wait()

    other = await depot.mediator.send(Weigh(parcel_id=parcel.id))
    await clock.advance(60.0)

    assert (other.result, (await waiting).result) == (101, 102)


async def test_locks_of_an_earlier_middleware_are_held_during_a_retry_wait() -> None:
    lock, clock = InMemoryLockStrategy(), FakeClock()
    retrying = ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock)
    depot = Depot(LockingMiddleware(lock, timeout=0.01), retrying)
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1)))
    await let_tasks_wait()

    with pytest.raises(LockAcquisitionError):
        await depot.mediator.send(Weigh(parcel_id=parcel.id))

    await clock.advance(60.0)
    await waiting


class CountingValidator:
    def __init__(self) -> None:
        self.count = 0

    async def validate(self, message: Any) -> ValidationResult:
        self.count += 1
        return ValidationResult()


async def test_middleware_before_the_retry_runs_once_and_after_it_at_every_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    validator = CountingValidator()
    depot = Depot(ValidatorMiddleware(validator), retry_at_once(), LoggingMiddleware())
    parcel = await store_parcel(depot.parcels)

    await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert validator.count == 1
    assert len([r for r in caplog.records if r.name.endswith("messages")]) == 3


async def test_repeated_command_is_answered_from_the_inbox_even_if_it_was_retried() -> None:
    depot = Depot(retry_at_once(), IdempotencyMiddleware())
    parcel = await store_parcel(depot.parcels)
    command = Weigh(parcel_id=parcel.id, rivals=2)

    first = await depot.mediator.send(command)
    again = await depot.mediator.send(command)

    assert (first.result, again.result) == (201, 201)
    assert len(depot.attempts) == 3


# Cancellation.


async def test_cancelled_command_with_retry_stores_all_or_nothing() -> None:
    clock = RecordingClock()
    depot = Depot(ConflictRetryMiddleware(FixedRetryPolicy(delay=1.0), clock=clock))
    ids: list[str] = []

    async def work() -> None:
        depot.attempts.clear()
        parcel = await store_parcel(depot.parcels)
        ids[:] = [parcel.id]
        await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    async def check() -> None:
        assert get_current_uow() is None
        if ids:
            stored = await load_parcel(depot.parcels, ids[0])
            assert stored.grams in (None, 100, 101)

    assert await cancel_sweep(work, check) > 5
    assert clock.waits


async def test_cancelled_retry_wait_ends_the_command_without_another_attempt() -> None:
    clock = FakeClock()
    depot = Depot(ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock))
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1)))
    await let_tasks_wait()

    waiting.cancel()
    await asyncio.wait({waiting})
    await clock.advance(120.0)

    assert waiting.cancelled()
    assert len(depot.attempts) == 1
    assert [unit.is_open for unit in depot.units if unit is not None] == [False]
