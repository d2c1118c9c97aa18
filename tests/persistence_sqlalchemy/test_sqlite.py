"""Tests of SQLite engines of the user, which tasks and processes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cqrs_ddd_core.primitives.exceptions import ConfigError, EventStoreError, PersistenceError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
    configure_sqlite,
    create_schema,
)

_THREAD_END = 0.1
"""Seconds; aiosqlite does not wait for the thread of a connection that was never opened."""


@pytest.fixture
async def bare_engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/own.db")
    yield engine
    await engine.dispose()


@pytest.fixture
async def own(bare_engine: AsyncEngine) -> AsyncEngine:
    configure_sqlite(bare_engine, busy_timeout=0.2)
    async with bare_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        await connection.execute(
            text("CREATE TABLE rows (n INTEGER, parent INTEGER REFERENCES parents (id))")
        )
    return bare_engine


async def _rows(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT n FROM rows ORDER BY n")))


async def test_configured_sqlite_uses_wal_mode_and_checks_foreign_keys(own: AsyncEngine) -> None:
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        assert await _rows(own) == []
        await writer.commit()
        assert await writer.scalar(text("PRAGMA journal_mode")) == "wal"

    assert await _rows(own) == [1]
    with pytest.raises(IntegrityError):
        async with own.begin() as connection:
            await connection.execute(text("INSERT INTO rows (parent) VALUES (7)"))


async def test_transaction_that_read_first_can_write_after_a_concurrent_commit(
    own: AsyncEngine,
) -> None:
    """On an engine that is not configured, the write lock is denied at once after a read."""
    async with own.connect() as one:
        assert await one.scalar(text("SELECT count(*) FROM rows")) == 0
        async with own.begin() as two:
            await two.execute(text("INSERT INTO rows (n) VALUES (2)"))
        await one.execute(text("INSERT INTO rows (n) VALUES (1)"))
        await one.commit()

    assert await _rows(own) == [1, 2]


async def test_unconfigured_sqlite_rejects_a_write_after_a_read_and_a_concurrent_commit(
    bare_engine: AsyncEngine,
) -> None:
    async with bare_engine.begin() as connection:
        await connection.execute(text("PRAGMA journal_mode = WAL"))
        await connection.execute(text("CREATE TABLE rows (n INTEGER)"))

    async with bare_engine.connect() as one:
        await one.execute(text("BEGIN"))
        await one.scalar(text("SELECT count(*) FROM rows"))
        async with bare_engine.begin() as two:
            await two.execute(text("INSERT INTO rows (n) VALUES (2)"))
        with pytest.raises(OperationalError, match="database is locked"):
            await one.execute(text("INSERT INTO rows (n) VALUES (1)"))


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO rows (n) VALUES (1)",
        "WITH given AS (SELECT 1 AS n) INSERT INTO rows (n) SELECT n FROM given",
        "REPLACE INTO rows (n) VALUES (1)",
        "CREATE TABLE more (n INTEGER)",
    ],
)
async def test_rollback_undoes_every_kind_of_statement_on_sqlite(
    own: AsyncEngine, change: str
) -> None:
    async with own.connect() as connection:
        await connection.execute(text(change))
        await connection.rollback()
        assert await connection.scalar(text("SELECT count(*) FROM rows")) == 0
        tables = await connection.scalars(text("SELECT name FROM sqlite_master"))
        assert "more" not in set(tables)


@pytest.mark.parametrize(
    "query",
    [
        "/* a comment */ SELECT 1",
        "-- a comment\nSELECT 1",
        "WITH\nx AS (SELECT 1) SELECT * FROM x",
        "WITH x AS (SELECT 'a' AS a) SELECT replace(a, 'a', 'b') FROM x",
    ],
)
async def test_query_on_sqlite_takes_no_write_lock(own: AsyncEngine, query: str) -> None:
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        async with own.connect() as reader:
            await reader.execute(text(query))


async def test_vacuum_works_on_a_configured_sqlite_engine(own: AsyncEngine) -> None:
    async with own.connect() as connection:
        await connection.execute(text("VACUUM"))


async def test_connection_used_in_autocommit_mode_is_transactional_again(own: AsyncEngine) -> None:
    async with own.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ANALYZE"))
    await create_schema(own)

    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(own)) as uow:
        await uow.event_store.append(event(new_stream(), 1))
        await uow.rollback()

    assert await SQLAlchemyEventStore(async_sessionmaker(own)).get_events_after(0) == []


async def test_savepoint_as_the_first_statement_is_not_committed_by_itself(
    own: AsyncEngine,
) -> None:
    async with own.connect() as connection:
        async with connection.begin_nested():
            await connection.execute(text("INSERT INTO rows (n) VALUES (1)"))
        await connection.rollback()

    assert await _rows(own) == []


async def test_writer_that_waits_too_long_gets_an_error_that_names_busy_timeout(
    own: AsyncEngine,
) -> None:
    await create_schema(own)
    store = SQLAlchemyEventStore(async_sessionmaker(own))
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        with pytest.raises(EventStoreError, match=r"database is locked; .*busy_timeout"):
            await store.append(event(new_stream(), 1))
        await writer.rollback()

    await store.append(event(new_stream(), 1))


async def test_cancelled_statement_on_sqlite_releases_the_write_lock(own: AsyncEngine) -> None:
    for turns in range(1, 12):
        task = asyncio.ensure_future(_insert_returning(own))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        # The traceback of the task keeps the cursor alive.
        async with own.begin() as connection:
            await connection.execute(text("INSERT INTO rows (n) VALUES (1)"))
        del task
    await asyncio.sleep(_THREAD_END)


async def _insert_returning(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO rows (n) VALUES (1), (2) RETURNING n"))


async def test_configure_sqlite_works_late_or_twice_and_only_on_sqlite_files(
    tmp_path: Path,
) -> None:
    memory = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigError, match="share one connection"):
        configure_sqlite(memory)
    postgres = create_async_engine("postgresql+asyncpg://user@localhost/none")
    with pytest.raises(ConfigError, match="it is for SQLite only"):
        configure_sqlite(postgres)
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/used.db")
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 0
    assert configure_sqlite(configure_sqlite(engine)) is engine
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    await engine.dispose()


async def test_sqlite_file_that_cannot_be_opened_raises_a_persistence_error(tmp_path: Path) -> None:
    engine = configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/no/such.db"))
    with pytest.raises(PersistenceError, match="cannot create the schema: .*unable to open"):
        await create_schema(engine)
    await asyncio.sleep(_THREAD_END)
    await engine.dispose()


@pytest.mark.parametrize("reset", [None, "rollback", "commit"])
async def test_rolled_back_changes_stay_undone_for_every_pool_reset_setting(
    tmp_path: Path, reset: str | None
) -> None:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/own.db",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        pool_reset_on_return=reset,
    )
    configure_sqlite(engine)
    await create_schema(engine)
    factory = async_sessionmaker(engine)
    streams = [new_stream() for _ in range(4)]

    async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
        await uow.event_store.append(event(streams[0], 1))
        await uow.rollback()
    async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
        await uow.event_store.append(event(streams[1], 1))
        await uow.session.execute(text("SELECT 1"))
        await uow.rollback()
    interrupted = SQLAlchemyUnitOfWork(session_factory=factory)
    await interrupted.driver_connection()
    task = asyncio.ensure_future(interrupted.event_store.append(event(streams[2], 1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await interrupted.rollback()
    async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
        await uow.event_store.append(event(streams[3], 1))

    found = await SQLAlchemyEventStore(factory).get_events_after(0)
    assert task.cancelled()
    assert [e.stream for e in found] == [streams[3]]
    await engine.dispose()
