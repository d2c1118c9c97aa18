"""Contract of event dispatchers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...domain.events import DomainEvent
from ...ports.event_dispatcher import IEventDispatcher
from ..assertions import raises
from .parcel import ParcelRegistered, ParcelWeighed

Subscribe = Callable[[type[DomainEvent], Callable[[DomainEvent], Awaitable[None]]], None]


class EventDispatcherContract:
    """Contract of ``IEventDispatcher``.

    Fixtures:
        dispatcher: The dispatcher under test.
        subscribe: Registers a handler for a class of events with the dispatcher.
    """

    async def test_event_dispatcher_calls_every_handler_of_an_event_in_order(
        self, dispatcher: IEventDispatcher, subscribe: Subscribe
    ) -> None:
        seen: list[tuple[str, DomainEvent]] = []
        subscribe(ParcelWeighed, _build_recorder(seen, "first"))
        subscribe(ParcelRegistered, _build_recorder(seen, "other"))
        subscribe(ParcelWeighed, _build_recorder(seen, "second"))
        weighed, registered = ParcelWeighed(grams=1), ParcelRegistered(owner="anna")

        await dispatcher.dispatch([weighed, registered])

        assert seen == [("first", weighed), ("second", weighed), ("other", registered)]

    async def test_event_dispatcher_accepts_an_event_without_a_handler(
        self, dispatcher: IEventDispatcher
    ) -> None:
        await dispatcher.dispatch([])
        await dispatcher.dispatch([ParcelWeighed(grams=1)])

    async def test_failing_event_handler_ends_dispatch_with_its_error(
        self, dispatcher: IEventDispatcher, subscribe: Subscribe
    ) -> None:
        seen: list[tuple[str, DomainEvent]] = []

        async def fail(event: DomainEvent) -> None:
            raise LookupError("in a handler")

        subscribe(ParcelWeighed, fail)
        subscribe(ParcelWeighed, _build_recorder(seen, "later"))

        with raises(LookupError):
            await dispatcher.dispatch([ParcelWeighed(grams=1), ParcelWeighed(grams=2)])

        assert seen == []


def _build_recorder(
    seen: list[tuple[str, DomainEvent]], name: str
) -> Callable[[DomainEvent], Awaitable[None]]:
    async def handler(event: DomainEvent) -> None:
        seen.append((name, event))

    return handler
