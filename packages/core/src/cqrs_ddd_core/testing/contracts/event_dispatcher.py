"""What every event dispatcher must do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...domain.events import DomainEvent
from ...ports.event_dispatcher import IEventDispatcher
from ..assertions import raises
from .parcel import ParcelRegistered, ParcelWeighed

Subscribe = Callable[[type[DomainEvent], Callable[[DomainEvent], Awaitable[None]]], None]


class EventDispatcherContract:
    """Fixtures: ``dispatcher``; ``subscribe``, which gives it a handler for a class of events."""

    async def test_each_event_goes_to_each_of_its_handlers_in_order(
        self, dispatcher: IEventDispatcher, subscribe: Subscribe
    ) -> None:
        seen: list[tuple[str, DomainEvent]] = []
        subscribe(ParcelWeighed, _build_recorder(seen, "first"))
        subscribe(ParcelRegistered, _build_recorder(seen, "other"))
        subscribe(ParcelWeighed, _build_recorder(seen, "second"))
        weighed, registered = ParcelWeighed(grams=1), ParcelRegistered(owner="anna")

        await dispatcher.dispatch([weighed, registered])

        assert seen == [("first", weighed), ("second", weighed), ("other", registered)]

    async def test_an_event_without_a_handler_is_fine(self, dispatcher: IEventDispatcher) -> None:
        await dispatcher.dispatch([])
        await dispatcher.dispatch([ParcelWeighed(grams=1)])

    async def test_an_error_reaches_the_caller_and_stops_the_rest(
        self, dispatcher: IEventDispatcher, subscribe: Subscribe
    ) -> None:
        seen: list[tuple[str, DomainEvent]] = []

        async def fail(event: DomainEvent) -> None:
            raise LookupError("in a handler")

        subscribe(ParcelWeighed, fail)
        subscribe(ParcelWeighed, _build_recorder(seen, "behind"))

        with raises(LookupError):
            await dispatcher.dispatch([ParcelWeighed(grams=1), ParcelWeighed(grams=2)])

        assert seen == []


def _build_recorder(
    seen: list[tuple[str, DomainEvent]], name: str
) -> Callable[[DomainEvent], Awaitable[None]]:
    async def handler(event: DomainEvent) -> None:
        seen.append((name, event))

    return handler
