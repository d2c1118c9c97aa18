"""Engines that are used in a second event loop, or in a forked process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_core import InvalidOperationError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
    create_schema,
    schema,
)

NewEngine = Callable[..., AsyncEngine]
Run = Callable[[Coroutine[Any, Any, None]], None]

AFTER_FORK = """
import asyncio, os, sys
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from cqrs_ddd_core import InvalidOperationError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, configure_sqlite, create_schema

engine = create_async_engine(sys.argv[1])
if engine.dialect.name == "sqlite":
    configure_sqlite(engine)

async def read():
    await SQLAlchemyEventStore(async_sessionmaker(engine)).get_events("nobody")

async def prepare():
    await create_schema(engine)
    await read()

loop = asyncio.new_event_loop()
loop.run_until_complete(prepare())
if child := os.fork():
    os.waitpid(child, 0)
    loop.run_until_complete(engine.dispose())
else:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(read())
    except InvalidOperationError as error:
        print(error)
    loop.run_until_complete(engine.dispose(close=False))
    loop.run_until_complete(read())
    print("it works after dispose", flush=True)
    os._exit(0)
"""


async def read(engine: AsyncEngine) -> None:
    await SQLAlchemyEventStore(async_sessionmaker(engine)).get_events("nobody")


async def write(engine: AsyncEngine) -> None:
    async with SQLAlchemyUnitOfWork(session_factory=async_sessionmaker(engine)) as uow:
        await uow.event_store.append(event(new_stream(), 1))


async def check(engine: AsyncEngine) -> None:
    await schema.check(engine)


@contextmanager
def two_event_loops() -> Iterator[tuple[Run, Run]]:
    loops = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        yield loops[0].run_until_complete, loops[1].run_until_complete
    finally:
        for loop in loops:
            loop.close()


@pytest.mark.parametrize("work", [read, write, check])
def test_engine_of_another_event_loop_is_rejected_until_it_is_disposed_of(
    new_engine: NewEngine, work: Callable[[AsyncEngine], Coroutine[Any, Any, None]]
) -> None:
    engine = new_engine()
    with two_event_loops() as (first, second):
        first(create_schema(engine))

        with pytest.raises(InvalidOperationError, match="connections of another event loop"):
            second(work(engine))

        first(engine.dispose())
        second(work(engine))
        second(engine.dispose())


def test_engine_without_a_pool_works_in_several_event_loops(new_engine: NewEngine) -> None:
    engine = new_engine(poolclass=NullPool)
    with two_event_loops() as (first, second):
        first(create_schema(engine))
        second(write(engine))
        first(read(engine))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_engine_of_the_process_before_a_fork_is_rejected(database_url: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", AFTER_FORK, database_url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert "which this process was forked from; create the engine after the fork" in ended.stdout
    assert ended.stdout.endswith("it works after dispose\n")
