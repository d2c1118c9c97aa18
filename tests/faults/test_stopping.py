"""Tests of services that are stopped while the database does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from cqrs_ddd_core import Application, Health
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_core.messaging import OutboxRelay
from cqrs_ddd_core.ports import OutboxMessage
from cqrs_ddd_core.primitives.background_service import ServiceState
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyBackend, SQLAlchemyOutboxStorage, Tables
from tests.faults.proxy import AtCommit, Proxy
from tests.persistence_sqlalchemy.conftest import SessionFactory

pytestmark = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


@pytest.fixture
async def proxy_engine(proxy: Proxy) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(proxy.url)
    yield engine
    await engine.dispose()


async def test_relay_stops_within_its_grace_period_although_the_database_does_not_answer(
    proxy: Proxy, proxy_engine: AsyncEngine, session_factory: SessionFactory, tables: Tables
) -> None:
    outbox = SQLAlchemyOutboxStorage(session_factory, tables=tables)
    await outbox.save_messages([OutboxMessage("m-1", "Tested", {})])
    frozen = SQLAlchemyOutboxStorage(async_sessionmaker(proxy_engine), tables=tables)
    proxy.at_commit = AtCommit.FREEZE
    relay = OutboxRelay(frozen, InMemoryMessageBus())
    await relay.start()
    await proxy.frozen.wait()
    (loop,) = relay._loops

    # Without a limit this waits until the database answers, which it never does.
    await asyncio.wait_for(relay.stop(grace=0.1), timeout=60)

    assert relay.status.state is ServiceState.STOPPED
    proxy.thaw()
    await asyncio.wait({loop.task})
    assert len(await outbox.get_pending()) == 1


async def test_application_on_a_frozen_database_is_not_ready_and_ends_within_its_grace_period(
    proxy: Proxy, tables: Tables
) -> None:
    async def run() -> list[Health]:
        backend = SQLAlchemyBackend(proxy.url, tables=tables)
        async with Application(backend, publisher=InMemoryMessageBus(), grace=0.2) as app:
            before = await app.health(timeout=30)
            proxy.is_frozen = True
            return [before, await app.health(timeout=0.2)]

    # Without limits these wait until the database answers, which it never does.
    before, frozen = await asyncio.wait_for(run(), timeout=60)

    assert (before.is_ready, before.error_type) == (True, None)
    assert (frozen.is_ready, frozen.error_type) == (False, "TimeoutError")
    proxy.thaw()
