"""Small domain for projections: tills that sell, and their takings."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, ClassVar

from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.projections import ProjectionDocuments, ProjectionHandler
from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandHandler,
    DomainEvent,
    EventTypeRegistry,
    StoredEvent,
    StreamId,
)
from cqrs_ddd_core.domain import when

till_events = EventTypeRegistry()


@till_events.register
class TillOpened(DomainEvent):
    place: str


@till_events.register
class ItemSold(DomainEvent):
    cents: int
    day: str = "monday"


@till_events.register
class SaleRefunded(DomainEvent):
    cents: int
    day: str = "monday"


@till_events.register
class TillClosed(DomainEvent):
    pass


class Tills(ProjectionHandler):
    """One document a till, which lists the versions of its events in the order of arrival."""

    collection = "tills"
    fields: ClassVar = {"place": str, "cents": int}
    event_registry = till_events

    def __init__(self) -> None:
        super().__init__()
        self.rejected: set[int] = set()
        """Amounts for which the handler raises an error."""
        self.failures = 0
        """Number of transient errors that the handler still raises."""

    def apply_TillOpened(self, event: TillOpened, documents: ProjectionDocuments) -> None:
        documents.upsert(str(event.aggregate_id), {"place": event.place, "cents": 0, "seen": [1]})

    def apply_ItemSold(self, event: ItemSold, documents: ProjectionDocuments) -> None:
        self._add(event, event.cents, documents)

    @when(SaleRefunded)
    def undo(self, event: SaleRefunded, documents: ProjectionDocuments) -> None:
        self._add(event, -event.cents, documents)

    def apply_TillClosed(self, event: TillClosed, documents: ProjectionDocuments) -> None:
        documents.delete(str(event.aggregate_id))

    def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
        till = documents.get(str(event.aggregate_id)) or {"place": None, "cents": 0, "seen": []}
        till["cents"] += cents
        till["seen"].append(event.aggregate_version)
        documents.upsert(str(event.aggregate_id), till)
        # After the change: a partial change of a failed event must not remain.
        if abs(cents) in self.rejected:
            raise ValueError(f"cannot process {cents}")
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the connection was closed")


class LaterTills(Tills):
    """Next version of the projection, with other fields in its documents."""

    version = 2
    fields: ClassVar = {"euros": float}

    def apply_TillOpened(self, event: TillOpened, documents: ProjectionDocuments) -> None:
        documents.upsert(str(event.aggregate_id), {"euros": 0.0})

    def _add(self, event: DomainEvent, cents: int, documents: ProjectionDocuments) -> None:
        till = documents.get(str(event.aggregate_id)) or {"euros": 0.0}
        documents.upsert(str(event.aggregate_id), {"euros": till["euros"] + cents / 100})


class Days(ProjectionHandler):
    """One document a day, over all tills together."""

    collection = "days"
    fields: ClassVar = {"cents": int}
    event_registry = till_events

    def document_ids(self, event: DomainEvent) -> Iterable[str]:
        return (event.day,) if isinstance(event, (ItemSold, SaleRefunded)) else ()

    def apply_ItemSold(self, event: ItemSold, documents: ProjectionDocuments) -> None:
        self._add(event.day, event.cents, documents)

    def apply_SaleRefunded(self, event: SaleRefunded, documents: ProjectionDocuments) -> None:
        self._add(event.day, -event.cents, documents)

    def _add(self, day: str, cents: int, documents: ProjectionDocuments) -> None:
        found = documents.get(day) or {"cents": 0, "count": 0}
        documents.upsert(day, {"cents": found["cents"] + cents, "count": found["count"] + 1})


_numbers = count(1)


def new_till() -> StreamId:
    return StreamId("Till", f"till-{next(_numbers)}")


def to_stored(stream: StreamId, events: Sequence[DomainEvent], after: int = 0) -> list[StoredEvent]:
    """Build the stored events of a stream that has ``after`` events."""
    return [
        StoredEvent(
            event_id=event.event_id,
            event_type=event.event_type,
            aggregate_id=stream.aggregate_id,
            aggregate_type=stream.aggregate_type,
            version=version,
            payload=event.payload(),
        )
        for version, event in enumerate(events, after + 1)
    ]


def open_and_sell(*cents: int) -> list[DomainEvent]:
    return [TillOpened(place="hall"), *(ItemSold(cents=each) for each in cents)]


def random_events(chance: random.Random, length: int) -> list[DomainEvent]:
    """Build random events of a till, in an arbitrary order."""
    days = ("monday", "tuesday", "sunday")
    kinds: list[Any] = [ItemSold] * 6 + [SaleRefunded] * 2
    events: list[DomainEvent] = []
    for _ in range(length):
        if chance.random() < 0.1:
            events.append(chance.choice([TillOpened(place="street"), TillClosed()]))
        else:
            events.append(
                chance.choice(kinds)(cents=chance.randrange(1, 900), day=chance.choice(days))
            )
    return events


class Till(AggregateRoot[str]):
    event_registry = till_events

    place: str = ""
    cents: int = 0

    def sell(self, cents: int, day: str = "monday") -> None:
        self.add_event(ItemSold(cents=cents, day=day))

    def apply_ItemSold(self, event: ItemSold) -> None:
        self.cents += event.cents


class Sell(Command[int]):
    till_id: str
    cents: int
    day: str = "monday"


class Inspect(Command[None]):
    """Command that records no event."""

    till_id: str


async def inspect(command: Inspect) -> None:
    """Read nothing and change nothing."""


class SellHandler(CommandHandler[int]):
    def __init__(self) -> None:
        self.tills: EventSourcedRepository[Till, str] = EventSourcedRepository(Till)

    async def handle(self, command: Sell) -> int:
        till = await self.tills.get(command.till_id) or Till.create_empty(command.till_id)
        till.sell(command.cents, command.day)
        await self.tills.add(till)
        return till.cents
