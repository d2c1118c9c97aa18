"""Tills that sell in a process of their own, and the stores of their projections."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cqrs_ddd_core import DomainEvent, StoredEvent, StreamId
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore, SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
)
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.till_domain import ItemSold, SaleRefunded, TillOpened, to_stored
from tests.faults.crashing import Place
from tests.faults.naive_positions import Kind

POISON = 13
SICK = StreamId("Till", "sick")


@dataclass(frozen=True)
class Market:
    """Number of tills and events; a transaction has five events for each of four tills."""

    tills: int = 12
    events: int = 1_000
    pause: float = 0.02
    has_poison: bool = False

    @property
    def streams(self) -> list[StreamId]:
        return [StreamId("Till", f"till-{number}") for number in range(self.tills)]


def create_environment(
    place: Place, engine: AsyncEngine, kind: Kind = SQLAlchemyPositionStore
) -> ProjectionEnvironment:
    sessions, tables = async_sessionmaker(engine), place.tables
    return ProjectionEnvironment(
        SQLAlchemyEventStore(sessions, tables=tables),
        SQLAlchemyProjectionStore(sessions, tables=tables),
        kind(sessions, tables=tables),
        SQLAlchemyDeadLetterStore(sessions, tables=tables),
        lambda: SQLAlchemyUnitOfWork(session_factory=sessions, tables=tables),
    )


async def sell(place: Place, market: Market, seed: int) -> None:
    """Store all events of the market, with the poison event after a third of them."""
    dice, sold = random.Random(seed), 0
    at = dict.fromkeys([*market.streams, SICK], 0)
    waits = market.has_poison
    async with place.engine() as engine:
        events = SQLAlchemyEventStore(async_sessionmaker(engine), tables=place.tables)
        while sold < market.events:
            new = {each: _sales(dice, at[each]) for each in dice.sample(market.streams, 4)}
            if market.has_poison:
                new[SICK] = _sales(dice, at[SICK])
                if waits and sold > market.events / 3:
                    waits, new[SICK][2] = False, ItemSold(cents=POISON)
            sold += await append(events, new, at)
            await asyncio.sleep(market.pause)


async def append(
    events: SQLAlchemyEventStore,
    new: dict[StreamId, list[DomainEvent]],
    at: dict[StreamId, int],
) -> int:
    """Append events of several streams in one transaction and record their versions in ``at``."""
    batch: list[StoredEvent] = []
    for stream, stream_events in new.items():
        batch += to_stored(stream, stream_events, after=at[stream])
    with contextlib.suppress(ConcurrencyError):
        await events.append_batch(batch)
        for stream, stream_events in new.items():
            at[stream] += len(stream_events)
        return len(batch)
    return 0


def _sales(dice: random.Random, at: int) -> list[DomainEvent]:
    kinds: list[Any] = [ItemSold] * 4 + [SaleRefunded]
    days = ("monday", "tuesday", "sunday")
    sales: list[DomainEvent] = [
        dice.choice(kinds)(cents=dice.randrange(POISON + 1, 900), day=dice.choice(days))
        for _ in range(5)
    ]
    if not at:
        sales[0] = TillOpened(place="hall")
    return sales


def run_sell(place: Place, market: Market, seed: int) -> None:
    asyncio.run(sell(place, market, seed))
