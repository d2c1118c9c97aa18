"""A recorded event does not change any more, whatever its readers do with their values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from cqrs_ddd_core import AggregateRoot, Application, Command, DomainEvent, InMemoryBackend
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_core.domain import ValueObject
from cqrs_ddd_core.ports import OutboxMessage, StoredEvent


class Price(ValueObject):
    cents: int
    notes: list[str] = Field(default_factory=list)


class Labelled(DomainEvent):
    tags: list[str]
    sizes: dict[str, list[int]] = Field(default_factory=dict)
    price: Price | None = None


class TagAdded(DomainEvent):
    tag: str


class Parcel(AggregateRoot[str]):
    tags: list[str] = Field(default_factory=list)
    sizes: dict[str, list[int]] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    price: Price | None = None

    def label(self, tags: list[str], **facts: Any) -> Labelled:
        event = Labelled(tags=tags, **facts)
        self.add_event(event)
        return event

    def apply_Labelled(self, event: Labelled) -> None:
        self.tags, self.sizes, self.price = event.tags, event.sizes, event.price
        self.facts = event.metadata

    def apply_TagAdded(self, event: TagAdded) -> None:
        self.tags.append(event.tag)
        self.sizes.setdefault("changed", []).append(1)
        self.facts["changed"] = True
        if self.price is not None:
            self.price.notes.append("changed")


class Label(Command[None]):
    parcel_id: str


async def test_later_change_of_the_state_does_not_reach_a_recorded_event() -> None:
    parcel = Parcel(id="p-1")
    parcel.label(["a"], sizes={"m": [1]}, price=Price(cents=5), metadata={"by": "anna"})
    parcel.add_event(TagAdded(tag="b"))

    first, _ = parcel.collect_events()

    assert isinstance(first, Labelled)
    assert (first.tags, first.sizes, first.price) == (["a"], {"m": [1]}, Price(cents=5))
    assert first.metadata == {"by": "anna"}
    assert parcel.tags == ["a", "b"]


def test_change_in_the_handler_of_the_event_itself_does_not_reach_it() -> None:
    class Sorted(DomainEvent):
        tags: list[str]

    class Shelf(AggregateRoot[str]):
        tags: list[str] = Field(default_factory=list)

        def apply_Sorted(self, event: Sorted) -> None:
            event.tags.sort()
            self.tags = event.tags

    shelf = Shelf(id="s-1")
    shelf.add_event(Sorted(tags=["b", "a"]))

    (recorded,) = shelf.pending_events
    assert isinstance(recorded, Sorted)
    assert (recorded.tags, shelf.tags) == (["b", "a"], ["a", "b"])


def test_change_to_an_argument_of_the_event_does_not_reach_it() -> None:
    price, tags = Price(cents=5), ["a"]
    parcel = Parcel(id="p-1")
    parcel.label(tags, price=price)
    price.notes.append("changed")
    tags.append("changed")

    (recorded,) = parcel.pending_events

    assert isinstance(recorded, Labelled)
    assert (recorded.tags, recorded.price) == (["a"], Price(cents=5))


@pytest.mark.parametrize("publishes", [True, False])
async def test_change_in_an_event_handler_reaches_neither_stores_nor_other_handlers(
    publishes: bool,
) -> None:
    backend, seen = InMemoryBackend(), list[object]()
    app = Application(backend, publisher=InMemoryMessageBus() if publishes else None)
    parcels = backend.repository(Parcel)

    @app.command_handler(Label)
    async def label(command: Label) -> None:
        parcel = Parcel(id=command.parcel_id)
        parcel.label(["a"], sizes={"m": [1]}, metadata={"by": "anna"})
        await parcels.add(parcel)

    async def change(event: Labelled) -> None:
        seen.append((list(event.tags), dict(event.sizes), dict(event.metadata)))
        event.tags.pop()
        event.sizes.clear()
        event.metadata["by"] = "changed"

    async def change_too(event: Labelled) -> None:
        await change(event)

    app.event_handler(Labelled)(change)
    app.event_handler(Labelled)(change_too)

    async with app.open(services=False):
        response = await app.send(Label(parcel_id="p-1"))

    as_recorded = (["a"], {"m": [1]}, {"by": "anna"})
    assert seen == [as_recorded] * 2
    (stored,) = await backend.event_store.get_events("p-1")
    assert (stored.payload["tags"], stored.metadata["by"]) == (["a"], "anna")
    for message in await backend.outbox.get_pending():
        assert (message.payload["tags"], message.metadata["by"]) == (["a"], "anna")
    (event,) = response.events
    assert isinstance(event, Labelled)
    assert (event.tags, event.sizes, event.metadata) == as_recorded


def test_stored_form_shares_no_value_with_its_event() -> None:
    recorded = Parcel(id="p-1").label(["a"], metadata={"by": {"name": "anna"}})

    for stored in (StoredEvent.from_event(recorded), OutboxMessage.from_event(recorded)):
        by = stored.metadata["by"]
        assert isinstance(by, dict)
        by["name"] = "changed"

    assert recorded.metadata == {"by": {"name": "anna"}}


def test_event_without_all_of_its_fields_can_be_copied() -> None:
    event = Labelled.model_construct(sizes={})

    assert event.detach() == event
