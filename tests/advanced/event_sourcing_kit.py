"""Tests of event-sourced aggregates, run on every back end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from cqrs_ddd_advanced_core.event_sourcing import (
    EventSourcedLoader,
    EventSourcedMediator,
    EventSourcedRepository,
)
from cqrs_ddd_advanced_core.ports.snapshots import ISnapshotStore, Snapshot
from cqrs_ddd_advanced_core.snapshots import AggregateSnapshots, EveryNEventsStrategy
from cqrs_ddd_core import (
    Command,
    CommandHandler,
    EventTypeRegistry,
    HandlerRegistry,
    Query,
    StreamId,
    UnitOfWork,
    get_current_uow,
)
from cqrs_ddd_core.ports import IEventLog, IEventStoreProvider
from cqrs_ddd_core.primitives.exceptions import (
    InvalidOperationError,
    OptimisticConcurrencyError,
    ReadOnlyError,
)
from cqrs_ddd_core.testing.faults import cancel_sweep
from tests.advanced.accounts import Account, new_account_id, random_account
from tests.faults.sizes import HISTORIES

NewUnitOfWork = Callable[[], UnitOfWork]

SEED = 7_041


class Accounts(EventSourcedRepository[Account, str]):
    pass


class OlderAccount(Account):
    """Older version of the aggregate, in which a field has another name."""

    aggregate_type = Account.aggregate_type
    holder: str = ""


class Pay(Command[int]):
    account_id: str
    amount: int


class ReadBalance(Query[int]):
    account_id: str


class PayInQuery(Query[None]):
    account_id: str


def store_of(uow: UnitOfWork) -> IEventLog:
    carrier: object = uow
    assert isinstance(carrier, IEventStoreProvider)
    assert isinstance(carrier.event_store, IEventLog)
    return carrier.event_store


def stream_of(account_id: str) -> StreamId:
    return StreamId("Account", account_id)


class EventSourcingKit:
    """Tests over ``new_uow``, a store of ``snapshots`` and an ``event_store`` of its own."""

    async def test_repository_appends_each_event_once_if_an_aggregate_is_added_twice(
        self, new_uow: NewUnitOfWork, event_store: IEventLog
    ) -> None:
        accounts, account = Accounts(), Account.open(new_account_id())

        async with new_uow() as uow:
            await accounts.add(account, uow)
            await accounts.add(account, uow)
            account.pay_in(5)
            await accounts.add(account, uow)
            seen = await accounts.get(account.id, uow)

        assert seen is not None
        assert (seen.balance, seen.version) == (5, 2)
        assert account.version == 2
        stored = await event_store.get_events(account.id, aggregate_type="Account")
        assert [event.version for event in stored] == [1, 2]

    async def test_event_sourced_mediator_stores_no_event_twice(
        self, new_uow: NewUnitOfWork, event_store: IEventLog
    ) -> None:
        account_id, seen = new_account_id(), []

        class PayHandler(CommandHandler[int]):
            async def handle(self, command: Pay) -> int:
                account = await Accounts().get(command.account_id)
                account = account or Account.open(command.account_id)
                account.pay_in(command.amount)
                await Accounts().add(account)
                return account.balance

        async def record_version(event: Any) -> None:
            seen.append(event.aggregate_version)

        handlers = HandlerRegistry()
        handlers.register_command_handler(Pay, PayHandler)
        for event_class in Account.event_registry:
            handlers.register_event_handler(event_class, record_version)
        mediator = EventSourcedMediator(handlers, uow_factory=new_uow)

        first = await mediator.send(Pay(account_id=account_id, amount=3))
        second = await mediator.send(Pay(account_id=account_id, amount=4))

        assert (first.result, second.result) == (3, 7)
        assert (len(first.events), len(second.events)) == (2, 1)
        stored = await event_store.get_events(account_id, aggregate_type="Account")
        assert [event.version for event in stored] == seen == [1, 2, 3]
        assert second.position == stored[-1].position

    async def test_event_sourced_repository_loads_in_a_query_and_takes_no_snapshot(
        self, new_uow: NewUnitOfWork, new_read_only_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        account = Account.open(new_account_id())
        account.pay_in(5)
        async with new_uow() as uow:
            await Accounts().add(account, uow)
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(1))
        handlers = HandlerRegistry()

        @handlers.query_handler
        async def read(query: ReadBalance) -> int:
            found = await accounts.get(query.account_id)
            assert found is not None
            return found.balance

        @handlers.query_handler
        async def pay_in(query: PayInQuery) -> None:
            found = await accounts.get(query.account_id)
            assert found is not None
            found.pay_in(1)
            await accounts.add(found)

        mediator = EventSourcedMediator(
            handlers, uow_factory=new_uow, query_uow_factory=new_read_only_uow
        )

        balance = (await mediator.query(ReadBalance(account_id=account.id))).result
        with pytest.raises(ReadOnlyError):
            await mediator.query(PayInQuery(account_id=account.id))

        assert balance == 5
        assert await snapshots.load([stream_of(account.id)]) == {}

    async def test_conflict_keeps_version_and_pending_events_and_names_both_versions(
        self, new_uow: NewUnitOfWork
    ) -> None:
        accounts, account = Accounts(), Account.open(new_account_id())
        async with new_uow() as uow:
            await accounts.add(account, uow)
        async with new_uow() as uow:
            stale = await accounts.get(account.id, uow)
        assert stale is not None
        account.pay_in(1)
        async with new_uow() as uow:
            await accounts.add(account, uow)
        stale.pay_in(2)
        stale.pay_in(3)

        with pytest.raises(OptimisticConcurrencyError) as caught:
            async with new_uow() as uow:
                await accounts.add(stale, uow)

        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert (stale.version, len(stale.pending_events), stale.uncommitted_event_count) == (
            1,
            2,
            2,
        )

    async def test_rollback_keeps_version_and_pending_events_of_an_aggregate(
        self, new_uow: NewUnitOfWork, event_store: IEventLog
    ) -> None:
        accounts, account = Accounts(), Account.open(new_account_id())

        async with new_uow() as uow:
            await accounts.add(account, uow)
            await uow.rollback()

        assert (account.version, len(account.pending_events)) == (0, 1)
        assert await event_store.get_events(account.id, aggregate_type="Account") == []
        async with new_uow() as uow:
            await accounts.add(account, uow)
        assert account.version == 1

    async def test_fifty_concurrent_tasks_lose_no_update_of_one_aggregate(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore, event_store: IEventLog
    ) -> None:
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(7))
        account = Account.open(new_account_id())
        async with new_uow() as uow:
            await accounts.add(account, uow)

        async def pay(amount: int) -> None:
            for _ in range(500):
                try:
                    async with new_uow() as uow:
                        mine = await accounts.get(account.id, uow)
                        assert mine is not None
                        mine.pay_in(amount)
                        await accounts.add(mine, uow)
                    return
                except OptimisticConcurrencyError:
                    await asyncio.sleep(0.001 * (amount % 7))
            raise AssertionError("500 attempts, and every one ended with a conflict")

        await asyncio.gather(*(pay(amount) for amount in range(1, 51)))

        async with new_uow() as uow:
            found = await accounts.get(account.id, uow)
        assert found is not None
        assert (found.balance, found.version) == (sum(range(1, 51)), 51)
        stored = await event_store.get_events(account.id, aggregate_type="Account")
        assert [event.version for event in stored] == list(range(1, 52))
        assert found.model_dump() == Account.rehydrate(account.id, stored).model_dump()
        kept = (await snapshots.load([stream_of(account.id)]))[stream_of(account.id)]
        assert kept.version >= 7

    async def test_cancelled_load_and_save_stores_all_events_or_none(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(1))
        account = Account.open(new_account_id())
        async with new_uow() as uow:
            await accounts.add(account, uow)
        balance = 0

        async def work() -> None:
            async with new_uow() as uow:
                mine = await accounts.get(account.id, uow)
                assert mine is not None
                mine.pay_in(1)
                mine.pay_in(1)
                await accounts.add(mine, uow)

        async def check() -> None:
            nonlocal balance
            async with new_uow() as uow:
                found = await Accounts().get(account.id, uow)
                same = await accounts.get(account.id, uow)
            assert found is not None
            assert same == found
            assert found.balance - balance in (0, 2)
            assert found.version == found.balance + 1
            balance = found.balance

        assert await cancel_sweep(work, check) > 0

    async def test_aggregates_are_loaded_in_the_order_of_the_ids_with_and_without_snapshots(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        plain = Accounts()
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(3))
        many = [Account.open(new_account_id()) for _ in range(6)]
        for number, account in enumerate(many):
            for amount in range(number):
                account.pay_in(amount)
        async with new_uow() as uow:
            await plain.add_many(many, uow)
        ids = [account.id for account in reversed(many)]

        async with new_uow() as uow:
            first = await accounts.list_all([*ids, "none", ids[0]], uow)
        async with new_uow() as uow:
            again = await accounts.retrieve([*ids, "none"], uow)

        assert [account.id for account in first] == ids
        assert first == again == list(reversed(many))
        assert [account.version for account in again] == [6, 5, 4, 3, 2, 1]
        kept = await snapshots.load([stream_of(account_id) for account_id in ids])
        assert sorted(snapshot.version for snapshot in kept.values()) == [3, 4, 5, 6]

    async def test_past_state_is_loaded_by_version_or_time_and_cannot_be_saved(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore, event_store: IEventLog
    ) -> None:
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(1))
        account = Account.open(new_account_id())
        for amount in (1, 2, 3):
            account.pay_in(amount)
        async with new_uow() as uow:
            await accounts.add(account, uow)
        async with new_uow() as uow:
            await accounts.get(account.id, uow)
        stored = await event_store.get_events(account.id, aggregate_type="Account")

        async with new_uow() as uow:
            by_version = [
                await accounts.load(account.id, uow, version=version) for version in (1, 3, 4, 5)
            ]
            by_time = await accounts.load(account.id, uow, at=stored[2].occurred_at)
            before = await accounts.load(
                account.id, uow, at=datetime(2000, 1, 1, tzinfo=timezone.utc)
            )

        assert [past and past.balance for past in by_version] == [0, 3, 6, None]
        assert before is None
        assert by_time is not None
        assert (by_time.balance, by_time.version) == (3, 3)
        by_time.pay_in(100)
        with pytest.raises(InvalidOperationError, match="at version 3, and a past state cannot be"):
            async with new_uow() as uow:
                await accounts.add(by_time, uow)

    @pytest.mark.long
    async def test_snapshot_and_later_events_equal_the_full_replay_for_random_histories(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore, event_store: IEventLog
    ) -> None:
        print(f"seed {SEED}")  # noqa: T201 - shown with a failure
        chance, accounts = random.Random(SEED), Accounts()
        many = [random_account(chance) for _ in range(HISTORIES)]
        async with new_uow() as uow:
            await accounts.add_many(many, uow)
        loader = create_loader(snapshots, 10**9)
        assert loader.snapshots is not None
        streams = await event_store.get_streams([stream_of(account.id) for account in many])

        for k in range(1, max(map(len, streams.values())) + 1):
            taken = [
                loader.snapshots.create(Account.rehydrate(stream.aggregate_id, stored[:k]))
                for stream, stored in streams.items()
                if k <= len(stored)
            ]
            await loader.snapshots.save([each for each in taken if each], instead_of={})
            async with new_uow() as uow:
                found = await loader.load([account.id for account in many], store_of(uow), uow)
            assert None not in taken
            assert found == many
            assert [each.version for each in found] == [each.version for each in many]
        assert not loader.snapshots.misses

    async def test_snapshot_written_after_a_load_shortens_the_next_load(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore, event_store: IEventLog
    ) -> None:
        account_id = await store_account(new_uow, 10)
        loader = create_loader(snapshots, 10)

        async with new_uow() as uow:
            await loader.load([account_id], store_of(uow), uow)
            assert await snapshots.load([stream_of(account_id)], uow) == {}
        decoded = record_decoding(loader)
        async with new_uow() as uow:
            (found,) = await loader.load([account_id], store_of(uow), uow)

        assert decoded == []
        assert (found.version, found.balance) == (10, 9)

    async def test_snapshot_of_a_rolled_back_state_is_never_written(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        await check_rollback_leaves_no_snapshot(new_uow, create_loader(snapshots, 1), snapshots)

    async def test_snapshot_contains_only_changes_made_by_events(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        account_id = await store_account(new_uow, 3)
        accounts = Accounts(snapshot_store=snapshots, strategy=EveryNEventsStrategy(1))

        async with new_uow() as uow:
            mine = await accounts.get(account_id, uow)
            assert mine is not None
            mine.owner = "changed by hand"
            mine.pay_in(1)
            await accounts.add(mine, uow)

        async with new_uow() as uow:
            found = await accounts.get(account_id, uow)
        assert found is not None
        assert (found.owner, found.balance) == ("ada", 3)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("renamed field", "another shape"),
            ("garbage", "unreadable"),
            ("truncated", "unreadable"),
            ("other id", "unreadable"),
            ("version 0", "unreadable"),
        ],
    )
    async def test_outdated_or_unreadable_snapshot_is_counted_logged_once_and_replaced(
        self,
        new_uow: NewUnitOfWork,
        snapshots: ISnapshotStore,
        caplog: pytest.LogCaptureFixture,
        fault: str,
        reason: str,
    ) -> None:
        ids = [await store_account(new_uow, 4) for _ in range(2)]
        loader = create_loader(snapshots, 1000)
        assert loader.snapshots is not None
        for account_id in ids:
            await snapshots.save(make_broken_snapshot(fault, loader.snapshots, account_id))

        with caplog.at_level(logging.WARNING):
            async with new_uow() as uow:
                found = await loader.load(ids, store_of(uow), uow)

        assert [account.balance for account in found] == [3, 3]
        assert [account.version for account in found] == [4, 4]
        assert loader.snapshots.misses == {reason: 2}
        assert len(caplog.records) == 1
        assert reason in caplog.text
        decoded = record_decoding(loader)
        async with new_uow() as uow:
            again = await loader.load(ids, store_of(uow), uow)
        assert (again, decoded) == (found, [])
        assert loader.snapshots.misses == {reason: 2}

    async def test_older_and_newer_programs_can_share_a_snapshot_store(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        account_id = await store_account(new_uow, 5)
        new = create_loader(snapshots, 2)
        old = EventSourcedLoader(
            OlderAccount,
            snapshots=AggregateSnapshots(OlderAccount, snapshots, EveryNEventsStrategy(2)),
        )

        for loader in (new, old, new, old, new):
            async with new_uow() as uow:
                (found,) = await loader.load([account_id], store_of(uow), uow)
            assert (found.balance, found.version) == (4, 5)

        assert new.snapshots is not None
        assert new.snapshots.misses == {"another shape": 2}

    @pytest.mark.parametrize("schema_hash", [None, "other program"])
    async def test_snapshot_with_a_version_beyond_its_stream_is_ignored_and_replaced(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore, schema_hash: str | None
    ) -> None:
        account_id = await store_account(new_uow, 3)
        loader = create_loader(snapshots, 1000)
        ahead = Account.rehydrate(account_id, [])
        ahead.owner = "stored before an older backup was restored"
        ahead.mark_persisted(7)
        assert loader.snapshots is not None
        snapshot = loader.snapshots.create(ahead)
        assert snapshot is not None
        await snapshots.save(replace(snapshot, schema_hash=schema_hash or snapshot.schema_hash))

        for _ in range(2):
            async with new_uow() as uow:
                (found,) = await loader.load([account_id], store_of(uow), uow)
            assert (found.version, found.owner) == (3, "ada")

        reason = "another shape" if schema_hash else "beyond the stream"
        assert loader.snapshots.misses == {reason: 1}

    async def test_late_repair_of_an_outdated_snapshot_replaces_no_newer_snapshot(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        await check_late_repair(new_uow, snapshots, AggregateSnapshots)

    async def test_failing_snapshot_store_does_not_fail_the_save_of_an_aggregate(
        self,
        new_uow: NewUnitOfWork,
        snapshots: ISnapshotStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        account_id = await store_account(new_uow, 3)
        loader = create_loader(snapshots, 1)
        assert loader.snapshots is not None

        async def fail(*_: object, **__: object) -> None:
            raise OSError("disk full")

        loader.snapshots.save = fail  # type: ignore[method-assign]
        accounts = Accounts(loader=loader)
        async with new_uow() as uow:
            mine = await accounts.get(account_id, uow)
            assert mine is not None
            mine.pay_in(5)
            await accounts.add(mine, uow)

        assert mine.version == 4
        assert "disk full" in caplog.text


def create_loader(snapshots: ISnapshotStore, n: int) -> EventSourcedLoader[Account]:
    return EventSourcedLoader(
        Account, snapshots=AggregateSnapshots(Account, snapshots, EveryNEventsStrategy(n))
    )


async def store_account(new_uow: NewUnitOfWork, events: int) -> str:
    """Store an account with this number of events, each after the first pays in 1."""
    account = Account.open(new_account_id())
    for _ in range(events - 1):
        account.pay_in(1)
    async with new_uow() as uow:
        await Accounts().add(account, uow)
    return account.id


def record_decoding(loader: EventSourcedLoader[Account]) -> list[int]:
    """Return a list that grows by the version of each event decoded from now on."""
    decoded: list[int] = []
    decode = loader._events.decode

    def decode_and_record(stored: Any) -> Any:
        decoded.append(stored.version)
        return decode(stored)

    vars(loader._events)["decode"] = decode_and_record
    return decoded


def make_broken_snapshot(
    fault: str, snapshots: AggregateSnapshots[Account], account_id: str
) -> Snapshot:
    account = Account.open(account_id)
    for _ in range(3):
        account.pay_in(7)
    account.mark_persisted(4)
    whole = snapshots.create(account)
    assert whole is not None
    state, schema_hash, version = whole.state, whole.schema_hash, whole.version
    if fault == "renamed field":
        older = AggregateSnapshots(OlderAccount, snapshots._store)
        schema_hash = older.schema_hash
    elif fault == "garbage":
        state = b"\x00\xff\xfe not JSON"
    elif fault == "truncated":
        state = state[:-5]
    elif fault == "other id":
        state = state.replace(account_id.encode(), b"other-account")
    elif fault == "version 0":
        version = 0
    return Snapshot(stream=whole.stream, version=version, schema_hash=schema_hash, state=state)


async def check_late_repair(
    new_uow: NewUnitOfWork, kept: ISnapshotStore, kind: type[AggregateSnapshots[Account]]
) -> None:
    account_id = await store_account(new_uow, 3)
    stream, loader = stream_of(account_id), create_loader(kept, 1)
    slow = EventSourcedLoader(Account, snapshots=kind(Account, kept, EveryNEventsStrategy(1)))
    await kept.save(Snapshot(stream=stream, version=5, schema_hash="other id", state=b""))

    async with new_uow() as uow:
        await slow.load([account_id], store_of(uow), uow)
        async with new_uow() as other:
            await loader.load([account_id], store_of(other), other)
        repaired = (await kept.load([stream]))[stream].version
        async with new_uow() as other:
            account = await Accounts().get(account_id, other)
            assert account is not None
            for _ in range(6):
                account.pay_in(1)
            await Accounts().add(account, other)
        async with new_uow() as other:
            await loader.load([account_id], store_of(other), other)

    assert repaired == 3
    assert (await kept.load([stream]))[stream].version == 9, "a newer snapshot is lost"


async def check_rollback_leaves_no_snapshot(
    new_uow: NewUnitOfWork, loader: EventSourcedLoader[Account], snapshots: ISnapshotStore
) -> None:
    accounts, account_id = Accounts(loader=loader), await store_account(new_uow, 2)

    async with new_uow() as uow:
        account = await Accounts().get(account_id, uow)
        assert account is not None
        account.pay_in(100)
        await accounts.add(account, uow)
        seen = await accounts.get(account_id, uow)
        assert seen is not None
        assert seen.balance == 101
        await uow.rollback()

    assert get_current_uow() is None
    assert await snapshots.load([stream_of(account_id)]) == {}


def closed_registry(*event_classes: Any) -> EventTypeRegistry:
    events = EventTypeRegistry()
    for event_class in event_classes:
        events.register(event_class)
    return events
