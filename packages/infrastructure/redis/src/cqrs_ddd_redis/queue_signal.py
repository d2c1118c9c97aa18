"""Waiters between processes, through Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from redis.asyncio import Redis

from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, MessagingError
from cqrs_ddd_core.spi.waiters import Waiters

from .driver import FAILURES, answered, explain, refuse_client
from .pubsub import Listener


class RedisQueueSignal(IQueueSignal):
    """PUBLISH and SUBSCRIBE; use it by ``async with``, which keeps one connection.

    Who is inside hears the hints of all its channels, and of all signals with the same ``prefix``.
    While the server is away hints are lost, and ``notify`` raises ``MessagingError``.
    """

    def __init__(
        self, client: Redis, *, prefix: str = "signal", response_timeout: float = 1.0
    ) -> None:
        refuse_client(client)
        self._client = client
        self._prefix = prefix
        self._response_timeout = response_timeout
        self._hints = Waiters()
        self._listener = Listener(client, prefix, self._hints.notify)
        self._open: AsyncExitStack | None = None

    async def __aenter__(self) -> RedisQueueSignal:
        if self._open is not None:
            raise InvalidOperationError("the signal listens already; one block for each is enough")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._listener.listening())
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.aclose()

    async def notify(self, channel: str) -> None:
        execute: Any = self._client.execute_command
        publishing = execute("PUBLISH", self._prefix, channel)
        try:
            await answered(publishing, within=self._response_timeout)
        except FAILURES as error:
            raise MessagingError(explain(f"notify {channel}", error)) from error

    async def wait(self, channel: str, timeout: float) -> bool:
        if self._open is None:
            raise InvalidOperationError("the signal listens to nothing; use it by async with")
        return await self._hints.wait(channel, timeout)
