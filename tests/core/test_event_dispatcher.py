from __future__ import annotations

import pytest

from cqrs_ddd_core import (
    DomainEvent,
    EventDispatcher,
    HandlerRegistry,
    correlation_scope,
    get_causation_id,
    get_correlation_id,
)


class Arrived(DomainEvent):
    name: str = ""


class Left(DomainEvent):
    pass


async def test_dispatcher_calls_handlers_of_the_event_class_and_its_base_class_in_order() -> None:
    seen: list[str] = []

    async def greet(event: Arrived) -> None:
        seen.append(f"hello {event.name}")

    async def note(event: DomainEvent) -> None:
        seen.append(event.event_type)

    handlers = HandlerRegistry()
    handlers.register_event_handler(Arrived, greet)
    handlers.register_event_handler(DomainEvent, note)

    await EventDispatcher(handlers).dispatch([Arrived(name="Ada"), Left()])

    assert seen == ["hello Ada", "Arrived", "Left"]


async def test_event_handler_runs_with_the_event_id_as_causation_id() -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def look(event: DomainEvent) -> None:
        seen.append((get_correlation_id(), get_causation_id()))

    handlers = HandlerRegistry()
    handlers.register_event_handler(DomainEvent, look)
    own, inherited = Arrived(correlation_id="r-1"), Left(correlation_id=None)

    with correlation_scope("r-2", "c-2"):
        await EventDispatcher(handlers).dispatch([own, inherited])
        assert (get_correlation_id(), get_causation_id()) == ("r-2", "c-2")

    assert seen == [("r-1", own.event_id), ("r-2", inherited.event_id)]


async def test_error_of_an_event_handler_stops_the_dispatch_of_later_events() -> None:
    seen: list[str] = []

    async def fail(event: Arrived) -> None:
        raise LookupError("in a handler")

    async def note(event: DomainEvent) -> None:
        seen.append(event.event_type)

    handlers = HandlerRegistry()
    handlers.register_event_handler(Arrived, fail)
    handlers.register_event_handler(DomainEvent, note)

    with pytest.raises(LookupError, match="in a handler"):
        await EventDispatcher(handlers).dispatch([Arrived(), Left()])

    assert seen == []
