"""Two interleaved transactions on the in-memory adapters, compared with a model of dicts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cqrs_ddd_core import StoredEvent
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.primitives.exceptions import OptimisticConcurrencyError
from cqrs_ddd_core.testing.contracts.parcel import Parcel

T = TypeVar("T")
Row = tuple[int, int | None]
"""Version and grams."""

IDS = st.sampled_from(["a", "b"])
SLOTS = st.sampled_from([0, 1])


class Transaction:
    """Open unit of work, with the rows that the model wrote and the versions that it expects."""

    def __init__(self, uow: InMemoryUnitOfWork) -> None:
        self.uow = uow
        self.written: dict[str, Row | None] = {}
        self.expected: dict[str, int] = {}


class Interleaving(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.events = InMemoryEventStore()
        self.parcels: InMemoryRepository[Parcel, str] = InMemoryRepository(Parcel)
        self.committed: dict[str, Row] = {}
        self.slots: list[Transaction | None] = [None, None]
        self.appended: list[str] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.loop.close()

    def get_transaction(self, slot: int) -> Transaction:
        found = self.slots[slot]
        if found is None:
            found = self.slots[slot] = Transaction(InMemoryUnitOfWork(event_store=self.events))
        return found

    def read_model(self, transaction: Transaction, parcel_id: str) -> Row | None:
        if parcel_id in transaction.written:
            return transaction.written[parcel_id]
        return self.committed.get(parcel_id)

    @rule(slot=SLOTS, parcel_id=IDS)
    def read(self, slot: int, parcel_id: str) -> None:
        transaction = self.get_transaction(slot)

        found = self.run(self.parcels.get(parcel_id, transaction.uow))

        row = None if found is None else (found.version, found.grams)
        assert row == self.read_model(transaction, parcel_id)

    @rule(slot=SLOTS, parcel_id=IDS, grams=st.integers(0, 9))
    def change(self, slot: int, parcel_id: str, grams: int) -> None:
        transaction = self.get_transaction(slot)
        found = self.run(self.parcels.get(parcel_id, transaction.uow))
        parcel = found or Parcel.register(parcel_id, "anna")
        parcel.weigh(grams)

        self.run(self.parcels.add(parcel, transaction.uow))

        before = self.read_model(transaction, parcel_id)
        if parcel_id not in transaction.written:
            transaction.expected[parcel_id] = before[0] if before else 0
        transaction.written[parcel_id] = (parcel.next_version, grams)

    @rule(slot=SLOTS, parcel_id=IDS)
    def delete(self, slot: int, parcel_id: str) -> None:
        transaction = self.get_transaction(slot)

        self.run(self.parcels.delete(parcel_id, transaction.uow))

        transaction.written[parcel_id] = None

    @rule(slot=SLOTS)
    def append(self, slot: int) -> None:
        transaction = self.get_transaction(slot)
        number = len(self.appended)
        self.appended.append("open")
        event = StoredEvent(
            event_id=f"e-{number}",
            event_type="Noted",
            aggregate_id=f"n-{number}",
            aggregate_type="Note",
            version=1,
            payload={"slot": slot},
        )

        self.run(transaction.uow.event_store.append(event))

        transaction.written[f"event {number}"] = None

    @precondition(lambda self: any(self.slots))
    @rule(slot=SLOTS)
    def commit(self, slot: int) -> None:
        transaction = self.get_transaction(slot)
        self.slots[slot] = None
        rows = {k: v for k, v in transaction.written.items() if k in ("a", "b")}
        stale = [
            parcel_id
            for parcel_id, version in transaction.expected.items()
            if rows[parcel_id] is not None
            and version != self.committed.get(parcel_id, (0, None))[0]
        ]
        try:
            self.run(transaction.uow.commit())
        except OptimisticConcurrencyError:
            assert stale
            self.record_end(transaction, "rolled back")
            return
        assert not stale
        for parcel_id, row in rows.items():
            self.committed.pop(parcel_id, None)
            if row is not None:
                self.committed[parcel_id] = row
        self.record_end(transaction, "committed")

    @precondition(lambda self: any(self.slots))
    @rule(slot=SLOTS)
    def roll_back(self, slot: int) -> None:
        transaction = self.get_transaction(slot)
        self.slots[slot] = None

        self.run(transaction.uow.rollback())

        self.record_end(transaction, "rolled back")

    def record_end(self, transaction: Transaction, how: str) -> None:
        for key in transaction.written:
            if key.startswith("event "):
                self.appended[int(key.removeprefix("event "))] = how

    @invariant()
    def check_committed_state(self) -> None:
        async def look() -> tuple[dict[str, Row], list[StoredEvent]]:
            parcels = await self.parcels.list_all()
            return {
                p.id: (p.version, p.grams) for p in parcels
            }, await self.events.get_events_after(0)

        rows, events = self.run(look())

        assert rows == self.committed
        stored = {int(event.event_id.removeprefix("e-")) for event in events}
        assert stored == {n for n, how in enumerate(self.appended) if how == "committed"}
        positions = [event.position or 0 for event in events]
        assert positions == sorted(set(positions))


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
