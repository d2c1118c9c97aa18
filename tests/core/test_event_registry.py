from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry
from cqrs_ddd_core.domain.events import default_event_registry
from cqrs_ddd_core.primitives.exceptions import (
    DuplicateTypeError,
    EventApplicationError,
    SerializationError,
    UnknownTypeError,
)


class ShelfFilled(DomainEvent):
    units: int


@dataclass
class Stored:
    event_type: str
    payload: dict[str, Any] = field(default_factory=dict)


def _event_named(name: str, module: str) -> type[DomainEvent]:
    return type(name, (DomainEvent,), {"__module__": module})


def test_a_name_leads_to_its_class() -> None:
    registry = EventTypeRegistry()

    assert registry.register(ShelfFilled) is ShelfFilled
    registry.register(ShelfFilled)

    assert registry.get("ShelfFilled") is ShelfFilled
    assert "ShelfFilled" in registry
    assert list(registry) == [ShelfFilled]
    assert len(registry) == 1


def test_two_classes_cannot_share_a_name() -> None:
    registry = EventTypeRegistry()
    registry.register(_event_named("Crowded", "here"))

    with pytest.raises(DuplicateTypeError, match=r"give .*elsewhere.Crowded a name of its own"):
        registry.register(_event_named("Crowded", "elsewhere"))


def test_an_unknown_name_lists_the_near_ones() -> None:
    registry = EventTypeRegistry()
    registry.register(ShelfFilled)

    with pytest.raises(
        UnknownTypeError, match=r"no event type 'ShelfFiled' .* there is ShelfFilled"
    ):
        registry.get("ShelfFiled")


def test_nothing_is_imported_by_name() -> None:
    with pytest.raises(UnknownTypeError):
        EventTypeRegistry().decode(Stored("os.system", {"command": "true"}))


def test_a_payload_that_does_not_fit_names_the_event_and_the_remedy() -> None:
    registry = EventTypeRegistry()
    registry.register(ShelfFilled)

    with pytest.raises(SerializationError, match="register an upcaster") as caught:
        registry.decode(Stored("ShelfFilled", {"units": "many"}))

    assert caught.value.type_name == "ShelfFilled"


def test_an_aggregate_finds_every_event_class_without_registering_it() -> None:
    class Shelf(AggregateRoot[str]):
        units: int = 0

        def apply_ShelfFilled(self, event: ShelfFilled) -> None:
            self.units += event.units

    shelf = Shelf.rehydrate("s-1", [Stored("ShelfFilled", {"units": 3})])

    assert shelf.units == 3


def test_a_name_that_two_classes_have_cannot_be_read_without_a_registry() -> None:
    _event_named("Doubled", "one")
    _event_named("Doubled", "two")

    with pytest.raises(DuplicateTypeError, match=r"the name of one\.Doubled, two\.Doubled"):
        default_event_registry.get("Doubled")

    with pytest.raises(EventApplicationError, match="Doubled"):
        AggregateRoot[str].rehydrate("s-1", [Stored("Doubled")])
