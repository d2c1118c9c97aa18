"""Tests of the order in which the tasks of one process write to an SQLite file."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork, configure_sqlite
from cqrs_ddd_persistence_sqlalchemy.engine.write_queue import QueueingConnection, WriteQueue

_SETTLED = 0.25
"""Seconds after which SQLite tries again only every 100 ms."""


class _OwnConnection(sqlite3.Connection):
    """Connection class of a user, which has no queue."""


@asynccontextmanager
async def _open_engine(
    path: Path, busy_timeout: float = 30.0, **options: Any
) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}/queue.db", **options)
    configure_sqlite(engine, busy_timeout=busy_timeout)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS rows (n TEXT)"))
    yield engine
    await engine.dispose()


async def _write(engine: AsyncEngine, name: str) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine)) as uow:
        await uow.session.execute(text("INSERT INTO rows VALUES (:name)"), {"name": name})


async def _read(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT n FROM rows ORDER BY rowid")))


async def _write_early_and_late(engine: AsyncEngine, rounds: int) -> list[str]:
    """Let a writer wait long, and another one for a moment, and return the order of their rows."""
    for _ in range(rounds):
        async with engine.begin() as holder:
            await holder.execute(text("DELETE FROM rows WHERE n = 'none'"))
            early = asyncio.create_task(_write(engine, "early"))
            await asyncio.sleep(_SETTLED)
            late = asyncio.create_task(_write(engine, "late"))
            await asyncio.sleep(0.01)
        await asyncio.gather(early, late)
    return await _read(engine)


async def test_writers_of_one_process_write_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    async with _open_engine(tmp_path) as engine:
        assert await _write_early_and_late(engine, rounds=5) == ["early", "late"] * 5


async def test_writers_without_the_queue_overtake_each_other(tmp_path: Path) -> None:
    async with _open_engine(tmp_path, connect_args={"factory": _OwnConnection}) as engine:
        assert await _write_early_and_late(engine, rounds=8) != ["early", "late"] * 8


async def test_engines_on_one_file_share_the_queue(tmp_path: Path) -> None:
    async with _open_engine(tmp_path) as one, _open_engine(tmp_path) as two, one.begin() as holder:
        await holder.execute(text("INSERT INTO rows VALUES ('holder')"))
        writers = [asyncio.create_task(_write(two, "first"))]
        await asyncio.sleep(_SETTLED)
        writers.append(asyncio.create_task(_write(one, "second")))
        await asyncio.sleep(0.01)
        await holder.commit()
        await asyncio.gather(*writers)

        assert await _read(one) == ["holder", "first", "second"]


async def test_cancelled_waiter_leaves_the_queue_to_the_next_writer(tmp_path: Path) -> None:
    async with _open_engine(tmp_path) as engine, engine.begin() as holder:
        await holder.execute(text("INSERT INTO rows VALUES ('holder')"))
        cancelled = asyncio.create_task(_write(engine, "cancelled"))
        await asyncio.sleep(0.05)
        following = asyncio.create_task(_write(engine, "next"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await holder.commit()
        await asyncio.wait_for(following, 10)
        with pytest.raises(asyncio.CancelledError):
            await cancelled

        assert await _read(engine) == ["holder", "next"]


async def test_writer_whose_turn_does_not_come_fails_and_leaves_the_queue(tmp_path: Path) -> None:
    async with _open_engine(tmp_path, busy_timeout=0.1) as engine:
        async with engine.begin() as holder:
            await holder.execute(text("INSERT INTO rows VALUES ('holder')"))
            with pytest.raises(OperationalError, match="database is locked"):
                await _write(engine, "too late")
        await _write(engine, "after")

        assert await _read(engine) == ["holder", "after"]


async def test_read_only_unit_of_work_does_not_take_a_turn(tmp_path: Path) -> None:
    async with _open_engine(tmp_path, busy_timeout=0.1) as engine:
        factory = async_sessionmaker(engine)
        async with SQLAlchemyUnitOfWork(session_factory=factory, read_only=True) as reader:
            async with reader.session.begin_nested():
                assert await reader.session.scalar(text("SELECT count(*) FROM rows")) == 0
            await _write(engine, "writer")


def test_writer_abandoned_by_its_event_loop_does_not_block_the_next_one(tmp_path: Path) -> None:
    async def abandon() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/queue.db")
        configure_sqlite(engine)
        connection = await engine.connect()
        await connection.execute(text("CREATE TABLE rows (n TEXT)"))

    async def write() -> list[str]:
        async with _open_engine(tmp_path, busy_timeout=5) as engine:
            await _write(engine, "next")
            return await _read(engine)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(abandon())
        gc.collect()

    assert asyncio.run(write()) == ["next"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_process_writes_although_its_parent_held_the_turn(tmp_path: Path) -> None:
    database = str(tmp_path / "queue.db")
    with closing(QueueingConnection(database, busy_timeout=1)) as parent:
        parent.execute("CREATE TABLE rows (n TEXT)")
        parent.execute("INSERT INTO rows VALUES ('parent')")
        child = os.fork()
        if child == 0:
            is_free = WriteQueue.find(os.path.realpath(database)).acquire(0)
            os._exit(0 if is_free else 1)
        parent.commit()

    assert os.waitpid(child, 0)[1] == 0


def test_turn_ends_with_every_way_to_end_a_transaction(tmp_path: Path) -> None:
    database = str(tmp_path / "queue.db")
    with closing(QueueingConnection(database, busy_timeout=1)) as connection:
        queue = WriteQueue.find(os.path.realpath(database))
        connection.execute("CREATE TABLE rows (n TEXT)")

        def is_free() -> bool:
            free = queue.acquire(0)
            if free:
                queue.release()
            return free

        for end in (
            connection.commit,
            connection.rollback,
            lambda: connection.__exit__(None, None, None),
            lambda: connection.execute("COMMIT"),
            lambda: connection.execute("ROLLBACK"),
            lambda: connection.cursor().executescript("SELECT 1"),
        ):
            connection.execute("INSERT INTO rows VALUES ('a')")
            assert not is_free()
            end()
            assert is_free()


def test_turn_that_comes_at_the_moment_of_the_timeout_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = WriteQueue()
    guard = threading.RLock()  # So that this thread can release inside of it.
    monkeypatch.setattr(queue, "_guard", guard)
    assert queue.acquire(1)
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(queue.acquire, 0.05)
        while not queue._waiters:
            time.sleep(0.001)
        with guard:
            time.sleep(0.2)  # The waiter has timed out, and is about to leave the queue.
            queue.release()
        assert waiter.result()
    queue.release()

    assert queue.acquire(0)
