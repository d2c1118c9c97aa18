"""Given-when-then tests of aggregates and of command handlers.

::

    given(Order, "o-1", OrderPlaced(customer="c-1")).when(
        lambda order: order.ship("DHL")
    ).then(OrderShipped(carrier="DHL"))

    outcome = await given_sent(mediator, PlaceOrder(order_id="o-1")).when(ShipOrder(order_id="o-1"))
    outcome.then(OrderShipped(carrier="DHL")).then_result("o-1")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Generic, TypeVar

from ..domain.aggregate import AggregateRoot
from ..domain.events import ENVELOPE, DomainEvent
from ..messages import Command
from ..ports import ICommandBus

A = TypeVar("A", bound=AggregateRoot)


@dataclass(frozen=True)
class Outcome:
    """Result of a scenario: the new events, the return value or the error, and the aggregate.

    Each ``then`` method raises an ``AssertionError`` that shows the differences, and returns the
    outcome itself, so that calls can be chained.

    Args:
        events: Events that the call or the command recorded.
        result: Return value of the method or of the command handler.
        error: Error that was raised instead of a result.
        aggregate: The aggregate after the call; None after a command.
    """

    events: Sequence[DomainEvent]
    result: object = None
    error: Exception | None = None
    aggregate: AggregateRoot | None = None

    def then(self, *expected: DomainEvent) -> Outcome:
        """Assert that exactly these events follow, in this order; envelopes are not compared."""
        self._ensure_no_error()
        differences = _compare_events(expected, self.events)
        if differences:
            raise AssertionError("\n".join(["the events differ:", *differences]))
        return self

    def then_result(self, expected: object) -> Outcome:
        """Assert the return value of the method or of the command handler."""
        self._ensure_no_error()
        if self.result != expected:
            raise AssertionError(f"the result differs: expected {expected!r}, got {self.result!r}")
        return self

    def then_state(self, **expected: object) -> Outcome:
        """Assert these attributes of the aggregate; others are not compared."""
        self._ensure_no_error()
        if self.aggregate is None:
            raise AssertionError("there is no aggregate; then_state follows given(...).when(...)")
        actual = {name: getattr(self.aggregate, name) for name in expected}
        differences = _compare_fields(expected, actual)
        if differences:
            raise AssertionError("\n".join(["the state differs:", *differences]))
        return self

    def then_raises(self, error_type: type[Exception], message: str = "") -> Outcome:
        """Assert that no event was recorded and that an error of this type was raised.

        Args:
            error_type: Expected class of the error.
            message: Part of the expected message.
        """
        if self.error is None:
            raise AssertionError(
                f"expected {error_type.__name__}, but nothing was raised; "
                f"the events are {_format_events(self.events)}"
            )
        if not isinstance(self.error, error_type) or message not in str(self.error):
            wanted = f"{error_type.__name__} {message!r}" if message else error_type.__name__
            raise AssertionError(f"expected {wanted}, got {self.error!r}") from self.error
        if self.events:
            raise AssertionError(f"before it raised, it recorded {_format_events(self.events)}")
        return self

    def _ensure_no_error(self) -> None:
        if self.error is not None:
            raise AssertionError(f"it raised {self.error!r}") from self.error


class AggregateScenario(Generic[A]):
    """Scenario of an aggregate with a history of events.

    Args:
        aggregate: The aggregate, without pending events.
    """

    def __init__(self, aggregate: A) -> None:
        self._aggregate = aggregate

    def when(self, act: Callable[[A], object]) -> Outcome:
        """Call ``act`` with the aggregate; return its events and its result or its error."""
        aggregate = self._aggregate
        try:
            result = act(aggregate)
        except Exception as error:
            return Outcome(aggregate.collect_events(), error=error, aggregate=aggregate)
        return Outcome(aggregate.collect_events(), result, aggregate=aggregate)


class MessageScenario:
    """Scenario of a command bus that first handles some earlier commands.

    Args:
        bus: The mediator or the application under test.
        before: Commands that are sent before the command of ``when``.
    """

    def __init__(self, bus: ICommandBus, before: Sequence[Command]) -> None:
        self._bus = bus
        self._before = before

    async def when(self, command: Command) -> Outcome:
        """Send the earlier commands, then ``command``; return the outcome of ``command`` alone.

        An error of an earlier command is raised.
        """
        for earlier in self._before:
            await self._bus.send(earlier)
        try:
            response = await self._bus.send(command)
        except Exception as error:
            return Outcome((), error=error)
        return Outcome(response.events, response.result)


def given(
    aggregate_type: type[A], entity_id: object, *history: DomainEvent
) -> AggregateScenario[A]:
    """Return the scenario of an aggregate with this history, an empty aggregate by default."""
    return AggregateScenario(aggregate_type.rehydrate(entity_id, history))


def given_sent(bus: ICommandBus, *commands: Command) -> MessageScenario:
    """Return the scenario of a mediator or application that first handles these commands."""
    return MessageScenario(bus, commands)


def _compare_events(expected: Sequence[DomainEvent], actual: Sequence[DomainEvent]) -> list[str]:
    lines: list[str] = []
    for number, (wanted, got) in enumerate(zip_longest(expected, actual), 1):
        if wanted is None:
            lines.append(f"  {number}. unexpected {_format_event(got)}")
        elif got is None:
            lines.append(f"  {number}. missing {_format_event(wanted)}")
        elif type(wanted) is not type(got):
            lines.append(f"  {number}. expected {_format_event(wanted)}, got {_format_event(got)}")
        elif fields := _compare_fields(_get_facts(wanted), _get_facts(got)):
            lines += [f"  {number}. {type(wanted).__name__}", *(f"  {line}" for line in fields)]
    return lines


def _compare_fields(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    return [
        f"  {name}: expected {expected[name]!r}, got {actual[name]!r}"
        for name in expected
        if expected[name] != actual[name]
    ]


def _get_facts(event: DomainEvent) -> dict[str, Any]:
    return {name: value for name, value in event if name not in ENVELOPE}


def _format_event(event: DomainEvent) -> str:
    facts = ", ".join(f"{name}={value!r}" for name, value in _get_facts(event).items())
    return f"{type(event).__name__}({facts})"


def _format_events(events: Sequence[DomainEvent]) -> str:
    return ", ".join(map(_format_event, events)) or "none"
