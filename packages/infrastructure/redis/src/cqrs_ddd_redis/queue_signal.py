"""Wake-up notifications between processes, through Redis."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis

from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, MessagingError
from cqrs_ddd_core.spi.waiters import Waiters

from .driver import FAILURES, describe_error, execute_with_timeout, get_execute
from .pubsub import PubSubListener


class RedisQueueSignal(IQueueSignal):
    """Signal over PUBLISH and SUBSCRIBE; its ``async with`` block keeps one connection.

    Inside the block it receives the wake-up notifications of all its channels, from all signals
    of the same ``namespace``. While the server is away they are lost, and ``notify`` raises
    ``MessagingError``.

    Args:
        client: of ``redis.asyncio``.
        namespace: the Redis channel.
        response_timeout: seconds to wait for a reply of the server.
    """

    def __init__(
        self, client: Redis, *, namespace: str = "signal", response_timeout: float = 1.0
    ) -> None:
        self._execute = get_execute(client)
        self._namespace = namespace
        self._response_timeout = response_timeout
        self._waiters = Waiters()
        self._listener = PubSubListener(client, namespace, self._waiters.notify)
        self._subscription: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> RedisQueueSignal:
        if self._subscription is not None:
            raise InvalidOperationError("the signal listens already; one block for each is enough")
        subscription = self._listener.subscribe()
        await subscription.__aenter__()
        self._subscription = subscription
        return self

    async def __aexit__(self, *error: object) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.__aexit__(None, None, None)

    async def notify(self, channel: str) -> None:
        publishing = self._execute("PUBLISH", self._namespace, channel)
        try:
            await execute_with_timeout(publishing, self._response_timeout)
        except FAILURES as error:
            raise MessagingError(describe_error(f"notify {channel}", error)) from error

    async def wait(self, channel: str, timeout: float) -> bool:
        if self._subscription is None:
            raise InvalidOperationError("the signal listens to nothing; use it by async with")
        return await self._waiters.wait(channel, timeout)
