"""Loading an aggregate from its events, beside reading the rows and folding them by hand."""

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

from .databases import Databases, Store, installed
from .measuring import Opening, Row, Side
from .persistence import late

EVENTS = 1_000
TAIL = 100

Fetch = Callable[[int], Awaitable[Sequence[Any]]]
"""The rows after a version."""
FetchSnapshot = Callable[[], Awaitable[Any]]


def rows(databases: Databases) -> list[Row]:
    """The floor makes the same typed events, with their envelopes, and applies them in a loop."""
    found = []
    for dialect, name, driver in (
        ("postgresql", "PostgreSQL", "asyncpg"),
        ("sqlite", "SQLite", "aiosqlite"),
    ):

        def side(opening: Callable[..., Opening], *, of: str = dialect, **options: Any) -> Opening:
            return late(lambda: opening(databases.url(of), **options))

        found += [
            Row(
                f"{name}: load an aggregate of {EVENTS:,} events",
                f"{driver}: fetch, validate and fold",
                side(loading),
                side(folding),
                1 / 0.7,
                items=EVENTS,
                seconds=0.05,
            ),
            Row(
                f"{name}: load by a snapshot and {TAIL} events",
                f"{driver}: fetch a row and {TAIL}, validate and fold",
                side(loading, tail=TAIL),
                side(folding, tail=TAIL),
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
async def loading(
    url: str, *, tail: int | None = None, events: int = EVENTS
) -> AsyncIterator[Side]:
    async with installed(url) as store:
        loader = await _filled(store, tail, events)
        kept = SQLAlchemyEventStore(store.sessions, tables=store.tables)
        ledgers = EventSourcedRepository[Ledger, str](event_store=kept, loader=loader)

        async def load(times: int) -> None:
            for _ in range(times):
                ledger = await ledgers.get("l-1")
                assert ledger is not None
                assert ledger.total == ledger.version == events

        yield load


@asynccontextmanager
async def folding(url: str, *, tail: int | None = None) -> AsyncIterator[Side]:
    async with installed(url) as store:
        await _filled(store, tail)
        reading = _reading_postgres if "postgresql" in url else _reading_sqlite
        async with reading(store) as (fetch, fetch_snapshot):

            async def fold(times: int) -> None:
                for _ in range(times):
                    ledger, after = Ledger.create_empty("l-1"), 0
                    if tail is not None:
                        row = await fetch_snapshot()
                        ledger, after = Ledger.model_validate_json(row[0]), row[1]
                    for row in await fetch(after):
                        ledger.apply_AmountPaid(_by_hand(row))
                    Ledger.model_validate(ledger.__dict__)
                    assert ledger.total == EVENTS

            yield fold


def _by_hand(row: Any) -> AmountPaid:
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
async def _reading_postgres(store: Store) -> AsyncIterator[tuple[Fetch, FetchSnapshot]]:
    connection = await store.connect()
    try:
        events = await connection.prepare(_selecting(store, "$1"))
        snapshot = await connection.prepare(_selecting_snapshot(store, "$1"))
        yield events.fetch, lambda: snapshot.fetchrow("l-1")
    finally:
        await connection.close()


@asynccontextmanager
async def _reading_sqlite(store: Store) -> AsyncIterator[tuple[Fetch, FetchSnapshot]]:
    async with aiosqlite.connect(str(store.engine.url.database)) as connection:

        async def fetch(after: int) -> Sequence[Any]:
            return list(await connection.execute_fetchall(_selecting(store, "?"), (after,)))

        async def fetch_snapshot() -> Any:
            statement = _selecting_snapshot(store, "?")
            (row,) = await connection.execute_fetchall(statement, ("l-1",))
            return row

        yield fetch, fetch_snapshot


def _selecting(store: Store, after: str) -> str:
    return (
        f"SELECT {read_columns()} FROM {store.tables.events.name} "
        f"WHERE aggregate_type = 'Ledger' AND aggregate_id = 'l-1' AND version > {after} "
        "ORDER BY version"
    )


def _selecting_snapshot(store: Store, aggregate_id: str) -> str:
    return (
        f"SELECT state, version FROM {store.tables.advanced.snapshots.name} "
        f"WHERE aggregate_type = 'Ledger' AND aggregate_id = {aggregate_id}"
    )


async def _filled(
    store: Store, tail: int | None, events: int = EVENTS
) -> EventSourcedLoader[Ledger]:
    """A stream, and with a tail a snapshot so many events before its end."""
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
    await store.tidy()
    return EventSourcedLoader(Ledger, snapshots=snapshots)
