"""Wrong snapshot stores, loaders and repositories, and the test that each of them fails."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemorySnapshotStore
from cqrs_ddd_advanced_core.adapters.memory import snapshots as fake
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedLoader
from cqrs_ddd_advanced_core.event_sourcing import repository as real
from cqrs_ddd_advanced_core.ports.snapshots import Snapshot
from cqrs_ddd_advanced_core.snapshots import AggregateSnapshots, EveryNEventsStrategy
from cqrs_ddd_advanced_core.testing.contracts.snapshots import SnapshotStoreContract
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.transaction import InMemoryTransaction
from cqrs_ddd_core.unit_of_work import TrackedAggregates
from tests.advanced.accounts import Account
from tests.advanced.event_sourcing_kit import (
    EventSourcingKit,
    check_late_repair,
    check_rollback_leaves_no_snapshot,
    create_loader,
)


class LastWriterStore(InMemorySnapshotStore):
    """Store in which an earlier version replaces a later one."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        for snapshot in snapshots:
            await self.delete(snapshot.stream, uow)
        await super().save_many(snapshots, uow)


class OneByOneStore(InMemorySnapshotStore):
    """Store that saves many snapshots in as many transactions."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        for snapshot in snapshots:
            await super().save_many([snapshot], uow, **options)


class UnconditionalReplaceStore(InMemorySnapshotStore):
    """Store that replaces the stored snapshot without a check that it is the unusable one."""

    async def save_many(
        self,
        snapshots: Collection[Snapshot],
        uow: UnitOfWork | None = None,
        *,
        instead_of: Mapping[StreamId, int] | None = None,
    ) -> None:
        for stream in instead_of or ():
            await self.delete(stream, uow)
        await super().save_many(snapshots, uow)


class UncheckedCommitStore(InMemorySnapshotStore):
    """Store that compares versions at the save, but not again at the commit."""

    class Changes(fake._Changes):
        def apply(self) -> None:
            self._rows.update(self._written)

    def _changes(self, uow: InMemoryTransaction) -> fake._Changes:
        return uow.change_set(self, lambda: self.Changes(self._rows))


class FirstOfVersionStore(InMemorySnapshotStore):
    """Store in which a snapshot cannot be replaced by one of the same version."""

    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        kept = (await self.load([snapshot.stream], uow)).get(snapshot.stream)
        if kept is None or kept.version < snapshot.version:
            await super().save(snapshot, uow)


class SeparateTransactionStore(InMemorySnapshotStore):
    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        async with InMemoryUnitOfWork() as own:
            await super().save(snapshot, own)


STORES: list[tuple[type[InMemorySnapshotStore], str]] = [
    (LastWriterStore, "test_saving_many_snapshots_never_lowers_a_stored_version"),
    (OneByOneStore, "test_cancelled_save_stores_all_snapshots_or_none"),
    (
        UnconditionalReplaceStore,
        "test_earlier_snapshot_replaces_only_the_version_that_instead_of_names",
    ),
    (
        UnconditionalReplaceStore,
        "test_snapshot_newer_than_the_version_that_instead_of_names_is_kept",
    ),
    (LastWriterStore, "test_snapshot_of_an_earlier_version_never_replaces_a_later_one"),
    (UncheckedCommitStore, "test_concurrent_writers_leave_the_snapshot_of_the_latest_version"),
    (FirstOfVersionStore, "test_snapshot_of_the_same_version_replaces_the_stored_one"),
    (SeparateTransactionStore, "test_rolled_back_saves_leave_the_snapshots_unchanged"),
]


@pytest.mark.parametrize(("naive_store", "test_name"), STORES)
async def test_snapshot_store_contract_catches_each_wrong_store_and_passes_the_fake(
    naive_store: type[InMemorySnapshotStore], test_name: str
) -> None:
    test: Callable[..., Any] = getattr(SnapshotStoreContract(), test_name)
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]

    def fixtures(store: InMemorySnapshotStore) -> dict[str, Any]:
        given = {"snapshots": store, "new_uow": InMemoryUnitOfWork}
        return {name: given[name] for name in wanted if name != "self"}

    await test(**fixtures(InMemorySnapshotStore()))
    with pytest.raises(AssertionError):
        await test(**fixtures(naive_store()))


class EarlySnapshotLoader(EventSourcedLoader[Account]):
    """Loader that saves a snapshot of a state which may still be rolled back."""

    async def _save_snapshots(
        self, due: list[Snapshot], uow: UnitOfWork | None, stale: dict[StreamId, int]
    ) -> None:
        assert self.snapshots is not None
        async with InMemoryUnitOfWork():
            await self.snapshots.save(due, instead_of=stale)


async def test_rollback_check_catches_a_loader_that_saves_a_snapshot_before_the_commit() -> None:
    events, kept = InMemoryEventStore(), InMemorySnapshotStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    await check_rollback_leaves_no_snapshot(new_uow, create_loader(kept, 1), kept)
    naive_store = EarlySnapshotLoader(
        Account, snapshots=AggregateSnapshots(Account, kept, EveryNEventsStrategy(1))
    )
    with pytest.raises(AssertionError):
        await check_rollback_leaves_no_snapshot(new_uow, naive_store, kept)


class TwoStepRepairSnapshots(AggregateSnapshots[Account]):
    """Snapshots that delete an unusable snapshot in a separate step before the save."""

    async def save(
        self, snapshots: Collection[Snapshot], *, instead_of: Mapping[StreamId, int]
    ) -> None:
        for snapshot in snapshots:
            if instead_of.get(snapshot.stream, 0) > snapshot.version:
                await self._store.delete(snapshot.stream)
        await self._store.save_many(snapshots)


async def test_snapshot_repair_check_catches_a_repair_that_loses_a_newer_snapshot() -> None:
    events = InMemoryEventStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    with pytest.raises(AssertionError, match="a newer snapshot is lost"):
        await check_late_repair(new_uow, InMemorySnapshotStore(), TwoStepRepairSnapshots)


class UnmarkedAggregates(TrackedAggregates):
    """Tracking that does not exclude appended events from the events still to append."""

    def exclude_appended(self, events: Any) -> Any:
        return list(events)


async def test_mediator_check_catches_a_unit_of_work_that_stores_events_twice() -> None:
    events = InMemoryEventStore()

    def new_uow() -> InMemoryUnitOfWork:
        uow = InMemoryUnitOfWork(event_store=events)
        uow.aggregates = UnmarkedAggregates()
        return uow

    with pytest.raises(Exception, match="cannot append version 1 of"):
        await EventSourcingKit().test_event_sourced_mediator_stores_no_event_twice(new_uow, events)


class ObjectSnapshotRepository(real.EventSourcedRepository[Account, str]):
    """Repository that takes snapshots of the saved object, with its changes without an event."""

    async def add(self, entity: Account, uow: UnitOfWork | None = None) -> str:
        answer = await super().add(entity, uow)
        snapshots = self.loader.snapshots
        assert snapshots is not None
        assert uow is not None
        saved = copy.deepcopy(entity)
        saved.mark_persisted(entity.version + entity.uncommitted_event_count)
        snapshot = snapshots.create(saved)
        assert snapshot is not None
        uow.on_commit(lambda: snapshots.save([snapshot], instead_of={}))
        return answer


async def test_snapshot_check_catches_a_snapshot_with_changes_that_no_event_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events, kept = InMemoryEventStore(), InMemorySnapshotStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    kit = EventSourcingKit()
    test_name = kit.test_snapshot_contains_only_changes_made_by_events
    await test_name(new_uow, kept)
    monkeypatch.setattr("tests.advanced.event_sourcing_kit.Accounts", ObjectSnapshotRepository)

    with pytest.raises(AssertionError):
        await test_name(new_uow, InMemorySnapshotStore())
