"""Tests that concurrent tasks which increment one aggregate lose no increment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import pytest

from cqrs_ddd_advanced_core.conflict import AggregateUpdater, ConflictRetryMiddleware
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_core import Command, HandlerRegistry, IRepository, Mediator, UnitOfWork
from cqrs_ddd_core.primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id

TASKS = 50
Parcels = IRepository[Parcel, str]
NewUnitOfWork = Callable[[], UnitOfWork]
Change = Callable[[Parcel], int]
Counting = Callable[[], Awaitable[int]]


class Count(Command[int]):
    parcel_id: str


def count_by_event(parcel: Parcel) -> int:
    """Increment the weight by an event and return the next version."""
    parcel.weigh((parcel.grams or 0) + 1)
    return parcel.next_version


def count_in_state(parcel: Parcel) -> int:
    parcel.grams = (parcel.grams or 0) + 1
    return parcel.next_version


def create_patient_retry(seed: int) -> RetryPolicy:
    """Create a policy whose number of attempts suffices unless there is a fault."""
    return ExponentialBackoffPolicy(
        max_attempts=500, base=0.01, maximum=0.2, random=Random(seed).random
    )


def count_by_middleware(
    parcels: Parcels, new_uow: NewUnitOfWork, count: Change, parcel_id: str
) -> Counting:
    async def handle(command: Count) -> int:
        parcel = await parcels.get(command.parcel_id)
        assert parcel is not None
        answer = count(parcel)
        await parcels.add(parcel)
        return answer

    handlers = HandlerRegistry()
    handlers.register_command_handler(Count, handle)
    retrying = ConflictRetryMiddleware(create_patient_retry(20261121))
    mediator = Mediator(handlers, uow_factory=new_uow, middlewares=[retrying])

    async def once() -> int:
        return (await mediator.send(Count(parcel_id=parcel_id))).result

    return once


def count_by_updater(
    parcels: Parcels, new_uow: NewUnitOfWork, count: Change, parcel_id: str
) -> Counting:
    handler = AggregateUpdater(parcels, uow_factory=new_uow, retry=create_patient_retry(20261122))
    return partial(handler.update, parcel_id, count)


async def run_concurrently(once: Counting, times: int) -> list[int]:
    """Increment from many tasks at once and return the resulting versions, sorted."""

    async def some() -> list[int]:
        return [await once() for _ in range(times)]

    versions = await asyncio.gather(*(some() for _ in range(TASKS)))
    return sorted(version for answers in versions for version in answers)


class CountingKit:
    """Tests over ``parcels``, ``new_uow`` (units of work with an event store) and ``times``."""

    @pytest.mark.long
    @pytest.mark.parametrize("create_counting", [count_by_middleware, count_by_updater])
    @pytest.mark.parametrize("storage", ["as rows", "as events"])
    async def test_concurrent_retried_commands_lose_no_increment_of_an_aggregate(
        self,
        create_counting: Callable[[Parcels, NewUnitOfWork, Change, str], Counting],
        storage: str,
        parcels: Parcels,
        new_uow: NewUnitOfWork,
        times: int,
    ) -> None:
        repository = (
            parcels if storage == "as rows" else EventSourcedRepository[Parcel, str](Parcel)
        )
        count = count_in_state if storage == "as rows" else count_by_event
        parcel = Parcel.register(new_parcel_id(), "anna")
        async with new_uow() as uow:
            await repository.add(parcel, uow)

        versions = await run_concurrently(
            create_counting(repository, new_uow, count, parcel.id), times
        )

        async with new_uow() as uow:
            found = await repository.get(parcel.id, uow)
        assert found is not None
        assert found.grams == TASKS * times
        assert versions == list(range(2, TASKS * times + 2))
        assert found.version == versions[-1]
