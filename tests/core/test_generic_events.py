"""Generic events, events of a reloaded module, and aggregates without brackets.

This module does not import UUID, so that a class without brackets cannot find it here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pydantic
import pytest

from cqrs_ddd_core import AggregateRoot, DomainEvent, EventTypeRegistry, HandlerRegistry, when
from cqrs_ddd_core.primitives.exceptions import (
    EventApplicationError,
    EventHandlerError,
    MissingIdentityError,
    TypeRegistryError,
)

T = TypeVar("T")


class Changed(DomainEvent, Generic[T]):
    value: T


class NumberChanged(Changed[int]):
    pass


class Meter(AggregateRoot):
    number: int = 0

    @when(NumberChanged)
    def _set(self, event: NumberChanged) -> None:
        self.number = event.value


def test_event_that_fills_a_generic_base_is_applied_and_decoded() -> None:
    meter = Meter(id="m")
    meter.add_event(NumberChanged(value=3))

    events = meter.collect_events()

    assert events[0].event_type == "NumberChanged"
    assert meter.number == Meter.rehydrate("m", events).number == 3


@pytest.mark.parametrize("kind", [Changed[int], Changed])
def test_generic_event_is_rejected_where_it_is_recorded_applied_or_registered(
    kind: type[DomainEvent],
) -> None:
    make: Any = kind
    meter = Meter(id="m")

    with pytest.raises(EventApplicationError, match="a generic event.*define an event for them"):
        meter.add_event(make(value=3))
    with pytest.raises(EventApplicationError, match="a generic event"):
        meter.apply_event(make(value=3))
    with pytest.raises(EventHandlerError, match="a generic event"):

        class Marked(AggregateRoot[str]):
            @when(kind)
            def _change(self, event: DomainEvent) -> None: ...

    with pytest.raises(TypeRegistryError, match="a generic event"):
        EventTypeRegistry().register(kind)
    assert meter.pending_events == ()


def test_method_named_for_a_generic_event_is_rejected_at_class_definition() -> None:
    with pytest.raises(EventHandlerError, match=r"apply_Changed applies Changed\[int\], a generic"):

        class Named(AggregateRoot[str]):
            def apply_Changed(self, event: Changed[int]) -> None: ...


async def test_handler_of_a_generic_base_gets_each_event_that_fills_it() -> None:
    seen: list[object] = []

    async def note(event: Any) -> None:
        seen.append(event.value)

    handlers = HandlerRegistry()
    handlers.register_event_handler(Changed, note)
    for handler in handlers.get_event_handlers(NumberChanged):
        await handler.call(NumberChanged(value=3))

    assert seen == [3]


@pytest.mark.parametrize("entity_id", ["m", 5])
def test_aggregate_without_brackets_accepts_each_kind_of_id(entity_id: object) -> None:
    meter = Meter(id=entity_id)

    assert meter.id == entity_id
    assert Meter.model_validate_json(meter.model_dump_json()) == meter
    with pytest.raises(MissingIdentityError):
        Meter(id=None)
    with pytest.raises(pydantic.ValidationError):
        Meter(id=1.5)


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Module with an event, which can be reloaded."""
    code = "from cqrs_ddd_core import DomainEvent\n\nclass Rung(DomainEvent):\n    times: int\n"
    (tmp_path / "reloaded_events.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("reloaded_events")
    del sys.modules["reloaded_events"]


async def test_event_of_a_reloaded_module_reaches_its_methods_and_handlers(
    events: ModuleType,
) -> None:
    seen: list[int] = []

    class Bell(AggregateRoot[str]):
        rung: int = 0

        @when(events.Rung)
        def _ring(self, event: Any) -> None:
            self.rung += event.times

    async def note(event: Any) -> None:
        seen.append(event.times)

    handlers = HandlerRegistry()
    handlers.register_event_handler(events.Rung, note)
    importlib.reload(events)
    bell = Bell(id="b")
    bell.add_event(events.Rung(times=2))
    for handler in handlers.get_event_handlers(events.Rung):
        await handler.call(bell.pending_events[0])

    assert bell.rung == Bell.rehydrate("b", bell.collect_events()).rung == 2
    assert seen == [2]
