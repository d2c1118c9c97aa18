"""Tests of the position store on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.ports.positions import PROJECTIONS_CHANNEL, Checkpoint
from cqrs_ddd_advanced_core.testing.contracts.checkpoints import (
    advance,
    claim,
    new_name,
    replace_projection,
    share_projection,
)
from cqrs_ddd_advanced_core.testing.contracts.positions import PositionStoreContract
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryQueueSignal
from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    InfrastructureError,
)
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyPositionStore
from cqrs_ddd_persistence_sqlalchemy.advanced.positions.rows import PositionRows
from cqrs_ddd_persistence_sqlalchemy.engine.driver import fetch, is_postgres
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

on_postgres = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
def positions(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyPositionStore:
    return SQLAlchemyPositionStore(session_factory, tables=tables, poll_interval=0.01)


class TestSQLAlchemyPositionStore(PositionStoreContract):
    pass


class TwoStatementsStore(SQLAlchemyPositionStore):
    """Store that compares in one statement and writes in the next one."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        table = self._projections
        async with self._connections.join_transaction(uow, "advance") as active:
            connection = await active.connection()
            found = await self._rows.find(connection, checkpoint.projection)
            if found is None or (found.epoch, found.position) != (
                checkpoint.epoch,
                checkpoint.position,
            ):
                raise checkpoint.lease_ended()
            await connection.execute(
                update(table)
                .where(table.c.projection == checkpoint.projection)
                .values(position=position)
            )
        return replace(checkpoint, position=position)


class UnlockedReadRows(PositionRows):
    """Rows that are read without a lock before an inline write."""

    lock_of_row = ""

    async def read_shared(
        self, connection: AsyncConnection, projection: str
    ) -> tuple[int, int | None] | None:
        table = connection.dialect.identifier_preparer.format_table(self._projections)
        place = "$1" if is_postgres(connection) else "?"
        read = f"SELECT version, position FROM {table} WHERE projection = {place}"
        rows = await fetch(connection, read + self.lock_of_row, projection)
        return (rows[0][0], rows[0][1]) if rows else None


class SharedRowLockRows(UnlockedReadRows):
    """Rows that use a row lock instead of the advisory lock, so that later writers go first."""

    lock_of_row = " FOR KEY SHARE"

    async def lock_exclusive(self, connection: AsyncConnection, projection: str) -> None:
        table = self._projections
        row = select(table.c.epoch).where(table.c.projection == projection)
        await connection.execute(row.with_for_update())


class WaitingClaimRows(PositionRows):
    """Rows for which a claim waits for a frozen transaction."""

    async def remove_free(
        self, connection: AsyncConnection, epoch: int, worker_id: str
    ) -> int | None:
        table = self._projections
        taken = await connection.execute(
            delete(table).where(table.c.epoch == epoch).returning(table.c.position)
        )
        position: int | None = taken.scalar_one_or_none()
        return position


def create_store_type(rows: type[PositionRows]) -> type[SQLAlchemyPositionStore]:
    """Create a type of stores with the statements of ``rows``."""

    class Naive(SQLAlchemyPositionStore):
        def __init__(self, session_factory: SessionFactory, *, tables: Tables) -> None:
            super().__init__(session_factory, tables=tables)
            self._rows = rows(tables)

    Naive.__name__ = rows.__name__
    return Naive


@pytest.mark.parametrize(
    ("backend", "naive_store", "test_name"),
    [
        (
            "postgres",
            TwoStatementsStore,
            "test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds",
        ),
        *(
            (
                backend,
                create_store_type(UnlockedReadRows),
                "test_replacement_sees_every_inline_write_of_the_version_it_replaces",
            )
            for backend in ("postgres", "sqlite")
        ),
    ],
    indirect=["backend"],
)
async def test_position_store_contract_catches_each_wrong_sql_store(
    naive_store: type[SQLAlchemyPositionStore],
    test_name: str,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    test: Callable[..., Any] = getattr(PositionStoreContract(), test_name)
    given = {"positions": naive_store(session_factory, tables=tables), "new_uow": new_uow}

    with pytest.raises(AssertionError):
        await test(**{name: given[name] for name in inspect.signature(test).parameters})


@on_postgres
@pytest.mark.parametrize(
    ("kind", "waits"),
    [(SQLAlchemyPositionStore, False), (create_store_type(WaitingClaimRows), True)],
)
async def test_claim_does_not_wait_for_an_idle_transaction_that_advances(
    kind: type[SQLAlchemyPositionStore],
    waits: bool,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    positions = kind(session_factory, tables=tables)
    name = new_name()
    ours = await claim(positions, name, "one", lease=0.02)
    await asyncio.sleep(0.05)

    async with new_uow() as uow:
        await positions.advance(ours, 5, lease=0.02, uow=uow)
        claiming = asyncio.ensure_future(positions.claim(name, "two"))
        await asyncio.wait({claiming}, timeout=0.5 if waits else 20)
        is_waiting = not claiming.done()
    answer = await claiming

    assert is_waiting == waits
    if not waits:
        assert answer is None
        await asyncio.sleep(0.05)
        assert (await claim(positions, name, "two")).position == 5


@on_postgres
async def test_claim_of_a_new_projection_under_an_exclusive_lock_returns_none(
    positions: SQLAlchemyPositionStore, new_uow: NewUnitOfWork
) -> None:
    name = new_name()

    async with new_uow() as uow:
        assert await positions.lock_exclusive(name, uow=uow) is None
        assert await positions.claim(name, "one") is None

    await claim(positions, name, "one")


@on_postgres
@pytest.mark.parametrize(
    ("kind", "is_granted_first"),
    [(SQLAlchemyPositionStore, True), (create_store_type(SharedRowLockRows), False)],
)
async def test_exclusive_lock_is_granted_before_later_inline_writers(
    kind: type[SQLAlchemyPositionStore],
    is_granted_first: bool,
    engine: AsyncEngine,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    positions, name = kind(session_factory, tables=tables), new_name()
    await share_projection(positions, name, new_uow)
    order: list[str] = []

    async def hold() -> None:
        async with new_uow() as uow:
            await positions.lock_exclusive(name, uow=uow)
            order.append("held")

    async def join() -> None:
        await share_projection(positions, name, new_uow)
        order.append("joined")

    async with new_uow() as uow:
        await positions.lock_shared(name, uow=uow)
        holding = asyncio.ensure_future(hold())
        await _wait_for_a_blocked_lock(engine)
        joining = asyncio.ensure_future(join())
        await asyncio.wait({joining}, timeout=0.5)
    await asyncio.gather(holding, joining)

    assert order == (["held", "joined"] if is_granted_first else ["joined", "held"])


async def _wait_for_a_blocked_lock(engine: AsyncEngine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )
    async with engine.connect() as connection:
        while not await connection.scalar(waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@on_postgres
async def test_repeatable_read_transaction_cannot_write_a_replaced_projection(
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
    new_engine: Callable[..., AsyncEngine],
) -> None:
    engine = new_engine(isolation_level="REPEATABLE READ")
    sessions = async_sessionmaker(engine)
    frozen = SQLAlchemyPositionStore(sessions, tables=tables)
    positions, name = SQLAlchemyPositionStore(session_factory, tables=tables), new_name()
    await share_projection(positions, name, new_uow)
    by = await claim(positions, new_name(), "rebuild", version=2)

    async def join(*, is_replaced: bool) -> None:
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables) as uow:
            await frozen.lock_shared(new_name(), uow=uow)
            if is_replaced:
                async with new_uow() as other:
                    await replace_projection(positions, name, by, other)
            assert await frozen.lock_shared(name, uow=uow) == 2

    with pytest.raises(ConcurrencyError):
        await join(is_replaced=True)
    await join(is_replaced=False)

    await engine.dispose()


class RecordingSignal(InMemoryQueueSignal):
    def __init__(self) -> None:
        super().__init__()
        self.channels: list[str] = []

    async def notify(self, channel: str) -> None:
        self.channels.append(channel)
        await super().notify(channel)


async def test_waiters_for_a_projection_are_notified_after_the_commit(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    signal = RecordingSignal()
    positions = SQLAlchemyPositionStore(
        session_factory, tables=tables, signal=signal, poll_interval=30
    )
    ours = await claim(positions, new_name(), "one")
    waiting = asyncio.ensure_future(positions.wait_until(5, [ours.projection], timeout=30))
    await asyncio.sleep(0.05)

    with suppress(LookupError):
        async with new_uow() as uow:
            await positions.advance(ours, 5, uow=uow)
            assert signal.channels == []
            raise LookupError
    assert signal.channels == []
    await advance(positions, ours, 5, new_uow)

    assert signal.channels == [PROJECTIONS_CHANNEL]
    assert await waiting


async def test_advance_and_unsuccessful_claim_are_one_statement_each(
    engine: AsyncEngine,
    positions: SQLAlchemyPositionStore,
    new_uow: NewUnitOfWork,
) -> None:
    ours = await claim(positions, new_name(), "one")
    sent: list[str] = []
    listen(engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given[2]))

    await advance(positions, ours, 5, new_uow)
    assert len(sent) == 1
    await positions.claim(ours.projection, "two")

    assert len(sent) == 2


async def test_position_store_without_tables_names_create_schema(
    engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    positions = SQLAlchemyPositionStore(session_factory, tables=Tables(prefix="missing_"))

    for call in (positions.claim("orders", "one"), positions.list_positions()):
        with pytest.raises(InfrastructureError, match=r"cannot .*projection.*create_schema"):
            await call


async def test_wait_for_a_position_polls_if_the_queue_signal_fails(
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
    caplog: pytest.LogCaptureFixture,
) -> None:
    has_failed = asyncio.Event()

    class Broken(InMemoryQueueSignal):
        async def wait(self, channel: str, timeout: float) -> bool:
            has_failed.set()
            raise ConnectionError("connection lost")

    positions = SQLAlchemyPositionStore(
        session_factory, tables=tables, signal=Broken(), poll_interval=0.01
    )
    name = new_name()
    ours = await claim(positions, name, "one")

    waiting = asyncio.ensure_future(positions.wait_until(1, [name], timeout=30))
    await has_failed.wait()
    await advance(SQLAlchemyPositionStore(session_factory, tables=tables), ours, 1, new_uow)

    assert await waiting
    assert "; polling" in caplog.text


@on_postgres
async def test_exclusive_lock_gives_up_after_its_timeout_without_blocking_others(
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SQLAlchemyPositionStore, "lock_timeout", 0.1)
    positions, name = SQLAlchemyPositionStore(session_factory, tables=tables), new_name()
    await share_projection(positions, name, new_uow)
    async with new_uow() as command:
        await positions.lock_shared(name, uow=command)

        with pytest.raises(ConcurrencyError, match="has held a lock for longer than 0.1 s"):
            async with new_uow() as uow:
                await positions.lock_exclusive(name, uow=uow)

        # The transaction that gave up blocks no inline write.
        await share_projection(positions, name, new_uow)
    async with new_uow() as uow:
        assert await positions.lock_exclusive(name, uow=uow) is not None
