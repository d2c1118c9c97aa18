"""Naive ways, and the sentence that each of them breaks."""

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
    a_late_repair_replaces_no_later_snapshot,
    a_loader,
    rolled_back_leaves_no_snapshot,
)


class LastWriterWins(InMemorySnapshotStore):
    """Versions go back."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        for snapshot in snapshots:
            await self.delete(snapshot.stream, uow)
        await super().save_many(snapshots, uow)


class SavesEachAlone(InMemorySnapshotStore):
    """Many are as many transactions."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        for snapshot in snapshots:
            await super().save_many([snapshot], uow, **options)


class ReplacesWhateverIsThere(InMemorySnapshotStore):
    """Where one was of no use, it does not look which one is there by now."""

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


class ComparesWhenSavedOnly(InMemorySnapshotStore):
    """Reads the version, and lets others in before it writes."""

    class Changes(fake._Changes):
        def apply(self) -> None:
            self._rows.update(self._written)

    def _changes(self, uow: InMemoryTransaction) -> fake._Changes:
        return uow.change_set(self, lambda: self.Changes(self._rows))


class KeepsTheFirstOfAVersion(InMemorySnapshotStore):
    """What is unreadable stays for ever."""

    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        kept = (await self.load([snapshot.stream], uow)).get(snapshot.stream)
        if kept is None or kept.version < snapshot.version:
            await super().save(snapshot, uow)


class SavesBesideTheTransaction(InMemorySnapshotStore):
    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        async with InMemoryUnitOfWork() as own:
            await super().save(snapshot, own)


STORES: list[tuple[type[InMemorySnapshotStore], str]] = [
    (LastWriterWins, "test_saving_many_snapshots_never_lowers_a_stored_version"),
    (SavesEachAlone, "test_cancelled_save_stores_all_snapshots_or_none"),
    (
        ReplacesWhateverIsThere,
        "test_earlier_snapshot_replaces_only_the_unusable_version_it_names",
    ),
    (
        ReplacesWhateverIsThere,
        "test_newer_snapshot_is_not_mistaken_for_the_unusable_one_it_replaced",
    ),
    (LastWriterWins, "test_snapshot_of_an_earlier_version_never_replaces_a_later_one"),
    (ComparesWhenSavedOnly, "test_concurrent_writers_leave_the_snapshot_of_the_latest_version"),
    (KeepsTheFirstOfAVersion, "test_snapshot_of_the_same_version_replaces_the_stored_one"),
    (SavesBesideTheTransaction, "test_rolled_back_saves_leave_the_snapshots_unchanged"),
]


@pytest.mark.parametrize(("naive", "sentence"), STORES)
async def test_a_naive_store_breaks_a_sentence_that_the_fake_keeps(
    naive: type[InMemorySnapshotStore], sentence: str
) -> None:
    test: Callable[..., Any] = getattr(SnapshotStoreContract(), sentence)
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]

    def fixtures(store: InMemorySnapshotStore) -> dict[str, Any]:
        given = {"snapshots": store, "new_uow": InMemoryUnitOfWork}
        return {name: given[name] for name in wanted if name != "self"}

    await test(**fixtures(InMemorySnapshotStore()))
    with pytest.raises(AssertionError):
        await test(**fixtures(naive()))


class WritesBeforeTheCommit(EventSourcedLoader[Account]):
    """Of a state that may be rolled back."""

    async def _save_snapshots(
        self, due: list[Snapshot], uow: UnitOfWork | None, stale: dict[StreamId, int]
    ) -> None:
        assert self.snapshots is not None
        async with InMemoryUnitOfWork():
            await self.snapshots.save(due, instead_of=stale)


async def test_a_snapshot_before_the_commit_is_of_what_never_was() -> None:
    events, kept = InMemoryEventStore(), InMemorySnapshotStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    await rolled_back_leaves_no_snapshot(new_uow, a_loader(kept, 1), kept)
    naive = WritesBeforeTheCommit(
        Account, snapshots=AggregateSnapshots(Account, kept, EveryNEventsStrategy(1))
    )
    with pytest.raises(AssertionError):
        await rolled_back_leaves_no_snapshot(new_uow, naive, kept)


class DeletesAndSaves(AggregateSnapshots[Account]):
    """Makes room for a snapshot first, whatever is there by then."""

    async def save(
        self, snapshots: Collection[Snapshot], *, instead_of: Mapping[StreamId, int]
    ) -> None:
        for snapshot in snapshots:
            if instead_of.get(snapshot.stream, 0) > snapshot.version:
                await self._store.delete(snapshot.stream)
        await self._store.save_many(snapshots)


async def test_a_repair_in_two_steps_loses_a_later_snapshot() -> None:
    events = InMemoryEventStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    with pytest.raises(AssertionError, match="a later one is lost"):
        await a_late_repair_replaces_no_later_snapshot(
            new_uow, InMemorySnapshotStore(), DeletesAndSaves
        )


class TellsNobody(TrackedAggregates):
    """The middleware does not learn what is stored."""

    def exclude_appended(self, events: Any) -> Any:
        return list(events)


async def test_naive_repository_that_does_not_mark_stored_events_stores_them_twice() -> None:
    events = InMemoryEventStore()

    def new_uow() -> InMemoryUnitOfWork:
        uow = InMemoryUnitOfWork(event_store=events)
        uow.aggregates = TellsNobody()
        return uow

    with pytest.raises(Exception, match="already has a version 1"):
        await EventSourcingKit().test_a_mediator_that_stores_events_too_stores_none_twice(
            new_uow, events
        )


class SnapshotOfTheObject(real.EventSourcedRepository[Account, str]):
    """Takes a snapshot of what was saved, whatever the handler did to it beside."""

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


async def test_a_snapshot_of_the_object_keeps_what_no_event_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events, kept = InMemoryEventStore(), InMemorySnapshotStore()

    def new_uow() -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(event_store=events)

    kit = EventSourcingKit()
    sentence = kit.test_a_snapshot_is_of_events_and_not_of_what_somebody_did_to_the_object
    await sentence(new_uow, kept)
    monkeypatch.setattr("tests.advanced.event_sourcing_kit.Accounts", SnapshotOfTheObject)

    with pytest.raises(AssertionError):
        await sentence(new_uow, InMemorySnapshotStore())
