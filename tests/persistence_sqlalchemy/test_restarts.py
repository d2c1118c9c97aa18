"""A restart of the server costs at most one failed call per engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core import InfrastructureError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    create_schema,
)
from tests.databases import new_database
from tests.persistence_sqlalchemy.crates import Base, Crate, CrateModel

CONNECTIONS = 5


Call = Callable[[AsyncEngine], Awaitable[object]]


@pytest.fixture
def url(postgres_url: str) -> str:
    return new_database(postgres_url)


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0)
    await create_schema(engine, metadata={Base.metadata})
    yield engine
    await engine.dispose()


async def fill_pool(engine: AsyncEngine) -> None:
    """Open all connections of the pool at once, and return them."""
    opened = [await engine.connect() for _ in range(CONNECTIONS)]
    for connection in opened:
        await connection.execute(text("SELECT 1"))
    for connection in opened:
        await connection.close()


async def end_connections(engine: AsyncEngine) -> int:
    """End all connections of the database as a restart of the server does; return their number."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended)
    finally:
        await connection.close()


async def read_a_stream(engine: AsyncEngine) -> object:
    return await SQLAlchemyEventStore(async_sessionmaker(engine)).get_events("nobody")


async def append_an_event(engine: AsyncEngine) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine)) as uow:
        await uow.event_store.append(event(new_stream(), 1))


async def read_an_aggregate(engine: AsyncEngine) -> object:
    crates = SQLAlchemyRepository(Crate, CrateModel, async_sessionmaker(engine))
    return await crates.get("nothing")


async def claim_messages(engine: AsyncEngine) -> object:
    return await SQLAlchemyOutboxStorage(async_sessionmaker(engine)).claim("relay")


async def use_the_session(engine: AsyncEngine) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine)) as uow:
        await uow.session.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "call",
    [read_a_stream, append_an_event, read_an_aggregate, claim_messages, use_the_session],
    ids=lambda call: call.__name__,
)
async def test_restart_of_the_server_costs_one_failed_call(engine: AsyncEngine, call: Call) -> None:
    await call(engine)
    await fill_pool(engine)
    assert await end_connections(engine) >= CONNECTIONS
    await asyncio.sleep(0.05)  # The driver notices the closed connections.

    failures = 0
    for _ in range(2 * CONNECTIONS):
        try:
            await call(engine)
        except (InfrastructureError, DBAPIError):  # The session is not translated.
            failures += 1

    assert failures <= 1
