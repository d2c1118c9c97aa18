"""Tests of connections that break, and of the errors that the caller gets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from cqrs_ddd_core import (
    Command,
    HandlerRegistry,
    Mediator,
)
from cqrs_ddd_core.middleware import IdempotencyMiddleware
from cqrs_ddd_core.primitives.exceptions import (
    CommitOutcomeUnknownError,
    InfrastructureError,
    PersistenceError,
)
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_core.unit_of_work import UnitOfWorkState
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, SQLAlchemyUnitOfWork, Tables
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from cqrs_ddd_persistence_sqlalchemy.engine.driver_errors import DriverError, is_connection_lost
from tests.faults.proxy import AtCommit, Proxy
from tests.persistence_sqlalchemy.conftest import SessionFactory

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


class ShortTimeoutUnitOfWork(SQLAlchemyUnitOfWork):
    commit_timeout = 0.3


@pytest.fixture
async def proxy_engine(proxy: Proxy) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(proxy.url, pool_size=1, max_overflow=0)
    yield engine
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() == 0
    await engine.dispose()


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    """Return a store with a direct connection to the server."""
    return SQLAlchemyEventStore(session_factory, tables=tables)


@pytest.mark.parametrize(
    ("at_commit", "stored"),
    [(AtCommit.LOSE_THE_ANSWER, 1), (AtCommit.LOSE_THE_REQUEST, 0), (AtCommit.FREEZE, 0)],
)
@pytest.mark.parametrize("with_session", [False, True], ids=["without a session", "with a session"])
async def test_commit_without_a_reply_has_an_unknown_outcome(
    proxy: Proxy,
    proxy_engine: AsyncEngine,
    tables: Tables,
    store: SQLAlchemyEventStore,
    at_commit: AtCommit,
    stored: int,
    with_session: bool,
) -> None:
    stream = new_stream()
    hooks: list[str] = []

    async def hook() -> None:
        hooks.append("ran")

    uow = ShortTimeoutUnitOfWork(session_factory=async_sessionmaker(proxy_engine), tables=tables)

    async def work() -> None:
        async with uow:
            if with_session:
                await uow.session.connection()
            await uow.event_store.append(event(stream, 1))
            uow.on_commit(hook)
            proxy.at_commit = at_commit

    with pytest.raises(CommitOutcomeUnknownError, match="may or may not be stored"):
        await work()
    proxy.drop_all()

    assert uow.state is UnitOfWorkState.UNKNOWN
    assert uow.committed_position is None
    assert hooks == []
    assert len(await store.get_events(stream.aggregate_id)) == stored
    # The pool holds one connection, and it works again.
    async with ShortTimeoutUnitOfWork(
        session_factory=async_sessionmaker(proxy_engine), tables=tables
    ) as again:
        assert len(await again.event_store.get_events(stream.aggregate_id)) == stored


async def test_lost_connection_is_not_opened_again_by_the_next_statement(
    proxy: Proxy, proxy_engine: AsyncEngine
) -> None:
    """SQLAlchemy would open it outside of its greenlet and never await the connect of asyncpg."""
    async with driver.autocommit_connection(proxy_engine) as connection:
        proxy.drop_all()
        with pytest.raises(DriverError, match="closed"):
            await driver.fetch(connection, "SELECT 1")

        with pytest.raises(DriverError, match="has lost the connection") as caught:
            await driver.fetch(connection, "SELECT 1")

    assert is_connection_lost(caught.value)


async def test_commit_after_a_lost_connection_has_a_known_outcome(
    proxy: Proxy, proxy_engine: AsyncEngine, tables: Tables, store: SQLAlchemyEventStore
) -> None:
    uow = SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(proxy_engine), tables=tables)

    async def work() -> None:
        async with uow:
            connection = await uow.connection()
            await uow.event_store.append(event(new_stream(), 1))
            proxy.drop_all()
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT 1"))

    with pytest.raises(PersistenceError, match="so the server has rolled back"):
        await work()

    assert uow.state is UnitOfWorkState.ROLLED_BACK
    assert await store.get_events_after(0) == []


class Deposit(Command[int]):
    amount: int


@pytest.mark.parametrize("at_commit", [AtCommit.LOSE_THE_ANSWER, AtCommit.LOSE_THE_REQUEST])
async def test_command_sent_again_after_an_unknown_outcome_has_one_effect(
    proxy: Proxy,
    proxy_engine: AsyncEngine,
    tables: Tables,
    store: SQLAlchemyEventStore,
    at_commit: AtCommit,
) -> None:
    async def deposit(command: Deposit) -> int:
        joining = SQLAlchemyEventStore(tables=tables)
        await joining.append(event(new_stream(), 1, event_type="Deposited"))
        return command.amount

    handlers = HandlerRegistry()
    handlers.register_command_handler(Deposit, deposit)
    sessions = async_sessionmaker(proxy_engine)
    mediator = Mediator(
        handlers,
        uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables),
        middlewares=[IdempotencyMiddleware()],
    )
    command = Deposit(amount=5)
    proxy.at_commit = at_commit

    with pytest.raises(CommitOutcomeUnknownError):
        await mediator.send(command)
    again = await mediator.send(command)

    assert again.result == 5
    assert len(await store.get_events_of_types(["Deposited"])) == 1


async def test_lost_database_raises_infrastructure_errors_until_it_is_back(
    proxy: Proxy, proxy_engine: AsyncEngine, tables: Tables
) -> None:
    through = SQLAlchemyEventStore(async_sessionmaker(proxy_engine), tables=tables)
    stream = new_stream()
    await through.append(event(stream, 1))

    proxy.is_down = True
    proxy.drop_all()
    for _ in range(3):
        with pytest.raises(InfrastructureError):
            await through.append(event(stream, 2))
        with pytest.raises(InfrastructureError):
            await through.get_events(stream.aggregate_id)
    proxy.is_down = False

    await through.append(event(stream, 2))
    assert len(await through.get_events(stream.aggregate_id)) == 2
