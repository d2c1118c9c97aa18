"""Tests that a reader of all streams loses no event and returns them in order."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core.ports import StoredEvent
from cqrs_ddd_core.testing.contracts.event_store import event, new_stream
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables, create_schema
from cqrs_ddd_persistence_sqlalchemy.engine.driver import fetch
from cqrs_ddd_persistence_sqlalchemy.event_store.event_rows import read_events
from cqrs_ddd_persistence_sqlalchemy.event_store.statements import event_statements
from cqrs_ddd_persistence_sqlalchemy.schema.installation import Ordering
from tests.faults.ordering import ReadAfter, Workload, assert_not_delayed
from tests.faults.sizes import WRITER_TRANSACTIONS
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

SEED = 20_261_121


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    return SQLAlchemyEventStore(session_factory, tables=tables)


def create_naive_reader(engine: AsyncEngine, tables: Tables) -> ReadAfter:
    """Create a reader of the visible events, which continues after the last position it saw."""

    async def read(position: int) -> list[StoredEvent]:
        async with engine.connect() as connection:
            sql = event_statements(tables, True).after
            return read_events(
                await fetch(connection, sql, position, 2**62, None, 1000), are_from_postgres=True
            )

    return read


class TransactionIdReader:
    """Reader that orders by transaction id, up to the oldest running transaction."""

    def __init__(self, engine: AsyncEngine, tables: Tables) -> None:
        self._engine = engine
        read = event_statements(tables, True).after
        columns = read[: read.index(" WHERE ")]
        self._sql = (
            f"{columns} WHERE (xmin::text::bigint, position) > ($1, $2) AND "
            "xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint "
            "ORDER BY xmin::text::bigint, position LIMIT 1000"
        )
        self._sql = self._sql.replace("SELECT ", "SELECT xmin::text::bigint, ", 1)
        self._place = (0, 0)

    async def __call__(self, position: int) -> list[StoredEvent]:
        async with self._engine.connect() as connection:
            rows = await fetch(connection, self._sql, *self._place)
        if rows:
            self._place = rows[-1][0], rows[-1][1]
        return read_events((tuple(row)[1:] for row in rows), are_from_postgres=True)


@pytest.mark.long
@pytest.mark.parametrize("is_used", [False, True], ids=["fresh store", "used store"])
async def test_reader_receives_every_committed_event_once_and_in_order(
    store: SQLAlchemyEventStore, new_uow: NewUnitOfWork, is_used: bool
) -> None:
    if is_used:
        stream = new_stream()
        await store.append_batch([event(stream, n) for n in range(1, 50)])
    start = await store.latest_position()

    workload = Workload(
        new_uow, store.get_events_after, seed=SEED, transactions=WRITER_TRANSACTIONS
    )
    findings = await workload.run(start)

    print(f"seed {SEED}: {findings}")  # noqa: T201
    assert findings.committed
    assert not findings.lost
    assert not findings.never_committed
    assert (findings.doubled, findings.disordered) == (0, 0)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_workload_check_catches_a_reader_that_loses_events_of_slow_transactions(
    engine: AsyncEngine, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    lost = 0
    for seed in range(SEED, SEED + 5):
        findings = await Workload(new_uow, create_naive_reader(engine, tables), seed=seed).run()
        lost += len(findings.lost)
        if lost:
            break

    assert lost


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_order_check_catches_a_reader_by_transaction_id_that_reorders_a_stream(
    engine: AsyncEngine, tables: Tables, new_uow: NewUnitOfWork, store: SQLAlchemyEventStore
) -> None:
    stream = new_stream()
    async with new_uow() as late:
        await late.inbox.register("orders", "m-1", "print")
        async with new_uow() as early:
            await early.inbox.register("orders", "m-2", "print")
            await early.event_store.append_to_stream(stream, [event(stream, 1)])
        await late.event_store.append_to_stream(stream, [event(stream, 1)])

    by_xid = await TransactionIdReader(engine, tables)(0)
    by_position = await store.get_events_after(0)

    assert [e.version for e in by_xid] == [2, 1]
    assert [e.version for e in by_position] == [1, 2]


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("ordering", ["registered", "serialized"])
async def test_unrelated_open_transaction_does_not_delay_readers(
    engine: AsyncEngine,
    store: SQLAlchemyEventStore,
    new_uow: NewUnitOfWork,
    tables: Tables,
    ordering: Ordering,
) -> None:
    await create_schema(engine, tables, ordering=ordering)
    elsewhere = f'CREATE TABLE "{tables.schema}".elsewhere ()'

    await assert_not_delayed(new_uow, store.get_events_after, 0, elsewhere)
    with pytest.raises(AssertionError):
        await assert_not_delayed(
            new_uow,
            TransactionIdReader(engine, tables),
            1,
            f'ALTER TABLE "{tables.schema}".elsewhere ADD n int',
        )


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_reader_loses_no_event_with_the_serialized_ordering(
    engine: AsyncEngine, store: SQLAlchemyEventStore, new_uow: NewUnitOfWork, tables: Tables
) -> None:
    await create_schema(engine, tables, ordering="serialized")

    # One transaction at a time appends, so a slow one blocks all others.
    workload = Workload(new_uow, store.get_events_after, seed=SEED, writers=8, slow=0.05)
    findings = await workload.run()

    assert findings.committed
    assert not findings.lost
    assert (findings.doubled, findings.disordered) == (0, 0)
