"""What every bus must do, in process or not."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ...messages import Command, Query
from ...ports.bus import ICommandBus, IQueryBus
from ...primitives.exceptions import BusinessRuleError, HandlerNotRegisteredError
from ..assertions import raises


class Shout(Command[str]):
    """Answered with the text in capitals; a ``BusinessRuleError`` for an empty one."""

    text: str


class CountShouts(Query[int]):
    """Answered with how many were not refused."""


class NobodyHandles(Command[None]):
    """Has no handler."""


class IBus(ICommandBus, IQueryBus, Protocol):
    """Both ends of it."""


class BusContract:
    """Fixture: ``bus``, new for each test, with handlers for ``Shout`` and ``CountShouts``."""

    async def test_a_command_is_answered_by_its_handler(self, bus: IBus) -> None:
        response = await bus.send(Shout(text="hello"))

        assert response.result == "HELLO"

    async def test_a_query_is_answered_by_its_handler(self, bus: IBus) -> None:
        await bus.send(Shout(text="one"))
        await bus.send(Shout(text="two"))

        assert (await bus.query(CountShouts())).result == 2

    async def test_a_refusal_reaches_the_sender_and_leaves_no_trace(self, bus: IBus) -> None:
        with raises(BusinessRuleError):
            await bus.send(Shout(text=""))

        assert (await bus.query(CountShouts())).result == 0

    async def test_a_message_without_a_handler_is_refused_by_name(self, bus: IBus) -> None:
        with raises(HandlerNotRegisteredError) as caught:
            await bus.send(NobodyHandles())

        assert caught.error.message_type == "NobodyHandles"

    async def test_answers_of_concurrent_commands_are_not_mixed_up(self, bus: IBus) -> None:
        words = [f"word {number}" for number in range(20)]

        answers = await asyncio.gather(*(bus.send(Shout(text=word)) for word in words))

        assert [answer.result for answer in answers] == [word.upper() for word in words]
        assert (await bus.query(CountShouts())).result == 20
