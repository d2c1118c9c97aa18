"""Tests of the SQLAlchemy event store beyond its contract."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker

from cqrs_ddd_core.ports import ExpectedVersion, StoredEvent
from cqrs_ddd_core.primitives.exceptions import (
    DuplicateEventError,
    EventStoreError,
    InvalidOperationError,
    OptimisticConcurrencyError,
)
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import (
    PostgresQueueSignal,
    SQLAlchemyEventStore,
    SQLAlchemyUnitOfWork,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from cqrs_ddd_persistence_sqlalchemy.engine.driver import fetch
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    return SQLAlchemyEventStore(session_factory, tables=tables)


async def test_stored_event_equals_the_event_that_is_read_back(store: SQLAlchemyEventStore) -> None:
    stored = event(new_stream(), 1, payload={"a": [1]}, metadata={"user_id": "u"})
    await store.append(stored)

    (found,) = await store.get_events(stored.aggregate_id)
    plain = dataclasses.replace(stored, position=found.position)

    assert isinstance(found, StoredEvent)
    assert found == plain
    assert plain == found
    assert found != stored
    assert dataclasses.replace(found, version=7).payload == {"a": [1]}
    assert dataclasses.asdict(found) == dataclasses.asdict(plain)
    assert found.stream == stored.stream
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.payload = {}  # type: ignore[misc]


async def test_reader_does_not_skip_the_first_position_of_a_new_event_store(
    store: SQLAlchemyEventStore, new_uow: NewUnitOfWork
) -> None:
    """Check the last value of the sequence, which is 1 both before and after its first use."""
    streams = new_stream(), new_stream()
    async with new_uow() as slow:
        await slow.event_store.append(event(streams[0], 1))
        before = await _read_in_new_context(store)
    after = await store.get_events_after(before[-1].position or 0 if before else 0)

    assert before == []
    assert [e.stream for e in after] == [streams[0]]
    assert await store.latest_position() == after[-1].position


async def _read_in_new_context(store: SQLAlchemyEventStore) -> list[StoredEvent]:
    # A new context has no open unit of work that the read could join.
    loop = asyncio.get_running_loop()
    return await contextvars.Context().run(loop.create_task, store.get_events_after(0))


async def test_event_store_keeps_the_order_of_a_large_batch(store: SQLAlchemyEventStore) -> None:
    stream = new_stream()
    events = [event(stream, n) for n in range(1, 2_102)]

    await store.append_batch(events)
    found = await store.get_events_after(0, limit=5_000)

    assert [e.event_id for e in found] == [e.event_id for e in events]


async def test_append_conflict_names_the_expected_and_the_actual_version(
    store: SQLAlchemyEventStore,
) -> None:
    stream = new_stream()
    await store.append_batch([event(stream, n) for n in (1, 2, 3)])

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await store.append_batch([event(stream, 2), event(stream, 4)])
    assert (caught.value.expected, caught.value.actual) == (1, 3)

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await store.append_to_stream(
            stream, [event(stream, 1)], expected_version=ExpectedVersion.NO_STREAM
        )
    assert (caught.value.expected, caught.value.actual) == (ExpectedVersion.NO_STREAM, 3)


async def test_second_concurrent_append_of_a_version_gets_the_actual_version(
    store: SQLAlchemyEventStore, new_uow: NewUnitOfWork
) -> None:
    stream = new_stream()

    async def second() -> None:
        async with new_uow() as uow:
            await uow.event_store.append(event(stream, 1))

    async with new_uow() as first:
        await first.event_store.append_batch([event(stream, 1), event(stream, 2)])
        waiting = asyncio.ensure_future(second())
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await waiting
    assert (caught.value.expected, caught.value.actual) == (0, 2)


async def test_batch_with_duplicate_events_is_rejected(store: SQLAlchemyEventStore) -> None:
    stream = new_stream()
    first = event(stream, 1)

    with pytest.raises(DuplicateEventError):
        await store.append_batch([first, event(stream, 2, event_id=first.event_id)])

    assert await store.get_events(stream.aggregate_id) == []


async def test_batch_conflicts_with_events_appended_earlier_in_its_unit_of_work(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()

    async def append_twice() -> None:
        async with new_uow() as uow:
            await uow.event_store.append_batch([event(stream, 1), event(stream, 2)])
            await uow.event_store.append_batch([event(stream, 2), event(stream, 3)])

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await append_twice()

    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert await store.get_events(stream.aggregate_id) == []


async def test_conflicting_batch_keeps_the_savepoint_of_the_session_usable(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()
    await store.append(event(stream, 1))

    async with new_uow() as uow:
        async with uow.session.begin_nested() as savepoint:
            with pytest.raises(OptimisticConcurrencyError):
                await uow.event_store.append_batch([event(stream, 1), event(stream, 2)])
            await savepoint.rollback()
        await uow.rollback()

    assert len(await store.get_events(stream.aggregate_id)) == 1


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_unit_of_work_cancelled_during_a_conflict_lookup_cannot_commit(
    new_uow: NewUnitOfWork, store: SQLAlchemyEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the state after the failed statement is undone, when PostgreSQL accepts a COMMIT."""
    stream = new_stream()
    first = event(stream, 1)
    await store.append(first)
    uow = new_uow()
    await uow.driver_connection()

    async def cancel(connection: AsyncConnection) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(driver, "begin", cancel)
    with pytest.raises(asyncio.CancelledError):
        await uow.event_store.append_batch(
            [event(stream, 2), event(stream, 3, event_id=first.event_id)]
        )

    with pytest.raises(InvalidOperationError, match="can only be rolled back"):
        await uow.commit()
    await uow.rollback()


async def test_appending_a_batch_and_reading_streams_are_one_statement_each(
    store: SQLAlchemyEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    async def fetch_and_record(connection: AsyncConnection, statement: str, *values: Any) -> Any:
        statements.append(statement.split()[0])
        return await fetch(connection, statement, *values)

    monkeypatch.setattr(driver, "fetch", fetch_and_record)
    stream = new_stream()

    await store.append_batch([event(stream, n) for n in range(1, 101)])
    await store.get_events(stream.aggregate_id)
    await store.get_streams([stream, new_stream()])

    assert statements == ["INSERT", "SELECT", "SELECT"]


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_global_reads_in_a_repeatable_read_transaction_are_rejected(
    new_engine: Callable[..., AsyncEngine], tables: Tables, level: str
) -> None:
    engine = new_engine(isolation_level=level)
    sessions = async_sessionmaker(engine)
    store = SQLAlchemyEventStore(sessions, tables=tables)
    await store.append(event(new_stream(), 1))

    assert len(await store.get_events_after(0)) == 1
    with pytest.raises(EventStoreError, match="READ COMMITTED, not in"):
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables):
            await store.get_events_after(0)
    await engine.dispose()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_events_inserted_with_sql_are_read_in_global_order(
    engine: AsyncEngine, store: SQLAlchemyEventStore, tables: Tables
) -> None:
    """Check the trigger, which orders imports by COPY or INSERT .. SELECT, too."""
    template = event(new_stream(), 1)
    await store.append(template)
    table = f'"{tables.schema}".cqrs_ddd_events'
    columns = (
        "event_type, aggregate_id, aggregate_type, version, schema_version, payload, metadata, "
        "occurred_at"
    )
    async with engine.connect() as importing:
        await importing.execute(
            text(
                f"INSERT INTO {table} (event_id, {columns}) SELECT 'copy-' || n, event_type, "
                "aggregate_id || n, aggregate_type, version, schema_version, payload, metadata, "
                f"occurred_at FROM {table}, generate_series(1, 3) AS n"
            )
        )
        late = event(new_stream(), 1)
        await store.append(late)
        seen = await store.get_events_after(0)
        await importing.commit()

    assert [e.event_id for e in seen] == [template.event_id]
    rest = await store.get_events_after(seen[-1].position or 0)
    assert [e.event_id for e in rest] == ["copy-1", "copy-2", "copy-3", late.event_id]


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_transaction_holds_one_advisory_lock_for_any_number_of_appends(
    new_uow: NewUnitOfWork, engine: AsyncEngine, store: SQLAlchemyEventStore
) -> None:
    """Count the locks, as each is an entry in a table of fixed size that the server shares."""
    count = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )

    async with new_uow() as uow:
        async with uow.session.begin_nested() as savepoint:
            await uow.event_store.append(event(new_stream(), 1))
            await savepoint.rollback()
        for _ in range(20):
            await uow.event_store.append(event(new_stream(), 1))
        async with engine.connect() as other:
            assert await other.scalar(count) == 1
        assert await _read_in_new_context(store) == []

    assert len(await store.get_events_after(0)) == 20


@pytest.fixture
async def signal(engine: AsyncEngine) -> AsyncIterator[PostgresQueueSignal]:
    async with PostgresQueueSignal(engine) as signal:
        yield signal


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_waiter_for_a_position_is_woken_by_the_commit(
    session_factory: SessionFactory, tables: Tables, signal: PostgresQueueSignal
) -> None:
    # Without the notification, the wait would take an hour.
    store = SQLAlchemyEventStore(session_factory, tables=tables, signal=signal, poll_interval=3_600)
    waiting = asyncio.ensure_future(store.wait_for(1, timeout=3_600))
    await asyncio.sleep(0.2)

    uow = SQLAlchemyUnitOfWork(session_factory=session_factory, tables=tables, signal=signal)
    async with uow:
        await uow.event_store.append(event(new_stream(), 1))

    assert await asyncio.wait_for(waiting, timeout=20)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_queue_signal_replaces_a_listener_connection_that_died(
    engine: AsyncEngine, signal: PostgresQueueSignal
) -> None:
    assert not await signal.wait("channel", 0.1)
    async with engine.connect() as connection:
        killed = await connection.scalar(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        )
    assert killed == 1
    await asyncio.sleep(0.1)

    waiting = asyncio.ensure_future(signal.wait("channel", 20))
    await asyncio.sleep(0.5)
    await signal.notify("channel")

    assert await waiting
