"""Loading an aggregate from its events beside another library's repository."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from eventsourcing.application import Application  # type: ignore[import-not-found]
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]
from sqlalchemy import make_url

from .databases import Databases
from .event_sourcing import EVENTS, loading
from .measuring import Opening, Row, Side
from .persistence import late
from .persistence_peers import new_schema, postgres_environment

FEW = 100


def rows(databases: Databases) -> list[Row]:
    """Both find a stream in their own table and make typed events and a new aggregate of it.

    The peer's repository is made as it comes, without snapshots and without a cache.
    """
    found = []
    for dialect, name in (("postgresql", "PostgreSQL"), ("sqlite", "SQLite")):

        def side(opening: Callable[..., Opening], events: int, of: str = dialect) -> Opening:
            return late(lambda: opening(databases.url(of), events=events))

        found += [
            Row(
                f"{name}: load an aggregate of {events:,} events",
                "eventsourcing",
                side(loading, events),
                side(getting, events),
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
async def getting(url: str, *, events: int) -> AsyncIterator[Side]:
    async with _environment(url) as environment:
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
async def _environment(url: str) -> AsyncIterator[dict[str, str]]:
    if url.startswith("sqlite"):
        database = str(make_url(url).database)
        yield {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database}
        return
    bare = "postgresql" + url[url.index("://") :]
    async with new_schema(bare) as schema:
        yield {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            **postgres_environment(bare, schema),
        }
