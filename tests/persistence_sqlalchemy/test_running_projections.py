"""Tests of projections on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core import StoredEvent
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from tests.advanced.background_tasks import run_in_background
from tests.advanced.inline_kit import InlineProjectionKit
from tests.advanced.lag_kit import ProjectionLagKit, create_sales, measure
from tests.advanced.projection_environment import ProjectionEnvironment, create_inline_mediator
from tests.advanced.projection_kit import ProjectionWorkerKit
from tests.advanced.rebuild_kit import ProjectionRebuildKit
from tests.advanced.till_domain import Days, ItemSold, Sell, new_till, to_stored
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
def environment(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> ProjectionEnvironment:
    return ProjectionEnvironment(
        SQLAlchemyEventStore(session_factory, tables=tables),
        SQLAlchemyProjectionStore(session_factory, tables=tables),
        SQLAlchemyPositionStore(session_factory, tables=tables),
        SQLAlchemyDeadLetterStore(session_factory, tables=tables),
        new_uow,
    )


class TestProjectionWorker(ProjectionWorkerKit):
    pass


class TestProjectionRebuild(ProjectionRebuildKit):
    pass


class TestInlineProjection(InlineProjectionKit):
    pass


class TestProjectionLag(ProjectionLagKit):
    pass


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_rebuild_waits_for_an_append_without_the_inline_projection(
    environment: ProjectionEnvironment, new_uow: NewUnitOfWork
) -> None:
    days = Days()
    mediator = await create_inline_mediator(environment, days)
    async with transaction_of(new_uow, to_stored(new_till(), [ItemSold(cents=1)])):
        for _ in range(3):
            await mediator.send(Sell(till_id=new_till().aggregate_id, cents=2))
        rebuilding = asyncio.ensure_future(environment.rebuild(days).run())
        await asyncio.wait({rebuilding}, timeout=0.3)
        was_waiting = not rebuilding.done()
    await rebuilding

    assert was_waiting
    assert await environment.get_documents(days, "monday") == {"monday": {"cents": 7, "count": 4}}


@asynccontextmanager
async def transaction_of(new_uow: NewUnitOfWork, events: list[StoredEvent]) -> AsyncIterator[None]:
    """Keep the transaction of appended events open during the block, in another task.

    In the same task, the commands and the workers of the block would join it.
    """
    has_appended = asyncio.Event()

    async def append(is_over: asyncio.Event) -> None:
        async with new_uow() as uow:
            await uow.event_store.append_batch(events)
            has_appended.set()
            await is_over.wait()

    async with run_in_background(append):
        await has_appended.wait()
        yield


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_highest_position_includes_events_that_readers_do_not_see_yet(
    environment: ProjectionEnvironment, new_uow: NewUnitOfWork
) -> None:
    events = environment.events
    assert await events.highest_position() == 0

    async with transaction_of(new_uow, create_sales(90)):
        await environment.append(create_sales(60))
        assert (await events.latest_position(), await events.highest_position()) == (0, 4)

    assert await events.latest_position() == await events.highest_position() == 4


class VisibleEventLog(SQLAlchemyEventStore):
    """Event log that measures the lag by the events that readers can see."""

    async def highest_position(self) -> int:
        return await self.latest_position()

    async def get_first_committed(self, *, after: int) -> StoredEvent | None:
        return next(iter(await self.get_events_after(after, 1)), None)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_lag_includes_events_behind_a_slow_transaction(
    environment: ProjectionEnvironment,
    new_uow: NewUnitOfWork,
    session_factory: SessionFactory,
    tables: Tables,
) -> None:
    async with transaction_of(new_uow, create_sales(90)):
        await environment.append(create_sales(60))
        await environment.worker(Days()).drain()

        (lag,) = await measure(environment)
        environment.events = VisibleEventLog(session_factory, tables=tables)
        (naive,) = await measure(environment)

    assert (lag.position, lag.events, lag.seconds) == (0, 4, 60.0)
    assert (naive.events, naive.seconds) == (0, 0.0)
