"""Contract of middlewares, for a message that does not concern them."""

from __future__ import annotations

import asyncio
from typing import Any

from ...messages import Command, CommandResponse
from ...ports.middleware import IMiddleware, Placement
from ..assertions import raises


class Plain(Command[str]):
    """Command that no middleware treats specially."""


class MiddlewareContract:
    """Contract of ``IMiddleware``.

    Fixtures:
        middleware: The middleware under test, in a state in which it lets ``Plain`` pass.
    """

    async def test_middleware_passes_the_message_on_once_and_returns_the_response(
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

    async def test_handler_error_passes_through_the_middleware_unchanged(
        self, middleware: IMiddleware
    ) -> None:
        error = LookupError("in the handler")

        async def next_(message: Any) -> CommandResponse[str]:
            raise error

        with raises(LookupError) as caught:
            await middleware(Plain(), next_)

        assert caught.error is error

    async def test_cancellation_passes_through_the_middleware(
        self, middleware: IMiddleware
    ) -> None:
        entered = asyncio.Event()

        async def next_(message: Any) -> CommandResponse[str]:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError("the handler was not cancelled")

        async def work() -> None:
            await middleware(Plain(), next_)

        task = asyncio.ensure_future(work())
        await entered.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=5)

        assert task.cancelled()

    def test_middleware_declares_its_placement(self, middleware: IMiddleware) -> None:
        assert middleware.placement in Placement
