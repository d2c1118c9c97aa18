"""Load of an aggregate from its events, compared with the repository of another library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from eventsourcing.application import Application  # type: ignore[import-not-found]
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]
from sqlalchemy import make_url

from .databases import Databases
from .event_sourcing import EVENTS, load_aggregate
from .measuring import Row, Side, SideContext
from .persistence import open_later
from .persistence_peers import build_postgres_environment, new_schema

FEW = 100


def build_rows(databases: Databases) -> list[Row]:
    """Build the rows; both sides read a stream, create typed events and build the aggregate.

    The repository of the peer has its default settings, without snapshots and without a cache.
    """
    found = []
    for dialect, name in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite")):

        def open_with(
            open_side: Callable[..., SideContext], events: int, of: str = dialect
        ) -> SideContext:
            return open_later(lambda: open_side(databases.url(of), events=events))

        found += [
            Row(
                f"{name}: load an aggregate of {events:,} events",
                "eventsourcing",
                open_with(load_aggregate, events),
                open_with(get_aggregate, events),
                1 / 5,
                items=events,
                seconds=0.05,
            )
            for events in (FEW, EVENTS)
        ]
    return found


class PeerLedger(Aggregate):  # type: ignore[misc]
    @event("Opened")  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        self.total = 1
        self.last = ""

    @event("AmountPaid")  # type: ignore[untyped-decorator]
    def pay(self, amount: int, currency: str, reference: str) -> None:
        self.total += amount
        self.last = reference


@asynccontextmanager
async def get_aggregate(url: str, *, events: int) -> AsyncIterator[Side]:
    async with _open_environment(url) as environment:
        application = Application(env=environment)
        ledger = PeerLedger()
        for number in range(2, events + 1):
            ledger.pay(amount=1, currency="EUR", reference=f"reference {number}")
        application.save(ledger)

        async def get(times: int) -> None:
            for _ in range(times):
                found: Any = application.repository.get(ledger.id)
                assert found.total == found.version == events

        yield get
        application.close()


@asynccontextmanager
async def _open_environment(url: str) -> AsyncIterator[dict[str, str]]:
    if url.startswith("sqlite"):
        database = str(make_url(url).database)
        yield {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database}
        return
    bare = "postgresql" + url[url.index("://") :]
    async with new_schema(bare) as schema:
        yield {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            **build_postgres_environment(bare, schema),
        }
