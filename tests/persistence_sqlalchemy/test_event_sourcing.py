"""Tests of event sourcing on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.ports.snapshots import Snapshot
from cqrs_ddd_advanced_core.snapshots import EveryNEventsStrategy
from cqrs_ddd_advanced_core.testing.contracts.snapshots import SnapshotStoreContract
from cqrs_ddd_advanced_core.testing.contracts.tenancy import EventSourcingTenancyContract
from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_core.testing.contracts.parcel import Parcel, new_parcel_id
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore
from cqrs_ddd_persistence_sqlalchemy.advanced.snapshots import _to_row
from cqrs_ddd_persistence_sqlalchemy.engine.driver import upsert_statement
from tests.advanced.event_sourced_parcels import EventSourcedRepositoryContract
from tests.advanced.event_sourcing_kit import EventSourcingKit
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory


@pytest.fixture
def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.fixture
def event_store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyEventStore:
    return SQLAlchemyEventStore(session_factory, tables=tables)


@pytest.fixture
def snapshots(session_factory: SessionFactory, tables: Tables) -> SQLAlchemySnapshotStore:
    return SQLAlchemySnapshotStore(session_factory, tables=tables)


@pytest.fixture
def parcels(event_store: SQLAlchemyEventStore) -> EventSourcedRepository[Parcel, str]:
    return EventSourcedRepository(Parcel, event_store=event_store)


LATEST = 20
"""Greatest version that the contract writes concurrently."""


class UnconditionalUpsertStore(SQLAlchemySnapshotStore):
    """Store that upserts without a check of the version, in the given order."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        async with self._connections.join_transaction(uow, "save a snapshot") as active:
            connection = await active.connection()
            insert = upsert_statement(connection, self._snapshots)
            news = ("version", "schema_hash", "state", "taken_at")
            await connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["tenant_id", "aggregate_type", "aggregate_id"],
                    set_={name: insert.excluded[name] for name in news},
                ),
                [_to_row(snapshot) for snapshot in snapshots],
            )


class CheckThenUpsertStore(UnconditionalUpsertStore):
    """Store that checks the version before the write; here the latest version is written first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._another_has_looked = asyncio.Event()
        self._latest_is_written = asyncio.Event()

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        kept = await self.load([snapshot.stream for snapshot in snapshots], uow)
        for snapshot in snapshots:
            is_latest = snapshot.version == LATEST
            if not is_latest:
                self._another_has_looked.set()
            await (self._another_has_looked if is_latest else self._latest_is_written).wait()
            found = kept.get(snapshot.stream)
            if found is None or found.version <= snapshot.version:
                await super().save_many([snapshot], uow)
            if is_latest:
                self._latest_is_written.set()


@pytest.mark.parametrize(
    ("naive_store", "test_name"),
    [
        (
            UnconditionalUpsertStore,
            "test_snapshot_of_an_earlier_version_never_replaces_a_later_one",
        ),
        (CheckThenUpsertStore, "test_concurrent_writers_leave_the_snapshot_of_the_latest_version"),
    ],
)
async def test_snapshot_store_contract_catches_a_store_that_replaces_a_later_version(
    naive_store: type[SQLAlchemySnapshotStore],
    test_name: str,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    test: Callable[..., Any] = getattr(SnapshotStoreContract(), test_name)
    given: dict[str, Any] = {"snapshots": naive_store(session_factory, tables=tables)}
    if "new_uow" in inspect.signature(test).parameters:
        given["new_uow"] = new_uow

    with pytest.raises(AssertionError):
        await test(**given)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_snapshot_store_contract_catches_a_store_whose_unsorted_writes_deadlock(
    session_factory: SessionFactory, tables: Tables, new_uow: NewUnitOfWork
) -> None:
    naive_store = UnconditionalUpsertStore(session_factory, tables=tables)

    with pytest.raises(ConcurrencyError, match="deadlock"):
        await SnapshotStoreContract().test_snapshot_batches_in_opposite_orders_do_not_deadlock(
            naive_store, new_uow
        )


class TestSQLAlchemySnapshotStore(SnapshotStoreContract):
    pass


class TestEventSourcedRepository(EventSourcedRepositoryContract):
    pass


class TestEventSourcing(EventSourcingKit):
    pass


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change", ["taken_at = 'never'", "taken_at = '2020-01-01'", "version = 'x'"]
)
async def test_snapshot_row_with_invalid_values_does_not_prevent_loading(
    change: str,
    engine: AsyncEngine,
    session_factory: SessionFactory,
    tables: Tables,
    new_uow: NewUnitOfWork,
) -> None:
    snapshots = SQLAlchemySnapshotStore(session_factory, tables=tables)
    repository = EventSourcedRepository[Parcel, str](
        Parcel, snapshot_store=snapshots, strategy=EveryNEventsStrategy(1)
    )
    parcel = Parcel.register(new_parcel_id(), "anna")
    async with new_uow() as uow:
        await repository.add(parcel, uow)
    async with new_uow() as uow:
        await repository.get(parcel.id, uow)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE {tables.advanced.snapshots.name} SET {change}")

    async with new_uow() as uow:
        found = await repository.get(parcel.id, uow)

    assert found == parcel


class TestEventSourcingTenancy(EventSourcingTenancyContract):
    pass
