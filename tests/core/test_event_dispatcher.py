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


async def test_each_event_goes_to_its_handlers_in_order() -> None:
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


async def test_what_a_handler_does_is_caused_by_the_event() -> None:
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


async def test_an_error_stops_the_rest() -> None:
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
