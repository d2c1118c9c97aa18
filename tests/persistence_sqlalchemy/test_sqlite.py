"""An engine of the user's own on SQLite, shared by tasks and processes."""

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

_A_THREAD_ENDS = 0.1
"""Seconds; aiosqlite does not wait for the thread of a connection that was never made."""


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/own.db")
    yield engine
    await engine.dispose()


@pytest.fixture
async def own(plain: AsyncEngine) -> AsyncEngine:
    configure_sqlite(plain, busy_timeout=0.2)
    async with plain.begin() as connection:
        await connection.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        await connection.execute(
            text("CREATE TABLE rows (n INTEGER, parent INTEGER REFERENCES parents (id))")
        )
    return plain


async def _rows(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT n FROM rows ORDER BY n")))


async def test_readers_do_not_wait_and_keys_are_checked(own: AsyncEngine) -> None:
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        assert await _rows(own) == []
        await writer.commit()
        assert await writer.scalar(text("PRAGMA journal_mode")) == "wal"

    assert await _rows(own) == [1]
    with pytest.raises(IntegrityError):
        async with own.begin() as connection:
            await connection.execute(text("INSERT INTO rows (parent) VALUES (7)"))


async def test_who_has_read_may_still_write_though_others_did_meanwhile(own: AsyncEngine) -> None:
    """A transaction that reads first and then asks for the lock is refused at once, elsewhere."""
    async with own.connect() as one:
        assert await one.scalar(text("SELECT count(*) FROM rows")) == 0
        async with own.begin() as two:
            await two.execute(text("INSERT INTO rows (n) VALUES (2)"))
        await one.execute(text("INSERT INTO rows (n) VALUES (1)"))
        await one.commit()

    assert await _rows(own) == [1, 2]


async def test_unconfigured_such_a_one_is_refused(plain: AsyncEngine) -> None:
    async with plain.begin() as connection:
        await connection.execute(text("PRAGMA journal_mode = WAL"))
        await connection.execute(text("CREATE TABLE rows (n INTEGER)"))

    async with plain.connect() as one:
        await one.execute(text("BEGIN"))
        await one.scalar(text("SELECT count(*) FROM rows"))
        async with plain.begin() as two:
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
async def test_every_change_is_undone_by_a_rollback(own: AsyncEngine, change: str) -> None:
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
async def test_a_query_takes_no_lock(own: AsyncEngine, query: str) -> None:
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        async with own.connect() as reader:
            await reader.execute(text(query))


async def test_what_cannot_be_in_a_transaction_still_works(own: AsyncEngine) -> None:
    async with own.connect() as connection:
        await connection.execute(text("VACUUM"))


async def test_a_connection_that_was_in_autocommit_mode_is_put_right(own: AsyncEngine) -> None:
    async with own.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ANALYZE"))
    await create_schema(own)

    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(own)) as uow:
        await uow.event_store.append(event(new_stream(), 1))
        await uow.rollback()

    assert await SQLAlchemyEventStore(async_sessionmaker(own)).get_events_after(0) == []


async def test_a_savepoint_that_comes_first_commits_nothing_by_itself(own: AsyncEngine) -> None:
    async with own.connect() as connection:
        async with connection.begin_nested():
            await connection.execute(text("INSERT INTO rows (n) VALUES (1)"))
        await connection.rollback()

    assert await _rows(own) == []


async def test_a_writer_that_waits_too_long_is_told_so(own: AsyncEngine) -> None:
    await create_schema(own)
    store = SQLAlchemyEventStore(async_sessionmaker(own))
    async with own.connect() as writer:
        await writer.execute(text("INSERT INTO rows (n) VALUES (1)"))
        with pytest.raises(EventStoreError, match=r"database is locked; .*busy_timeout"):
            await store.append(event(new_stream(), 1))
        await writer.rollback()

    await store.append(event(new_stream(), 1))


async def test_a_cancelled_statement_frees_the_lock(own: AsyncEngine) -> None:
    for turns in range(1, 12):
        task = asyncio.ensure_future(_insert_returning(own))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        # The task keeps the cursor alive by its traceback.
        async with own.begin() as connection:
            await connection.execute(text("INSERT INTO rows (n) VALUES (1)"))
        del task
    await asyncio.sleep(_A_THREAD_ENDS)


async def _insert_returning(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO rows (n) VALUES (1), (2) RETURNING n"))


async def test_it_is_for_sqlite_and_may_come_late_or_twice(tmp_path: Path) -> None:
    memory = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigError, match="share one connection"):
        configure_sqlite(memory)
    elsewhere = create_async_engine("postgresql+asyncpg://nobody@localhost/none")
    with pytest.raises(ConfigError, match="it is for SQLite only"):
        configure_sqlite(elsewhere)
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/used.db")
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 0
    assert configure_sqlite(configure_sqlite(engine)) is engine
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    await engine.dispose()


async def test_a_database_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    engine = configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/no/such.db"))
    with pytest.raises(PersistenceError, match="cannot create the schema: .*unable to open"):
        await create_schema(engine)
    await asyncio.sleep(_A_THREAD_ENDS)
    await engine.dispose()


@pytest.mark.parametrize("reset", [None, "rollback", "commit"])
async def test_what_is_undone_stays_undone_whatever_the_pool_does_on_return(
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
