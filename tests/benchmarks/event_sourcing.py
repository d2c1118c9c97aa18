"""Load of an aggregate from its events, compared with reading and folding rows by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiosqlite
from pydantic_core import from_json

from cqrs_ddd_advanced_core.event_sourcing import EventSourcedLoader, EventSourcedRepository
from cqrs_ddd_advanced_core.snapshots import AggregateSnapshots, EveryNEventsStrategy
from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, StoredEvent
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemySnapshotStore
from cqrs_ddd_persistence_sqlalchemy.event_store.event_rows import read_columns

from .databases import Databases, Store, install_tables
from .measuring import Row, Side, SideContext
from .persistence import open_later

EVENTS = 1_000
TAIL = 100

Fetch = Callable[[int], Awaitable[Sequence[Any]]]
"""Function that returns the rows after a version."""
FetchSnapshot = Callable[[], Awaitable[Any]]


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; the floor creates the same typed events and applies them in a loop."""
    found = []
    for dialect, name, driver in (
        ("postgresql", "PostgreSQL", "asyncpg"),
        ("sqlite", "SQLite", "aiosqlite"),
    ):

        def open_with(
            open_side: Callable[..., SideContext], *, of: str = dialect, **options: Any
        ) -> SideContext:
            return open_later(lambda: open_side(databases.url(of), **options))

        found += [
            Row(
                f"{name}: load an aggregate of {EVENTS:,} events",
                f"{driver}: fetch, validate and fold",
                open_with(load_aggregate),
                open_with(fold_by_hand),
                1 / 0.7,
                items=EVENTS,
                seconds=0.05,
            ),
            Row(
                f"{name}: load by a snapshot and {TAIL} events",
                f"{driver}: fetch a row and {TAIL}, validate and fold",
                open_with(load_aggregate, tail=TAIL),
                open_with(fold_by_hand, tail=TAIL),
                2.0,
                seconds=0.05,
            ),
        ]
    return found


class AmountPaid(DomainEvent):
    amount: int
    currency: str
    reference: str


class Ledger(AggregateRoot[str]):
    event_registry = EventTypeRegistry()

    total: int = 0
    last: str = ""

    def apply_AmountPaid(self, event: AmountPaid) -> None:
        self.total += event.amount
        self.last = event.reference


Ledger.event_registry.register(AmountPaid)


@asynccontextmanager
async def load_aggregate(
    url: str, *, tail: int | None = None, events: int = EVENTS
) -> AsyncIterator[Side]:
    async with install_tables(url) as store:
        loader = await _fill_stream(store, tail, events)
        kept = SQLAlchemyEventStore(store.sessions, tables=store.tables)
        ledgers = EventSourcedRepository[Ledger, str](event_store=kept, loader=loader)

        async def load(times: int) -> None:
            for _ in range(times):
                ledger = await ledgers.get("l-1")
                assert ledger is not None
                assert ledger.total == ledger.version == events

        yield load


@asynccontextmanager
async def fold_by_hand(url: str, *, tail: int | None = None) -> AsyncIterator[Side]:
    async with install_tables(url) as store:
        await _fill_stream(store, tail)
        open_reader = _open_postgres if "postgresql" in url else _open_sqlite
        async with open_reader(store) as (fetch, fetch_snapshot):

            async def fold(times: int) -> None:
                for _ in range(times):
                    ledger, after = Ledger.create_empty("l-1"), 0
                    if tail is not None:
                        row = await fetch_snapshot()
                        ledger, after = Ledger.model_validate_json(row[0]), row[1]
                    for row in await fetch(after):
                        ledger.apply_AmountPaid(_build_event(row))
                    Ledger.model_validate(ledger.__dict__)
                    assert ledger.total == EVENTS

            yield fold


def _build_event(row: Any) -> AmountPaid:
    occurred_at = row[9]
    return AmountPaid.model_validate(
        {
            **from_json(row[7]),
            "event_id": row[1],
            "aggregate_id": row[3],
            "aggregate_type": row[4],
            "aggregate_version": row[5],
            "metadata": from_json(row[8]),
            "occurred_at": occurred_at
            if isinstance(occurred_at, datetime)
            else datetime.fromisoformat(occurred_at),
            "correlation_id": row[10],
            "causation_id": row[11],
        }
    )


@asynccontextmanager
async def _open_postgres(store: Store) -> AsyncIterator[tuple[Fetch, FetchSnapshot]]:
    connection = await store.connect()
    try:
        events = await connection.prepare(_build_select(store, "$1"))
        snapshot = await connection.prepare(_build_snapshot_select(store, "$1"))
        yield events.fetch, lambda: snapshot.fetchrow("l-1")
    finally:
        await connection.close()


@asynccontextmanager
async def _open_sqlite(store: Store) -> AsyncIterator[tuple[Fetch, FetchSnapshot]]:
    async with aiosqlite.connect(str(store.engine.url.database)) as connection:

        async def fetch(after: int) -> Sequence[Any]:
            return list(await connection.execute_fetchall(_build_select(store, "?"), (after,)))

        async def fetch_snapshot() -> Any:
            statement = _build_snapshot_select(store, "?")
            (row,) = await connection.execute_fetchall(statement, ("l-1",))
            return row

        yield fetch, fetch_snapshot


def _build_select(store: Store, after: str) -> str:
    return (
        f"SELECT {read_columns()} FROM {store.tables.events.name} "
        f"WHERE aggregate_type = 'Ledger' AND aggregate_id = 'l-1' AND version > {after} "
        "ORDER BY version"
    )


def _build_snapshot_select(store: Store, aggregate_id: str) -> str:
    return (
        f"SELECT state, version FROM {store.tables.advanced.snapshots.name} "
        f"WHERE aggregate_type = 'Ledger' AND aggregate_id = {aggregate_id}"
    )


async def _fill_stream(
    store: Store, tail: int | None, events: int = EVENTS
) -> EventSourcedLoader[Ledger]:
    """Append a stream, and with ``tail`` save a snapshot before its last ``tail`` events."""
    ledger = Ledger(id="l-1")
    for number in range(1, events + 1):
        event = AmountPaid(amount=1, currency="EUR", reference=f"reference {number}")
        ledger.add_event(event)
    stored = [StoredEvent.from_event(event) for event in ledger.pending_events]
    await SQLAlchemyEventStore(store.sessions, tables=store.tables).append_batch(stored)
    snapshots = None
    if tail is not None:
        kept = SQLAlchemySnapshotStore(store.sessions, tables=store.tables)
        snapshots = AggregateSnapshots(Ledger, kept, EveryNEventsStrategy(EVENTS))
        snapshot = snapshots.create(Ledger.rehydrate("l-1", stored[:-tail]))
        assert snapshot is not None
        await kept.save(snapshot)
    await store.analyze()
    return EventSourcedLoader(Ledger, snapshots=snapshots)
