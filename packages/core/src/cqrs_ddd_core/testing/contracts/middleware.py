"""What every middleware must do with a message that it has nothing to say about."""

from __future__ import annotations

import asyncio
from typing import Any

from ...messages import Command, CommandResponse
from ...ports.middleware import IMiddleware, Placement
from ..assertions import raises


class Plain(Command[str]):
    """Nothing about it is special."""


class MiddlewareContract:
    """Fixture: ``middleware``, in a state in which it lets ``Plain`` pass."""

    async def test_it_hands_the_message_on_once_and_the_response_back(
        self, middleware: IMiddleware
    ) -> None:
        handled: list[Any] = []
        command = Plain()

        async def next_(message: Any) -> CommandResponse[str]:
            handled.append(message)
            return CommandResponse("done")

        response = await middleware(command, next_)

        assert handled == [command]
        assert response.result == "done"

    async def test_an_error_of_the_handler_passes_through(self, middleware: IMiddleware) -> None:
        error = LookupError("in the handler")

        async def next_(message: Any) -> CommandResponse[str]:
            raise error

        with raises(LookupError) as caught:
            await middleware(Plain(), next_)

        assert caught.error is error

    async def test_a_cancellation_passes_through(self, middleware: IMiddleware) -> None:
        entered = asyncio.Event()

        async def next_(message: Any) -> CommandResponse[str]:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError("reached")

        async def work() -> None:
            await middleware(Plain(), next_)

        task = asyncio.ensure_future(work())
        await entered.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=5)

        assert task.cancelled()

    def test_it_knows_its_place(self, middleware: IMiddleware) -> None:
        assert middleware.placement in Placement
