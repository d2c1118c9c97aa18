"""Tests that a cancelled command stores all or nothing and releases its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import pytest
import sqlalchemy
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_core import (
    Command,
    EventStorePersistenceMiddleware,
    HandlerRegistry,
    Mediator,
)
from cqrs_ddd_core.middleware import IdempotencyMiddleware, OutboxMiddleware
from cqrs_ddd_core.ports.unit_of_work import get_current_uow
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id
from cqrs_ddd_core.testing.faults import _Interrupted, cancel_sweep
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables
from tests.persistence_sqlalchemy.parcels import Parcels


class RegisterParcel(Command[str]):
    parcel_id: str


class Depot:
    """Mediator over a pool of one connection."""

    def __init__(self, engine: AsyncEngine, tables: Tables) -> None:
        self.engine = engine
        self.tables = tables
        self.sessions = async_sessionmaker(engine)
        self.parcels = Parcels(self.sessions, tables.schema)
        self.hooks: list[str] = []
        self.sent: list[str] = []
        handlers = HandlerRegistry()
        handlers.register_command_handler(RegisterParcel, self._register)
        self._mediator = Mediator(
            handlers,
            uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=self.sessions, tables=tables),
            middlewares=[
                IdempotencyMiddleware(),
                EventStorePersistenceMiddleware(),
                OutboxMiddleware(),
            ],
        )

    async def _register(self, command: RegisterParcel) -> str:
        uow = get_current_uow()
        assert isinstance(uow, SQLAlchemyUnitOfWork)
        # A statement of the user, through the session.
        await uow.session.execute(text("SELECT 1"))
        parcel = Parcel.register(command.parcel_id, owner="anna")
        await self.parcels.add(parcel)
        assert await self.parcels.get(command.parcel_id) is not None
        uow.on_commit(self._hook)
        return command.parcel_id

    async def _hook(self) -> None:
        await asyncio.sleep(0)
        self.hooks.append(self.sent[-1])

    async def send(self) -> None:
        self.sent.append(new_parcel_id())
        await self._mediator.send(RegisterParcel(parcel_id=self.sent[-1]))

    async def check(self) -> None:
        """Check that the command left a row in each table or in none, and an unused pool."""
        pool = self.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        assert pool.checkedout() == 0
        parcel, tables = self.parcels.metadata.sorted_tables[0], self.tables
        sent = self.sent[-1]
        async with self.engine.connect() as connection:
            counts = [
                await connection.scalar(select(func.count()).select_from(table).where(condition))
                for table, condition in (
                    (parcel, parcel.c.id == sent),
                    (tables.events, tables.events.c.aggregate_id == sent),
                    (tables.outbox, tables.outbox.c.partition_key == f"Parcel:{sent}"),
                )
            ]
            if connection.dialect.name == "postgresql":
                idle = text(
                    "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in trans%' "
                    "AND pid <> pg_backend_pid() AND query LIKE :schema"
                )
                schema = {"schema": f"%{self.tables.schema}%"}
                assert await connection.scalar(idle, schema) == 0
        assert counts in ([0, 0, 0], [1, 1, 1]), counts
        if self.hooks and self.hooks[-1] == sent:
            assert counts == [1, 1, 1]


@pytest.fixture
async def depot(new_engine: Callable[..., AsyncEngine], tables: Tables) -> AsyncIterator[Depot]:
    # No timeout: with a timeout, the pool uses asyncio.wait_for, which can lose a cancellation
    # before Python 3.12.
    engine = new_engine(
        pool_size=1, max_overflow=0, pool_timeout=None, poolclass=AsyncAdaptedQueuePool
    )
    depot = Depot(engine, tables)
    async with engine.begin() as connection:
        await connection.run_sync(depot.parcels.metadata.create_all)
    yield depot
    await engine.dispose()


async def test_command_cancelled_at_any_point_stores_all_or_nothing(depot: Depot) -> None:
    suspensions = await cancel_sweep(depot.send, depot.check)

    assert suspensions > 10
    assert depot.hooks[-1] == depot.sent[-1]


@pytest.mark.skipif(
    tuple(map(int, sqlalchemy.__version__.split(".")[:3])) < (2, 0, 55),
    reason="SQLAlchemy below 2.0.55 can lose a connection in a cancelled scope of AnyIO",
)
async def test_command_in_a_cancelled_anyio_scope_stores_all_or_nothing(depot: Depot) -> None:
    """Cancel by an anyio scope, which cancels every later await too, even of the clean-up."""
    suspension, was_cancelled = 0, True
    while was_cancelled:
        suspension += 1
        with anyio.CancelScope() as scope:
            await _CancelsScope(depot.send(), suspension, scope)
        was_cancelled = scope.cancelled_caught
        await asyncio.sleep(0.01)
        await depot.check()

    assert suspension > 10
    assert depot.hooks[-1] == depot.sent[-1]


class _CancelsScope(_Interrupted):
    def __init__(self, work: Coroutine[Any, Any, Any], at: int, scope: anyio.CancelScope) -> None:
        super().__init__(work, at)
        self._scope = scope

    def _cancel_in_time(self) -> None:
        self._remaining -= 1
        if self._remaining == 0:
            self._scope.cancel()
