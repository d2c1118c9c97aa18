"""Tests of snapshots: when they are taken, their schema hash and their restored state."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection
from contextlib import nullcontext
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from pydantic import ConfigDict, Field, SecretStr, create_model

from cqrs_ddd_advanced_core.adapters.memory import InMemorySnapshotStore
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedLoader
from cqrs_ddd_advanced_core.ports.snapshots import Snapshot
from cqrs_ddd_advanced_core.snapshots import (
    AggregateSnapshots,
    EveryNEventsStrategy,
    Loading,
    LoadingTimeStrategy,
)
from cqrs_ddd_core import AggregateRoot, StoredEvent, StreamId, UnitOfWork
from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_core.ports import IEventLog, IEventStore
from cqrs_ddd_core.primitives.exceptions import ConfigError, NaiveDatetimeError
from tests.advanced.accounts import Account, new_account_id, random_account
from tests.faults.sizes import HISTORIES

SEED = 20_261

NEVER = EveryNEventsStrategy(10**9)


@pytest.mark.parametrize(
    ("version", "snapshot", "seconds", "due"),
    [(99, 0, 0.0, False), (100, 0, 0.0, True), (150, 60, 0.4, False), (150, 60, 0.5, True)],
)
def test_combined_snapshot_strategy_requests_a_snapshot_if_one_of_its_parts_does(
    version: int, snapshot: int, seconds: float, due: bool
) -> None:
    strategy = EveryNEventsStrategy(100) | LoadingTimeStrategy(0.5)

    assert strategy.is_due(Loading(version, snapshot, seconds)) is due


def test_slow_load_that_applied_no_events_needs_no_new_snapshot() -> None:
    assert not LoadingTimeStrategy(0.5).is_due(Loading(7, 7, 10.0))


@pytest.mark.parametrize("make", [lambda: EveryNEventsStrategy(0), lambda: LoadingTimeStrategy(-1)])
def test_snapshot_strategy_rejects_a_threshold_below_its_minimum(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match="got"):
        make()


async def test_load_time_for_the_snapshot_strategy_is_measured_by_the_clock() -> None:
    clock, store, kept = FakeClock(), InMemoryEventStore(), InMemorySnapshotStore()
    account = Account.open(new_account_id())
    await store.append_batch([StoredEvent.from_event(event) for event in account.pending_events])
    snapshots = AggregateSnapshots(Account, kept, LoadingTimeStrategy(2.0), clock=clock)
    loader = EventSourcedLoader(Account, snapshots=snapshots, clock=clock)
    stream = StreamId("Account", account.id)
    slow = SlowStore(clock)
    slow._log = store._log

    await loader.load([account.id], store)
    assert await kept.load([stream]) == {}
    await loader.load([account.id], slow)

    assert (await kept.load([stream]))[stream].taken_at == clock.now()


class SlowStore(InMemoryEventStore):
    """Event store with reads that take two seconds of the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def get_events(self, aggregate_id: str, **part: Any) -> list[StoredEvent]:
        await self._clock.advance(2.0)
        return await super().get_events(aggregate_id, **part)


class ReversedOrderLoader(EventSourcedLoader[Account]):
    """Loader that applies later events in reverse, as a query without ORDER BY could."""

    def _apply(self, aggregate: Account, stored: object) -> None:
        assert isinstance(stored, list)
        aggregate.replay([self._events.decode(event) for event in reversed(stored)])


class FullReplayLoader(EventSourcedLoader[Account]):
    """Loader that applies all events to the snapshot instead of the later events."""

    async def _read_tails(
        self,
        store: IEventStore,
        wanted: Collection[StreamId],
        from_snapshots: dict[StreamId, Account],
        stale: dict[StreamId, int],
    ) -> dict[StreamId, list[StoredEvent]]:
        assert isinstance(store, IEventLog)
        return await store.get_streams(wanted)

    def _apply(self, aggregate: Account, stored: object) -> None:
        assert isinstance(stored, list)
        aggregate.replay([self._events.decode(event) for event in stored])


async def check_snapshot_and_later_events(
    loader_type: type[EventSourcedLoader[Account]], histories: int
) -> None:
    chance = random.Random(SEED)
    for _ in range(histories):
        account = random_account(chance)
        stored = [StoredEvent.from_event(event) for event in account.pending_events]
        store = InMemoryEventStore()
        await store.append_batch(stored)
        for k in range(1, len(stored) + 1):
            kept = InMemorySnapshotStore()
            snapshots = AggregateSnapshots(Account, kept, NEVER)
            snapshot = snapshots.create(Account.rehydrate(account.id, stored[:k]))
            assert snapshot is not None
            await kept.save(snapshot)
            (found,) = await loader_type(Account, snapshots=snapshots).load([account.id], store)
            facts = f"seed {SEED}, {account.id}, snapshot at {k} of {len(stored)}"
            assert found.model_dump() == account.model_dump(), facts
            assert found.version == len(stored), facts
            assert not snapshots.misses, facts


@pytest.mark.long
async def test_snapshot_and_later_events_equal_the_full_replay_in_random_histories() -> None:
    print(f"seed {SEED}")  # noqa: T201 - shown with a failure
    await check_snapshot_and_later_events(EventSourcedLoader, HISTORIES)


@pytest.mark.parametrize("naive", [ReversedOrderLoader, FullReplayLoader])
async def test_snapshot_check_catches_each_loader_that_restores_a_wrong_state(
    naive: type[EventSourcedLoader[Account]],
) -> None:
    with pytest.raises(AssertionError, match="snapshot at"):
        await check_snapshot_and_later_events(naive, 100)


def hash_of(entity_type: type[AggregateRoot[str]]) -> str:
    return AggregateSnapshots(entity_type, InMemorySnapshotStore()).schema_hash


def test_descriptions_and_docstrings_do_not_change_the_schema_hash() -> None:
    def create_type(words: str, kind: type) -> type[AggregateRoot[str]]:
        part = create_model("Part", __doc__=words, size=(kind, Field(description=words)))
        return create_model(
            "Whole", __base__=AggregateRoot[str], __doc__=words, part=(part, ...), title=(str, "")
        )

    assert hash_of(create_type("one", int)) == hash_of(create_type("two", int))
    assert hash_of(create_type("one", int)) != hash_of(create_type("one", str))


def test_schema_hash_depends_on_the_fields_and_the_state_revision() -> None:
    class One(AggregateRoot[str]):
        total: int = 0

    def create_revised() -> type[AggregateRoot[str]]:
        class One(AggregateRoot[str]):
            state_revision: ClassVar[int] = 1
            total: int = 0

        return One

    def create_renamed() -> type[AggregateRoot[str]]:
        class One(AggregateRoot[str]):
            sum: int = 0

        return One

    assert hash_of(One) == hash_of(One)
    assert len({hash_of(One), hash_of(create_revised()), hash_of(create_renamed())}) == 3


class WithSecret(AggregateRoot[str]):
    pin: SecretStr = SecretStr("")


class WithExcluded(AggregateRoot[str]):
    hidden: int = Field(default=0, exclude=True)


class Opaque:
    pass


class WithoutSchema(AggregateRoot[str]):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: Opaque | None = None


@pytest.mark.parametrize(
    ("entity_type", "problem"),
    [
        (WithSecret, "WithSecret.pin: it is a secret"),
        (WithExcluded, "WithExcluded.hidden: it has exclude=True"),
        (WithoutSchema, "has no JSON schema"),
    ],
)
def test_aggregate_type_whose_json_loses_fields_cannot_have_snapshots(
    entity_type: type[AggregateRoot[str]], problem: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"{entity_type.__name__} cannot have snapshots: .*{problem}"
    ):
        AggregateSnapshots(entity_type, InMemorySnapshotStore())


class Rounded(AggregateRoot[str]):
    amounts: dict[str, object] = Field(default_factory=dict)


def test_state_that_json_would_change_gets_no_snapshot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    snapshots = AggregateSnapshots(Rounded, InMemorySnapshotStore())
    whole = Rounded(id="r-1", amounts={"a": 1})
    changed = Rounded(id="r-2", amounts={"a": (1, 2)})

    with caplog.at_level(logging.WARNING):
        assert snapshots.create(whole) is not None
        assert snapshots.create(changed) is None
        assert snapshots.create(changed) is None

    assert len(caplog.records) == 1
    assert "Rounded r-2" in caplog.text


class Renamed(AggregateRoot[str]):
    name: str = Field(alias="fullName", default="")


class Strict(AggregateRoot[UUID]):
    model_config = ConfigDict(strict=True)
    at: datetime = datetime(2026, 1, 1)
    sizes: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize("aggregate", [Renamed(id="a", fullName="ann"), Strict(id=uuid4())])
async def test_aggregates_with_aliases_or_strict_fields_can_have_snapshots(aggregate: Any) -> None:
    kept = InMemorySnapshotStore()
    snapshots = AggregateSnapshots[Any](type(aggregate), kept)
    aggregate.mark_persisted(1)

    snapshot = snapshots.create(aggregate)
    assert snapshot is not None
    await kept.save(snapshot)
    usable, _ = await snapshots.load([snapshot.stream])

    assert usable == {snapshot.stream: aggregate}


async def test_outdated_snapshot_is_reported_to_the_hooks() -> None:
    kept, seen = InMemorySnapshotStore(), []
    stream = StreamId("Account", new_account_id())
    await kept.save(Snapshot(stream=stream, version=1, schema_hash="old", state=b""))
    snapshots = AggregateSnapshots(Account, kept)

    def watch(operation: Operation) -> nullcontext[None]:
        seen.append((operation.name, operation.attributes))
        return nullcontext()

    remove = hooks.register(watch, operations="snapshot.*")
    try:
        usable, unusable = await snapshots.load([stream])
    finally:
        remove()

    assert (usable, unusable) == ({}, {stream: 1})
    assert seen == [("snapshot.miss", {"aggregate_type": "Account", "reason": "another shape"})]


def test_snapshot_time_without_a_time_zone_is_rejected() -> None:
    naive = FakeClock().now().replace(tzinfo=None)

    with pytest.raises(NaiveDatetimeError):
        Snapshot(stream=StreamId("A", "a"), version=1, schema_hash="", state=b"", taken_at=naive)


async def test_snapshot_is_written_at_once_without_a_unit_of_work() -> None:
    store, kept = InMemoryEventStore(), InMemorySnapshotStore()
    account = Account.open(new_account_id())
    await store.append_batch([StoredEvent.from_event(event) for event in account.pending_events])
    snapshots = AggregateSnapshots(Account, kept, EveryNEventsStrategy(1))

    await EventSourcedLoader(Account, snapshots=snapshots).load([account.id], store)

    assert len(await kept.load([StreamId("Account", account.id)])) == 1


class CountingSnapshotStore(InMemorySnapshotStore):
    def __init__(self) -> None:
        super().__init__()
        self.saved: list[int] = []

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        self.saved.append(len(snapshots))
        await super().save_many(snapshots, uow, **options)


@pytest.mark.parametrize("is_in_unit_of_work", [True, False])
async def test_all_new_snapshots_of_one_load_are_saved_in_one_call(
    is_in_unit_of_work: bool,
) -> None:
    store, kept = InMemoryEventStore(), CountingSnapshotStore()
    many = [Account.open(new_account_id()) for _ in range(50)]
    for account in many:
        await store.append_batch([StoredEvent.from_event(e) for e in account.pending_events])
    ids = [account.id for account in many]
    loader = EventSourcedLoader(
        Account, snapshots=AggregateSnapshots(Account, kept, EveryNEventsStrategy(1))
    )

    if is_in_unit_of_work:
        async with InMemoryUnitOfWork(event_store=store) as uow:
            await loader.load(ids, uow.event_store, uow)
            assert kept.saved == []
    else:
        await loader.load(ids, store)
    await loader.load(ids, store)

    assert kept.saved == [50]
