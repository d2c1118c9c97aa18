"""The toolkit behind PgBouncer in transaction mode, with the settings that the guide prints."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core import PersistenceError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    PostgresQueueSignal,
    SQLAlchemyEventStore,
    SQLAlchemyOutboxStorage,
    SQLAlchemyRepository,
    SQLAlchemyUnitOfWork,
    create_schema,
    schema,
)
from tests.databases import new_database
from tests.docs.blocks import ROOT
from tests.persistence_sqlalchemy.crates import Base, Crate, CrateModel
from tests.services import PgBouncer, running

GUIDE = ROOT / "docs/guides/databases.md"
PRINTED_URL = "postgresql+asyncpg://shop@pooler:6432/shop"
CLIENTS = 12
ROUNDS = 8


@pytest.fixture(scope="module")
def pooled_url(postgres_url: str) -> Iterator[str]:
    """Return the URL of a new database, through a real PgBouncer."""
    pooler = PgBouncer(new_database(postgres_url))
    if not any(pooler.programs("system")):
        pytest.skip("PgBouncer is not installed; on Debian run apt-get install pgbouncer")
    with running(pooler, sources=["system"]) as server:
        yield "postgresql+asyncpg" + server.url[server.url.index("://") :]


@pytest.fixture
async def engine(pooled_url: str) -> AsyncIterator[AsyncEngine]:
    """Engine made by the block of the guide, on another URL."""
    (block,) = re.findall(r"```python\n(pooled_engine = .*?)```", GUIDE.read_text("utf-8"), re.S)
    assert block.count(PRINTED_URL) == 1
    names: dict[str, Any] = {"create_async_engine": create_async_engine}
    exec(block.replace(PRINTED_URL, pooled_url), names)  # noqa: S102 - as printed is the purpose
    engine: AsyncEngine = names["pooled_engine"]
    await create_schema(engine, metadata={Base.metadata})
    yield engine
    await engine.dispose()


async def test_schema_is_checked_behind_pgbouncer(engine: AsyncEngine) -> None:
    await schema.check(engine, metadata={Base.metadata})


async def test_concurrent_reads_and_units_of_work_succeed_behind_pgbouncer(
    engine: AsyncEngine,
) -> None:
    session_factory = async_sessionmaker(engine)
    crates = SQLAlchemyRepository(Crate, CrateModel, session_factory)
    store = SQLAlchemyEventStore(session_factory)
    outbox = SQLAlchemyOutboxStorage(session_factory)

    async def use_the_toolkit() -> None:
        for _ in range(ROUNDS):
            crate, stream = Crate(id=str(uuid4()), place="A"), new_stream()
            async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
                await crates.add(crate)
                await uow.event_store.append(event(stream, 1))
                found = await uow.session.scalar(
                    select(CrateModel.place).where(CrateModel.id == crate.id)
                )
                assert found == "A"
            stored = await crates.get(crate.id)
            assert stored is not None
            assert stored.id == crate.id
            (only,) = await store.get_events(stream.aggregate_id)
            assert only.stream == stream
            assert only.position is not None
            assert await store.get_events_after(only.position - 1, limit=1) == [only]
            assert await store.latest_position() >= only.position
            assert await outbox.claim("relay") == []

    await asyncio.gather(*(use_the_toolkit() for _ in range(CLIENTS)))


async def test_named_statements_behind_pgbouncer_raise_an_error_with_the_settings(
    engine: AsyncEngine, pooled_url: str
) -> None:
    named = create_async_engine(
        pooled_url,
        connect_args={
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"statement {uuid4()}",
        },
        pool_size=CLIENTS,
        max_overflow=0,
    )
    crates = SQLAlchemyRepository(Crate, CrateModel, async_sessionmaker(named))
    try:
        replies = await asyncio.gather(
            *(crates.get("nothing") for _ in range(CLIENTS * ROUNDS)), return_exceptions=True
        )
    finally:
        await named.dispose()

    errors = [reply for reply in replies if reply is not None]
    assert errors
    for error in errors:
        assert isinstance(error, PersistenceError)
        assert "prepared_statement_name_func=lambda: ''" in str(error)


async def test_signal_behind_pgbouncer_warns_once_and_lets_its_users_poll(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    session_factory = async_sessionmaker(engine)
    async with PostgresQueueSignal(engine) as signal:
        store = SQLAlchemyEventStore(session_factory, signal=signal, poll_interval=0.05)
        before = await store.latest_position()
        waiting = asyncio.ensure_future(store.wait_for(before + 1, timeout=30))
        async with SQLAlchemyUnitOfWork(session_factory=session_factory, signal=signal) as uow:
            await uow.event_store.append(event(new_stream(), 1))

        assert await waiting
        assert not await signal.wait("channel", 0.01)

    (record,) = caplog.records
    assert record.getMessage().startswith("cannot listen: the pooler in front of PostgreSQL")
    assert "polling" in record.getMessage()


async def test_signal_behind_pgbouncer_in_session_mode_wakes_its_waiters(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    engine = create_async_engine(pooled_url.rpartition("/")[0] + "/in_session_mode")
    async with PostgresQueueSignal(engine) as signal:
        waiting = asyncio.ensure_future(signal.wait("channel", 30))
        await asyncio.sleep(0.1)
        await signal.notify("channel")

        assert await waiting

    await engine.dispose()
    assert not caplog.records
