"""Commands that are decided again after a conflict."""

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

CONFLICT = OptimisticConcurrencyError("faster", subject="Parcel 1", expected=1, actual=2)


class Weigh(Command[int]):
    """Adds to the weight, while ``rivals`` others do so first, one before each try."""

    parcel_id: str = "none"
    rivals: int = 0

    def lock_keys(self) -> list[ResourceIdentifier]:
        return [ResourceIdentifier("parcel", self.parcel_id)]


class WeighTwice(Command[int]):
    parcel_id: str
    rivals: int = 0


class HowHeavy(Query[int]):
    pass


class Waits(FakeClock):
    """Notes how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await asyncio.sleep(0)


class Depot:
    """A mediator over one table; ``tries`` are the aggregates that a handler was given."""

    def __init__(
        self, *middlewares: IMiddleware, parcels: InMemoryRepository[Parcel, str] | None = None
    ) -> None:
        self.parcels = parcels or InMemoryRepository(Parcel)
        self.tries: list[Parcel] = []
        self.weights: list[int | None] = []
        self.units: list[UnitOfWork | None] = []
        handlers = HandlerRegistry()
        handlers.register_command_handler(Weigh, self.weigh)
        handlers.register_command_handler(WeighTwice, self.weigh_twice)
        handlers.register_query_handler(HowHeavy, self.how_heavy)
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
        self.tries.append(parcel)
        if len(self.tries) <= command.rivals:
            await self.a_rival(command.parcel_id)
        await self.parcels.add(parcel)
        return parcel.grams or 0

    async def a_rival(self, parcel_id: str) -> None:
        async with InMemoryUnitOfWork() as other:
            parcel = await self.parcels.get(parcel_id, other)
            assert parcel is not None
            parcel.grams = (parcel.grams or 0) + 100
            await self.parcels.add(parcel, other)

    async def weigh_twice(self, command: WeighTwice) -> int:
        weigh = Weigh(parcel_id=command.parcel_id, rivals=command.rivals)
        await self.mediator.send(weigh)
        return (await self.mediator.send(weigh)).result

    async def how_heavy(self, query: HowHeavy) -> int:
        self.tries.append(Parcel.register("none", "nobody"))
        raise CONFLICT


def at_once(max_attempts: int = 5) -> ConflictRetryMiddleware:
    return ConflictRetryMiddleware(RetryPolicy(max_attempts))


async def settled() -> None:
    """Until everybody waits for the clock, or for a lock."""
    for _ in range(200):
        await asyncio.sleep(0)


async def fails(errors: Sequence[BaseException], retrying: IMiddleware) -> int:
    """How often it was tried before it went well; raises what the middleware lets through."""
    left, tries = list(errors), 0

    async def next_(message: Any) -> Any:
        nonlocal tries
        tries += 1
        if left:
            raise left.pop(0)

    await retrying(Weigh(), next_)
    return tries


class TestConflictRetryMiddleware(MiddlewareContract):
    @pytest.fixture
    def middleware(self) -> IMiddleware:
        return ConflictRetryMiddleware()


async def test_after_a_conflict_the_whole_command_is_decided_again() -> None:
    depot = Depot(at_once())
    parcel = await store_parcel(depot.parcels)

    response = await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert response.result == 201
    assert depot.weights == [None, 100, 200]
    stored = await load_parcel(depot.parcels, parcel.id)
    assert (stored.grams, stored.version) == (201, 4)
    assert [event.aggregate_version for event in response.events] == [4]


async def test_each_try_has_a_fresh_unit_of_work_and_a_clean_aggregate() -> None:
    depot = Depot(at_once())
    parcel = await store_parcel(depot.parcels, note="as stored")
    notes = []
    load = depot.load

    async def noting(parcel_id: str) -> Parcel:
        found = await load(parcel_id)
        notes.append((found.note, found.uncommitted_event_count))
        return found

    depot.load = noting  # type: ignore[method-assign]
    await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert notes == [("as stored", 0)] * 3
    assert len({id(unit) for unit in depot.units}) == 3
    assert get_current_uow() is None


async def test_naive_handler_that_keeps_the_aggregate_between_tries_never_succeeds() -> None:
    depot = Depot(at_once(max_attempts=3))
    parcel = await store_parcel(depot.parcels)
    kept: dict[str, Parcel] = {}
    load = depot.load

    async def once(parcel_id: str) -> Parcel:
        return kept.get(parcel_id) or kept.setdefault(parcel_id, await load(parcel_id))

    depot.load = once  # type: ignore[method-assign]
    with pytest.raises(OptimisticConcurrencyError):
        await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    assert len(depot.tries) == 3


class ReplacedError(ConcurrencyError):
    """As an adapter may have one of its own."""


@pytest.mark.parametrize(
    "conflict", [CONFLICT, ConcurrencyError("deadlock"), ReplacedError("meanwhile")]
)
async def test_conflicts_are_tried_again(conflict: ConcurrencyError) -> None:
    assert await fails([conflict, conflict], at_once()) == 3


@pytest.mark.parametrize(
    "error",
    [
        LockAcquisitionError("taken"),
        LeaseLostError("gone"),
        CommitOutcomeUnknownError("who knows"),
        DuplicateEventError("stored already"),
        BusinessRuleError("no"),
        ValueError("a bug"),
        asyncio.CancelledError(),
    ],
)
async def test_nothing_else_is_tried_again(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await fails([error], at_once())

    assert caught.value is error


@pytest.mark.parametrize("tries", [1, 3])
async def test_the_last_error_goes_up_as_it_is_and_a_line_tells_the_tries(
    tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = OptimisticConcurrencyError("first"), CONFLICT

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await fails([*[first] * (tries - 1), last, first], at_once(max_attempts=tries))

    assert caught.value is last
    assert caught.value.__context__ is None
    assert (last.subject, last.expected, last.actual) == ("Parcel 1", 1, 2)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert f"after {tries} tries" in line.getMessage()
    assert "Weigh" in line.getMessage()


class RetriesForEver(IMiddleware):
    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                await asyncio.sleep(0)


async def test_naive_retry_without_a_bound_never_gives_up() -> None:
    assert await fails([CONFLICT] * 1000, RetriesForEver()) == 1001
    with pytest.raises(OptimisticConcurrencyError):
        await fails([CONFLICT] * 1000, ConflictRetryMiddleware())


async def test_a_policy_that_forbids_it_means_one_try() -> None:
    with pytest.raises(OptimisticConcurrencyError):
        await fails([CONFLICT], ConflictRetryMiddleware(NoRetry()))


async def test_a_query_passes_through_and_is_asked_once() -> None:
    depot = Depot(at_once())

    with pytest.raises(OptimisticConcurrencyError):
        await depot.mediator.query(HowHeavy())

    assert len(depot.tries) == 1


async def test_a_nested_command_hands_its_conflict_up_and_the_outermost_is_tried_again() -> None:
    depot = Depot(at_once())
    parcel = await store_parcel(depot.parcels)

    response = await depot.mediator.send(WeighTwice(parcel_id=parcel.id, rivals=1))

    assert response.result == 102
    assert depot.weights == [None, 100, 101]
    stored = await load_parcel(depot.parcels, parcel.id)
    assert (stored.grams, stored.version) == (102, 4)


async def test_in_a_unit_of_work_of_the_caller_the_conflict_goes_up() -> None:
    depot = Depot(at_once())
    parcel = await store_parcel(depot.parcels)

    with pytest.raises(OptimisticConcurrencyError):
        async with InMemoryUnitOfWork():
            await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    assert len(depot.tries) == 1


class RetriesInside(IMiddleware):
    """In the unit of work that failed."""

    placement: ClassVar[Placement] = Placement.INSIDE

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        for _ in range(3):
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                continue
        return await next_(message)


class RetriesAtEveryLevel(IMiddleware):
    """Also in the unit of work of somebody else."""

    async def __call__(self, message: Any, next_: Callable[[Any], Awaitable[Any]]) -> Any:
        for _ in range(3):
            try:
                return await next_(message)
            except OptimisticConcurrencyError:
                continue
        return await next_(message)


@pytest.mark.parametrize(
    ("naive", "command"), [(RetriesInside(), Weigh), (RetriesAtEveryLevel(), WeighTwice)]
)
async def test_a_retry_inside_an_open_unit_of_work_cannot_succeed(
    naive: IMiddleware, command: type[Weigh | WeighTwice]
) -> None:
    depot = Depot(naive)
    parcel = await store_parcel(depot.parcels)

    with pytest.raises(Exception, match="can only be rolled back") as caught:
        await depot.mediator.send(command(parcel_id=parcel.id, rivals=1))

    assert "start a new one" in str(caught.value)
    stored = await load_parcel(depot.parcels, parcel.id)
    assert stored.grams in (None, 100)


async def test_it_waits_between_tries_as_the_policy_says_and_never_after_the_last() -> None:
    clock = Waits()
    policy = ExponentialBackoffPolicy(
        max_attempts=4, base=1.0, maximum=3.0, random=Random(20261121).random
    )
    expected = Random(20261121)

    with pytest.raises(OptimisticConcurrencyError):
        await fails([CONFLICT] * 9, ConflictRetryMiddleware(policy, clock=clock))

    assert clock.waited == [ceiling * expected.random() for ceiling in (1.0, 2.0, 3.0)]


def test_unless_told_otherwise_it_is_bounded_and_the_jitter_is_full() -> None:
    assert CONFLICT_RETRY.max_attempts == 5
    assert CONFLICT_RETRY.jitter == 1.0
    assert CONFLICT_RETRY.base <= 0.02


async def test_of_two_that_failed_together_only_jitter_tells_them_apart() -> None:
    def waits_of(policy: RetryPolicy) -> set[float]:
        return {policy.get_backoff(1) for _ in range(50)}

    assert len(waits_of(CONFLICT_RETRY)) > 40
    assert len(waits_of(FixedRetryPolicy(delay=0.01))) == 1


async def test_each_wait_is_told_to_the_hooks() -> None:
    depot = Depot(ConflictRetryMiddleware(RetryPolicy(5), clock=Waits()))
    parcel = await store_parcel(depot.parcels)
    told: list[Operation] = []

    def watch(operation: Operation) -> AbstractContextManager[None]:
        told.append(operation)
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
    assert [operation.name for operation in told] == ["conflict.retry"] * 2
    assert [operation.attributes for operation in told] == [
        {"attempt": 1, **facts},
        {"attempt": 2, **facts},
    ]


# Its place among the others.


async def test_locks_of_a_guard_behind_it_are_free_while_it_waits() -> None:
    lock, clock = InMemoryLockStrategy(), FakeClock()
    retrying = ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock)
    depot = Depot(retrying, LockingMiddleware(lock, timeout=5))
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(
        depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1, command_id="slow"))
    )
    await settled()

    other = await depot.mediator.send(Weigh(parcel_id=parcel.id))
    await clock.advance(60.0)

    assert (other.result, (await waiting).result) == (101, 102)


async def test_locks_of_a_guard_before_it_are_held_while_it_waits() -> None:
    lock, clock = InMemoryLockStrategy(), FakeClock()
    retrying = ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock)
    depot = Depot(LockingMiddleware(lock, timeout=0.01), retrying)
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1)))
    await settled()

    with pytest.raises(LockAcquisitionError):
        await depot.mediator.send(Weigh(parcel_id=parcel.id))

    await clock.advance(60.0)
    await waiting


class CountsValidations:
    def __init__(self) -> None:
        self.count = 0

    async def validate(self, message: Any) -> ValidationResult:
        self.count += 1
        return ValidationResult()


async def test_middleware_listed_before_runs_once_and_behind_at_each_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    validator = CountsValidations()
    depot = Depot(ValidatorMiddleware(validator), at_once(), LoggingMiddleware())
    parcel = await store_parcel(depot.parcels)

    await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=2))

    assert validator.count == 1
    assert len([r for r in caplog.records if r.name.endswith("messages")]) == 3


async def test_a_repetition_of_a_command_that_was_retried_is_answered_from_the_inbox() -> None:
    depot = Depot(at_once(), IdempotencyMiddleware())
    parcel = await store_parcel(depot.parcels)
    command = Weigh(parcel_id=parcel.id, rivals=2)

    first = await depot.mediator.send(command)
    again = await depot.mediator.send(command)

    assert (first.result, again.result) == (201, 201)
    assert len(depot.tries) == 3


# Cancellation.


async def test_a_cancellation_anywhere_leaves_all_or_nothing_and_nothing_open() -> None:
    clock = Waits()
    depot = Depot(ConflictRetryMiddleware(FixedRetryPolicy(delay=1.0), clock=clock))
    ids: list[str] = []

    async def work() -> None:
        depot.tries.clear()
        parcel = await store_parcel(depot.parcels)
        ids[:] = [parcel.id]
        await depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1))

    async def check() -> None:
        assert get_current_uow() is None
        if ids:
            stored = await load_parcel(depot.parcels, ids[0])
            assert stored.grams in (None, 100, 101)

    assert await cancel_sweep(work, check) > 5
    assert clock.waited


async def test_a_cancellation_while_it_waits_goes_up_and_the_command_is_not_tried_again() -> None:
    clock = FakeClock()
    depot = Depot(ConflictRetryMiddleware(FixedRetryPolicy(delay=60.0), clock=clock))
    parcel = await store_parcel(depot.parcels)
    waiting = asyncio.ensure_future(depot.mediator.send(Weigh(parcel_id=parcel.id, rivals=1)))
    await settled()

    waiting.cancel()
    await asyncio.wait({waiting})
    await clock.advance(120.0)

    assert waiting.cancelled()
    assert len(depot.tries) == 1
    assert [unit.is_open for unit in depot.units if unit is not None] == [False]
