"""Processes that pay into accounts with snapshots, killed while a snapshot is written.

Their effects are judged by the events alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.ports.snapshots import Snapshot
from cqrs_ddd_advanced_core.snapshots import EveryNEventsStrategy
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore
from tests.advanced.accounts import Account
from tests.faults.crashing import Place
from tests.forking import kill, process

ACCOUNTS = [f"a-{number}" for number in range(3)]
STREAMS = [StreamId("Account", account_id) for account_id in ACCOUNTS]


class Accounts(EventSourcedRepository[Account, str]):
    pass


class KilledBeforeSaveStore(SQLAlchemySnapshotStore):
    """Store that kills the process after the commit of the unit of work, before the save."""

    async def save_many(self, *_: Any, **__: Any) -> None:
        kill_this_process()


class KilledDuringSaveStore(SQLAlchemySnapshotStore):
    """Store that kills the process after the statement, before its commit."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        async with self._connections.new_transaction("save snapshots") as new:
            await super().save_many(snapshots, new, **options)
            kill_this_process()


class KilledAfterSaveStore(SQLAlchemySnapshotStore):
    async def save_many(self, *arguments: Any, **options: Any) -> None:
        await super().save_many(*arguments, **options)
        kill_this_process()


class DeleteFirstStore(SQLAlchemySnapshotStore):
    """Wrong store that deletes the old snapshot before it saves the new one."""

    async def save_many(
        self, snapshots: Collection[Snapshot], uow: UnitOfWork | None = None, **options: Any
    ) -> None:
        for snapshot in snapshots:
            await self.delete(snapshot.stream, uow)
        kill_this_process()


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def open_accounts(place: Place, engine: AsyncEngine, *, snapshot: bool) -> None:
    """Open the accounts with three events each and, if requested, with a snapshot."""
    sessions = async_sessionmaker(engine)
    for account_id in ACCOUNTS:
        account = Account.open(account_id)
        account.pay_in(1)
        account.pay_in(1)
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables) as uow:
            await Accounts().add(account, uow)
    if snapshot:
        store = SQLAlchemySnapshotStore(sessions, tables=place.tables)
        async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables) as uow:
            await _create_repository(store).list_all(ACCOUNTS, uow)


async def pay_twice(place: Place, kind: type[SQLAlchemySnapshotStore]) -> None:
    """Pay into the accounts twice; the second unit of work snapshots the first payments."""
    async with place.engine() as engine:
        sessions = async_sessionmaker(engine)
        store = kind(sessions, tables=place.tables)
        for repository in (Accounts(), _create_repository(store)):
            async with SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables) as uow:
                accounts = await repository.list_all(ACCOUNTS, uow)
                for account in accounts:
                    account.pay_in(1)
                await repository.add_many(accounts, uow)


async def pay(place: Place) -> None:
    """Pay into a random account in an endless loop, with a note of each commit."""
    dice = random.Random()
    async with place.engine() as engine:
        sessions = async_sessionmaker(engine)
        repository = _create_repository(SQLAlchemySnapshotStore(sessions, tables=place.tables))
        with (place.folder / f"paid-{os.getpid()}").open("a", buffering=1) as notes:
            while True:
                uow = SQLAlchemyUnitOfWork(session_factory=sessions, tables=place.tables)
                with contextlib.suppress(ConcurrencyError):
                    async with uow:
                        account = dice.choice(await repository.list_all(ACCOUNTS, uow))
                        account.pay_in(1)
                        await repository.add(account, uow)
                    notes.write(f"{account.id}\n")


@dataclass
class Findings:
    kills: int = 0
    payments: int = 0
    snapshots: int = 0
    noted_but_gone: int = 0
    wrong_states: int = 0
    steps_back: int = 0

    @property
    def faults(self) -> int:
        return self.noted_but_gone + self.wrong_states + self.steps_back

    def __str__(self) -> str:
        return (
            f"{self.kills} killed, {self.payments:,} payments, {self.snapshots:,} snapshots seen; "
            f"{self.noted_but_gone} payments noted but gone, {self.wrong_states} wrong states, "
            f"{self.steps_back} snapshots of an earlier version than before"
        )


async def kill_at_random(place: Place, *, seed: int, rounds: int) -> Findings:
    """Let three processes pay; kill and replace one of them each round."""
    dice, findings = random.Random(seed), Findings(kills=rounds)
    async with place.engine() as engine:
        await open_accounts(place, engine, snapshot=False)
        watching = asyncio.ensure_future(_watch(place, engine, findings))
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(process(_run_pay, place)) for _ in range(3)]
            for _ in range(rounds):
                await asyncio.sleep(dice.uniform(0.02, 0.3))
                victim = dice.randrange(len(running))
                kill(running[victim])
                running[victim] = stack.enter_context(process(_run_pay, place))
            deadline = time.monotonic() + 60
            while not (findings.snapshots or watching.done()):
                assert time.monotonic() < deadline, "no process has saved a snapshot"
                await asyncio.sleep(0.02)
        watching.cancel()
        await asyncio.wait({watching})
        if not watching.cancelled():
            watching.result()
        await judge(place, engine, findings)
    return findings


async def judge(place: Place, engine: AsyncEngine, findings: Findings) -> None:
    sessions = async_sessionmaker(engine)
    events = SQLAlchemyEventStore(sessions, tables=place.tables)
    store = SQLAlchemySnapshotStore(sessions, tables=place.tables)
    loader = _create_repository(store).loader
    notes = [each for path in place.folder.glob("paid-*") for each in path.read_text().split()]
    for found in await loader.load(ACCOUNTS, events):
        stored = await events.get_events(found.id, aggregate_type="Account")
        replayed = Account.rehydrate(found.id, stored)
        is_right = found.model_dump() == replayed.model_dump() and found.version == len(stored)
        findings.wrong_states += not is_right
        findings.payments += len(stored) - 3
        findings.noted_but_gone += max(0, notes.count(found.id) - (len(stored) - 3))
    assert loader.snapshots is not None
    findings.wrong_states += loader.snapshots.misses.total()


async def read_snapshot_versions(place: Place, engine: AsyncEngine) -> dict[str, int]:
    store = SQLAlchemySnapshotStore(async_sessionmaker(engine), tables=place.tables)
    return {
        stream.aggregate_id: snapshot.version
        for stream, snapshot in (await store.load(STREAMS)).items()
    }


async def _watch(place: Place, engine: AsyncEngine, findings: Findings) -> None:
    before: dict[str, int] = {}
    while True:
        now = await read_snapshot_versions(place, engine)
        findings.snapshots += sum(now[each] != before.get(each) for each in now)
        findings.steps_back += sum(now.get(each, 0) < before[each] for each in before)
        before = now
        await asyncio.sleep(0.005)


def _create_repository(store: SQLAlchemySnapshotStore) -> Accounts:
    return Accounts(snapshot_store=store, strategy=EveryNEventsStrategy(1))


def _run_pay(place: Place) -> None:
    asyncio.run(pay(place))


def run_pay_twice(place: Place, kind: type[SQLAlchemySnapshotStore]) -> None:
    asyncio.run(pay_twice(place, kind))
