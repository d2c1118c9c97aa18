"""Tests of reads on a standby, which does not see the locks of appending transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from cqrs_ddd_core.primitives.exceptions import EventStoreError
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, create_schema
from tests.persistence_sqlalchemy.conftest import asyncpg_url
from tests.processes import free_port, serve
from tests.services import SOURCES, Postgres, running, wait_until_it_answers

STREAM = new_stream()


class Standby(Postgres):
    """Server that is stopped after it stored one event, and restarts as a standby."""

    def prepare(self, program: Path, room: Path) -> Path:
        program, port = super().prepare(program, room), free_port()
        arguments, settings = self.command(room, port)
        command = [program, *arguments]
        with serve(
            self.account, command, room, settings=settings, stop_signal=self.stop_signal
        ) as server:
            wait_until_it_answers(self, server, self.url(port))
            with ThreadPoolExecutor(1) as executor:
                executor.submit(asyncio.run, _store_one_event(self.url(port))).result()
        (room / "data/standby.signal").touch()
        return program


async def _store_one_event(url: str) -> None:
    engine = create_async_engine(asyncpg_url(url))
    await create_schema(engine)
    await SQLAlchemyEventStore(async_sessionmaker(engine)).append(event(STREAM, 1))
    await engine.dispose()


@pytest.fixture(scope="module")
def standby_url() -> Iterator[str]:
    with running(Standby(), sources=SOURCES) as server:
        yield asyncpg_url(server.url)


async def test_standby_database_serves_reads_of_single_streams_but_no_global_reads(
    standby_url: str,
) -> None:
    engine = create_async_engine(standby_url)
    store = SQLAlchemyEventStore(async_sessionmaker(engine))

    found = await store.get_events(STREAM.aggregate_id)
    with pytest.raises(EventStoreError, match="on the primary"):
        await store.get_events_after(0)

    assert [e.version for e in found] == [1]
    await engine.dispose()
