"""Tests of the adapters by the public contracts, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cqrs_ddd_core.testing.contracts.event_store import EventStoreContract
from cqrs_ddd_core.testing.contracts.heartbeats import HeartbeatStoreContract
from cqrs_ddd_core.testing.contracts.inbox import InboxContract
from cqrs_ddd_core.testing.contracts.outbox import OutboxContract
from cqrs_ddd_core.testing.contracts.queue_signal import QueueSignalContract
from cqrs_ddd_core.testing.contracts.unit_of_work import (
    ReadOnlyStoresContract,
    ReadOnlyUnitOfWorkContract,
    UnitOfWorkContract,
)
from cqrs_ddd_persistence_sqlalchemy import (
    PostgresQueueSignal,
    SQLAlchemyEventStore,
    SQLAlchemyHeartbeatStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    Tables,
)
from tests.persistence_sqlalchemy.conftest import SessionFactory, asyncpg_url


@pytest.fixture
def event_store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    return SQLAlchemyEventStore(session_factory, tables=tables)


@pytest.fixture
def heartbeats(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyHeartbeatStore:
    return SQLAlchemyHeartbeatStore(session_factory, tables=tables)


@pytest.fixture
def outbox(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyOutboxStorage:
    return SQLAlchemyOutboxStorage(session_factory, tables=tables)


@pytest.fixture
def inbox(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyInbox:
    return SQLAlchemyInbox(session_factory, tables=tables)


@pytest.fixture
async def signal(postgres_url: str) -> AsyncIterator[PostgresQueueSignal]:
    engine = create_async_engine(asyncpg_url(postgres_url))
    async with PostgresQueueSignal(engine) as signal:
        yield signal
    await engine.dispose()


class TestSQLAlchemyUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    async def engine(self, forgetful_engine: AsyncEngine) -> AsyncEngine:
        return forgetful_engine


class TestReadOnlySQLAlchemyUnitOfWork(ReadOnlyUnitOfWorkContract, ReadOnlyStoresContract):
    @pytest.fixture
    async def engine(self, forgetful_engine: AsyncEngine) -> AsyncEngine:
        return forgetful_engine


class TestSQLAlchemyEventStore(EventStoreContract):
    pass


class TestSQLAlchemyHeartbeatStore(HeartbeatStoreContract):
    pass


class TestSQLAlchemyOutboxStorage(OutboxContract):
    pass


class TestSQLAlchemyInbox(InboxContract):
    pass


class TestPostgresQueueSignal(QueueSignalContract):
    pass
