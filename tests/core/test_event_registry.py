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


def _create_event_class(name: str, module: str) -> type[DomainEvent]:
    return type(name, (DomainEvent,), {"__module__": module})


def test_event_registry_returns_the_class_of_a_name() -> None:
    registry = EventTypeRegistry()

    assert registry.register(ShelfFilled) is ShelfFilled

    assert registry.get("ShelfFilled") is ShelfFilled
    assert "ShelfFilled" in registry
    assert list(registry) == [ShelfFilled]
    assert len(registry) == 1


def test_event_registry_rejects_two_classes_with_one_name() -> None:
    registry = EventTypeRegistry()
    registry.register(_create_event_class("Crowded", "here"))

    with pytest.raises(DuplicateTypeError, match=r"give .*elsewhere.Crowded a name of its own"):
        registry.register(_create_event_class("Crowded", "elsewhere"))


def test_error_for_an_unknown_event_name_suggests_similar_names() -> None:
    registry = EventTypeRegistry()
    registry.register(ShelfFilled)

    with pytest.raises(
        UnknownTypeError, match=r"no event type 'ShelfFiled' .* there is ShelfFilled"
    ):
        registry.get("ShelfFiled")


def test_event_registry_never_imports_a_class_by_name() -> None:
    with pytest.raises(UnknownTypeError):
        EventTypeRegistry().decode(Stored("os.system", {"command": "true"}))


def test_error_for_an_unfitting_payload_names_the_event_and_the_remedy() -> None:
    registry = EventTypeRegistry()
    registry.register(ShelfFilled)

    with pytest.raises(SerializationError, match="register an upcaster") as caught:
        registry.decode(Stored("ShelfFilled", {"units": "many"}))

    assert caught.value.type_name == "ShelfFilled"


def test_aggregate_decodes_event_classes_without_registration() -> None:
    class Shelf(AggregateRoot[str]):
        units: int = 0

        def apply_ShelfFilled(self, event: ShelfFilled) -> None:
            self.units += event.units

    shelf = Shelf.rehydrate("s-1", [Stored("ShelfFilled", {"units": 3})])

    assert shelf.units == 3


def test_ambiguous_event_name_cannot_be_decoded_without_a_registry() -> None:
    _create_event_class("Doubled", "one")
    _create_event_class("Doubled", "two")

    with pytest.raises(DuplicateTypeError, match=r"the name of one\.Doubled, two\.Doubled"):
        default_event_registry.get("Doubled")

    with pytest.raises(EventApplicationError, match="Doubled"):
        AggregateRoot[str].rehydrate("s-1", [Stored("Doubled")])
