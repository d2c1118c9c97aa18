"""Hints between processes, through Redis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from redis.asyncio import Redis

from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, MessagingError

from .driver import answered, translated
from .listening import Listener


class RedisQueueSignal(IQueueSignal):
    """PUBLISH and SUBSCRIBE; use it by ``async with``, which keeps one connection.

    Who is inside hears the hints of all its channels, and of all signals with the same ``prefix``.
    While the server is away hints are lost, and ``notify`` raises ``MessagingError``.
    """

    def __init__(
        self, client: Redis, *, prefix: str = "signal", response_timeout: float = 1.0
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._response_timeout = response_timeout
        self._listener = Listener(client, self._wake)
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._open: AsyncExitStack | None = None

    async def __aenter__(self) -> RedisQueueSignal:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._listener.listening(self._prefix))
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
        with translated(MessagingError, f"notify {channel}"):
            await answered(publishing, within=self._response_timeout)

    async def wait(self, channel: str, timeout: float) -> bool:
        if self._open is None:
            raise InvalidOperationError("the signal listens to nothing; use it by async with")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(channel, set())
        waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
            return waiter.done()
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(channel, None)

    def _wake(self, prefix: str, channel: str) -> None:
        for waiter in self._waiting.get(channel, ()):
            if not waiter.done():
                waiter.set_result(None)
