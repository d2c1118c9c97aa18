"""Tests of projections on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from tests.advanced.inline_kit import InlineProjectionKit
from tests.advanced.projection_environment import ProjectionEnvironment, create_inline_mediator
from tests.advanced.projection_kit import ProjectionWorkerKit
from tests.advanced.rebuild_kit import ProjectionRebuildKit
from tests.advanced.till_domain import Days, ItemSold, Sell, new_till, open_and_sell, to_stored
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


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_rebuild_waits_for_an_append_without_the_inline_projection(
    environment: ProjectionEnvironment, new_uow: NewUnitOfWork
) -> None:
    days = Days()
    mediator = await create_inline_mediator(environment, days)
    async with new_uow() as unaware:
        await unaware.event_store.append_batch(to_stored(new_till(), [ItemSold(cents=1)]))
        for _ in range(3):
            await mediator.send(Sell(till_id=new_till().aggregate_id, cents=2))
        rebuilding = asyncio.ensure_future(environment.rebuild(days).run())
        await asyncio.wait({rebuilding}, timeout=0.3)
        was_waiting = not rebuilding.done()
    await rebuilding

    assert was_waiting
    assert await environment.get_documents(days, "monday") == {"monday": {"cents": 7, "count": 4}}


async def test_highest_position_includes_events_behind_a_slow_transaction(
    environment: ProjectionEnvironment, new_uow: NewUnitOfWork, backend: str
) -> None:
    events = environment.events
    assert await events.highest_position() == 0
    if backend == "postgres":
        async with new_uow() as slow:
            await slow.event_store.append_batch(to_stored(new_till(), [ItemSold(cents=1)]))
            await environment.append(to_stored(new_till(), [ItemSold(cents=1)]))
            assert (await events.latest_position(), await events.highest_position()) == (0, 2)
    else:
        await environment.append(to_stored(new_till(), open_and_sell(1)))

    assert await events.latest_position() == await events.highest_position() == 2
