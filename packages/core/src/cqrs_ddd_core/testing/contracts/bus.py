"""Contract of command and query buses, in process or remote."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ...messages import Command, Query
from ...ports.bus import ICommandBus, IQueryBus
from ...primitives.exceptions import BusinessRuleError, HandlerNotRegisteredError
from ..assertions import raises


class Shout(Command[str]):
    """Command for the text in capitals; an empty text raises ``BusinessRuleError``."""

    text: str


class CountShouts(Query[int]):
    """Query for the number of ``Shout`` commands that succeeded."""


class UnhandledCommand(Command[None]):
    """Command without a handler."""


class IBus(ICommandBus, IQueryBus, Protocol):
    """Bus for commands and for queries."""


class BusContract:
    """Contract of ``ICommandBus`` and ``IQueryBus``.

    Fixtures:
        bus: The bus under test, new for each test, with handlers for ``Shout`` and
            ``CountShouts``.
    """

    async def test_bus_returns_the_result_of_the_command_handler(self, bus: IBus) -> None:
        response = await bus.send(Shout(text="hello"))

        assert response.result == "HELLO"

    async def test_bus_returns_the_result_of_the_query_handler(self, bus: IBus) -> None:
        await bus.send(Shout(text="one"))
        await bus.send(Shout(text="two"))

        assert (await bus.query(CountShouts())).result == 2

    async def test_failed_command_has_no_effect_and_its_error_reaches_the_sender(
        self, bus: IBus
    ) -> None:
        with raises(BusinessRuleError):
            await bus.send(Shout(text=""))

        assert (await bus.query(CountShouts())).result == 0

    async def test_command_without_a_handler_raises_an_error_that_names_it(self, bus: IBus) -> None:
        with raises(HandlerNotRegisteredError) as caught:
            await bus.send(UnhandledCommand())

        assert caught.error.message_type == "UnhandledCommand"

    async def test_bus_returns_each_of_many_concurrent_commands_its_own_response(
        self, bus: IBus
    ) -> None:
        words = [f"word {number}" for number in range(20)]

        answers = await asyncio.gather(*(bus.send(Shout(text=word)) for word in words))

        assert [answer.result for answer in answers] == [word.upper() for word in words]
        assert (await bus.query(CountShouts())).result == 20
