"""Read-only units of work: sessions, pooled connections and engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_core import HandlerRegistry, Mediator, Query, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError, EventStoreError, ReadOnlyError
from cqrs_ddd_core.testing.faults import cancel_sweep
from cqrs_ddd_core.unit_of_work import UnitOfWorkState
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, Tables
from tests.persistence_sqlalchemy.conftest import SessionFactory


class Model(DeclarativeBase):
    pass


class Note(Model):
    __tablename__ = "read_only_note"

    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default="")


class ReadNotes(Query[tuple[str, bool]]):
    pass


@pytest.fixture(autouse=True)
async def rows(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Model.metadata.drop_all)
        await connection.run_sync(Model.metadata.create_all)
        await connection.execute(sa.insert(Note).values(id="n-1", text="milk"))


@pytest.fixture
def new_reader(session_factory: SessionFactory) -> Callable[[], SQLAlchemyUnitOfWork]:
    return lambda: SQLAlchemyUnitOfWork(session_factory=session_factory, read_only=True)


async def _count_notes(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await connection.scalar(sa.select(sa.func.count()).select_from(Note))) or 0


@pytest.mark.parametrize("is_connected_first", [False, True])
async def test_session_of_a_read_only_unit_of_work_reads_and_rejects_statements(
    new_reader: Callable[[], SQLAlchemyUnitOfWork], engine: AsyncEngine, is_connected_first: bool
) -> None:
    async with new_reader() as uow:
        if is_connected_first:
            await uow.connection()
        assert await uow.session.get(Note, "n-1") is not None
        with pytest.raises(ReadOnlyError, match="send a command"):
            await uow.session.execute(sa.insert(Note).values(id="n-2"))

    assert await _count_notes(engine) == 1


@pytest.mark.parametrize("change", ["add", "delete", "update"])
async def test_pending_changes_of_a_read_only_session_are_rejected_at_the_end(
    new_reader: Callable[[], SQLAlchemyUnitOfWork], engine: AsyncEngine, change: str
) -> None:
    uow = new_reader()

    async def change_session() -> None:
        async with uow:
            note = await uow.session.get_one(Note, "n-1")
            if change == "add":
                uow.session.add(Note(id="n-2"))
            elif change == "delete":
                await uow.session.delete(note)
            else:
                note.text = "bread"

    with pytest.raises(ReadOnlyError):
        await change_session()

    assert uow.state is UnitOfWorkState.ROLLED_BACK
    assert await _count_notes(engine) == 1


async def test_read_only_session_has_savepoints(
    new_reader: Callable[[], SQLAlchemyUnitOfWork],
) -> None:
    async with new_reader() as uow:
        async with uow.session.begin_nested():
            found = await uow.session.get(Note, "n-1")
        with pytest.raises(ReadOnlyError):
            async with uow.session.begin_nested():
                uow.session.add(Note(id="n-2"))

    assert found is not None


@pytest.mark.parametrize("is_session", [False, True])
async def test_pooled_connection_accepts_writes_after_a_read_only_unit_of_work(
    new_engine: Callable[..., AsyncEngine], is_session: bool
) -> None:
    engine = new_engine(pool_size=1, max_overflow=0)
    sessions = async_sessionmaker(engine)

    for number in range(3):
        async with SQLAlchemyUnitOfWork(session_factory=sessions, read_only=True) as uow:
            if is_session:
                await uow.session.get(Note, "n-1")
            else:
                await (await uow.connection()).scalar(sa.select(Note.id))
        async with engine.begin() as connection:
            await connection.execute(sa.insert(Note).values(id=f"own {number}"))
        async with sessions.begin() as session:
            session.add(Note(id=f"session {number}"))

    assert await _count_notes(engine) == 7
    await engine.dispose()


async def test_pooled_connection_rejects_writes_of_each_reader_and_accepts_those_of_a_writer(
    new_engine: Callable[..., AsyncEngine],
) -> None:
    engine = new_engine(pool_size=1, max_overflow=0)
    sessions = async_sessionmaker(engine)

    async def read() -> None:
        async with SQLAlchemyUnitOfWork(session_factory=sessions, read_only=True) as uow:
            await (await uow.connection()).scalar(sa.select(Note.id))

    async def check() -> None:
        for _ in range(2):
            async with SQLAlchemyUnitOfWork(session_factory=sessions, read_only=True) as uow:
                connection = await uow.connection()
                with pytest.raises(ReadOnlyError):
                    await connection.execute(sa.delete(Note))
        async with engine.begin() as writer:
            await writer.execute(sa.update(Note).values(text="bread"))

    await cancel_sweep(read, check)
    await read()
    async with engine.connect() as connection:
        pooled: Any = (await connection.get_raw_connection()).driver_connection
        await pooled.execute("DELETE FROM read_only_note")
    await engine.dispose()


@pytest.mark.parametrize("is_session", [False, True])
async def test_pooled_connection_accepts_writes_after_a_cancelled_read(
    new_engine: Callable[..., AsyncEngine], is_session: bool, backend: str
) -> None:
    engine = new_engine(pool_size=1, max_overflow=0)
    sessions = async_sessionmaker(engine)
    slow = sa.text(
        "SELECT pg_sleep(60)"
        if backend == "postgres"
        else "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) "
        "SELECT count(*) FROM n"
    )
    running = asyncio.Event()

    async def read() -> None:
        async with SQLAlchemyUnitOfWork(session_factory=sessions, read_only=True) as uow:
            reader = uow.session if is_session else await uow.connection()
            await reader.execute(sa.select(1))
            running.set()
            await reader.execute(slow)

    task = asyncio.ensure_future(read())
    await running.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    async with engine.begin() as connection:
        await connection.execute(sa.insert(Note).values(id="n-2"))

    assert task.cancelled()
    assert await _count_notes(engine) == 2
    await engine.dispose()


async def test_read_only_unit_of_work_reads_committed_rows_on_an_engine_with_snapshots(
    new_engine: Callable[..., AsyncEngine], backend: str
) -> None:
    level = "REPEATABLE READ" if backend == "postgres" else "SERIALIZABLE"
    engine = new_engine(isolation_level=level)

    async with SQLAlchemyUnitOfWork(
        session_factory=async_sessionmaker(engine), read_only=True
    ) as uow:
        connection = await uow.connection()
        before = await connection.scalar(sa.select(sa.func.count()).select_from(Note))
        async with engine.begin() as other:
            await other.execute(sa.insert(Note).values(id="n-2"))
        after = await connection.scalar(sa.select(sa.func.count()).select_from(Note))

    assert (before, after) == (1, 2)
    await engine.dispose()


async def test_query_cancelled_at_any_point_returns_its_connection(
    forgetful_engine: AsyncEngine, rows: None
) -> None:
    sessions = async_sessionmaker(forgetful_engine)
    handlers = HandlerRegistry()

    @handlers.query_handler
    async def read(query: ReadNotes, uow: UnitOfWork) -> tuple[str, bool]:
        assert isinstance(uow, SQLAlchemyUnitOfWork)
        note = await uow.session.get_one(Note, "n-1")
        connection = await uow.connection()
        return note.text, connection is await uow.session.connection()

    mediator = Mediator(
        handlers,
        uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions),
        query_uow_factory=lambda: SQLAlchemyUnitOfWork(session_factory=sessions, read_only=True),
    )

    async def check() -> None:
        pool = forgetful_engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        assert pool.checkedout() == 0
        async with forgetful_engine.begin() as connection:
            await connection.execute(sa.update(Note).values(text="milk"))

    assert await cancel_sweep(lambda: mediator.query(ReadNotes()), check) > 0
    assert (await mediator.query(ReadNotes())).result == ("milk", True)


async def test_error_of_an_ordinary_write_stays_an_error_of_sqlalchemy(
    session_factory: SessionFactory, new_reader: Callable[[], SQLAlchemyUnitOfWork], backend: str
) -> None:
    async with new_reader() as uow:
        await uow.session.get(Note, "n-1")

    with pytest.raises(sa.exc.IntegrityError):
        async with session_factory.begin() as session:
            session.add(Note(id="n-1"))
    if backend == "postgres":
        async with session_factory() as session:
            await session.execute(sa.text("SET TRANSACTION READ ONLY"))
            with pytest.raises(sa.exc.DBAPIError):
                await session.execute(sa.insert(Note).values(id="n-2"))


async def test_read_only_unit_of_work_needs_a_factory_on_an_engine(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.raises(ConfigError, match="pass session_factory=async_sessionmaker"):
            SQLAlchemyUnitOfWork(session, read_only=True)
    with pytest.raises(ConfigError, match="opens its own connection"):
        SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(), read_only=True)


async def test_failed_read_is_not_reported_as_a_rejected_write(
    session_factory: SessionFactory,
) -> None:
    absent = Tables(schema="absent")
    with pytest.raises(EventStoreError):
        async with SQLAlchemyUnitOfWork(
            session_factory=session_factory, tables=absent, read_only=True
        ) as uow:
            await uow.event_store.get_events("a-1")
