"""Tests of the connections that adapters open: errors of an outage, and operations for hooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core import ErrorClass, PersistenceError, classify_error
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
    configure_sqlite,
)
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory
from tests.processes import free_port

Work = Callable[[SessionFactory], Awaitable[object]]


async def _open_session(session_factory: SessionFactory) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
        assert uow.session
        await uow.connection()


async def _read_only(session_factory: SessionFactory) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=session_factory, read_only=True) as uow:
        await uow.connection()


async def _join(session_factory: SessionFactory) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
        await SQLAlchemyInbox().register("consumer", "m-1", "fingerprint", uow)


WORK: dict[str, Work] = {
    "claim": lambda factory: SQLAlchemyOutboxStorage(session_factory=factory).claim("relay"),
    "read": lambda factory: SQLAlchemyEventStore(session_factory=factory).get_events_after(0),
    "pending": lambda factory: SQLAlchemyOutboxStorage(session_factory=factory).get_pending(),
    "join": _join,
    "session": _open_session,
    "read_only": _read_only,
}


@pytest.fixture
async def unreachable(backend: str, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    threads = set(threading.enumerate())
    if backend == "postgres":
        yield create_async_engine(f"postgresql+asyncpg://u:secret@127.0.0.1:{free_port()}/shop")
        return
    missing = tmp_path / "missing" / "shop.db"
    yield configure_sqlite(create_async_engine(f"sqlite+aiosqlite:///{missing}"))
    # The driver does not wait for the thread of a connection that it could not open.
    for thread in set(threading.enumerate()) - threads:
        await asyncio.to_thread(thread.join, 5)


@pytest.mark.parametrize("work", WORK)
async def test_unreachable_database_is_reported_as_such_whatever_needs_it_first(
    unreachable: AsyncEngine, work: str
) -> None:
    with pytest.raises(PersistenceError, match="^cannot connect to the database: ") as caught:
        await WORK[work](async_sessionmaker(unreachable))

    assert classify_error(caught.value) is ErrorClass.TRANSIENT
    assert "secret" not in str(caught.value)
    await unreachable.dispose()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)  # SQLite has no server.
async def test_connection_that_was_lost_in_the_pool_fails_the_begin_of_a_transaction(
    new_engine: Callable[..., AsyncEngine], engine: AsyncEngine, tables: Tables
) -> None:
    pooled = new_engine(pool_size=1, max_overflow=0)
    async with pooled.connect() as connection:
        pid = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    inbox = SQLAlchemyInbox(async_sessionmaker(pooled), tables=tables)
    with pytest.raises(PersistenceError, match="^cannot begin a transaction: "):
        await inbox.register("consumer", "m-1", "fingerprint")
    assert await inbox.register("consumer", "m-1", "fingerprint") is None
    await pooled.dispose()


@pytest.fixture
def operations() -> Iterator[list[str]]:
    found: list[str] = []

    @contextmanager
    def record(operation: Operation) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            found.append(f"{operation.name} failed with {type(error).__name__}")
            raise
        found.append(operation.name)

    remove = hooks.register(record)
    yield found
    remove()


@pytest.mark.parametrize("has_session", [False, True])
async def test_hooks_see_the_wait_for_a_connection_and_the_commit_once(
    new_uow: NewUnitOfWork, operations: list[str], has_session: bool
) -> None:
    async with new_uow() as uow:
        assert not has_session or uow.session
        for _ in range(3):
            await (await uow.connection()).execute(sa.text("SELECT 1"))

    assert operations == ["database.connect", "transaction.commit"]


async def test_hooks_see_the_wait_for_a_connection_of_an_exhausted_pool(
    new_engine: Callable[..., AsyncEngine], operations: list[str]
) -> None:
    engine = new_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    factory = async_sessionmaker(engine)
    async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
        await uow.connection()
        with pytest.raises(PersistenceError, match="all connections of the pool are in use"):
            await SQLAlchemyOutboxStorage(session_factory=factory).claim("relay")

    assert operations == [
        "database.connect",
        "database.connect failed with PersistenceError",
        "transaction.commit",
    ]
    await engine.dispose()


async def test_hooks_see_the_error_of_a_commit(
    new_uow: NewUnitOfWork, operations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uow = new_uow()

    async def fail() -> None:
        raise PersistenceError("the disk is full")

    monkeypatch.setattr(uow, "_send_commit", fail)

    with pytest.raises(PersistenceError, match="the disk is full"):
        async with uow:
            await uow.connection()

    assert operations == ["database.connect", "transaction.commit failed with PersistenceError"]
