"""Wake-up notifications between processes, through Redis."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis

from cqrs_ddd_core.ports.queue_signal import IQueueSignal
from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError, MessagingError
from cqrs_ddd_core.spi.waiters import Waiters

from . import driver
from .pubsub import PubSubListener


class RedisQueueSignal(IQueueSignal):
    """Queue signal by PUBLISH and SUBSCRIBE; its ``async with`` block keeps one connection.

    Inside the block it receives the wake-up notifications of all its channels, from all signals
    with the same ``namespace``. While the server is unavailable, notifications are lost and
    ``notify`` raises ``MessagingError``.

    Args:
        client: client of ``redis.asyncio``.
        namespace: prefix of the channel in Redis, such as the name of the application.
        response_timeout: seconds to wait for a reply of the server.

    Raises:
        ConfigError: ``client`` is not a client of ``redis.asyncio``.

    Example:
        ```python
        import os

        from redis.asyncio import Redis

        from cqrs_ddd_redis import RedisQueueSignal

        async with (
            Redis.from_url(os.environ["REDIS_URL"]) as client,
            RedisQueueSignal(client, namespace="shop") as signal,
        ):
            await signal.notify("outbox")
        ```
    """

    def __init__(self, client: Redis, *, namespace: str, response_timeout: float = 1.0) -> None:
        driver.ensure_namespace(namespace)
        self._execute = driver.get_execute(client)
        self._channel = f"{namespace}:signal"
        self._response_timeout = response_timeout
        self._waiters = Waiters()
        self._listener = PubSubListener(client, self._channel, self._waiters.notify)
        self._subscription: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> RedisQueueSignal:
        if self._subscription is not None:
            raise InvalidOperationError("the signal already listens; enter its block only once")
        subscription = self._listener.subscribe()
        await subscription.__aenter__()
        self._subscription = subscription
        return self

    async def __aexit__(self, *error: object) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.__aexit__(None, None, None)

    async def notify(self, channel: str) -> None:
        """Publish a wake-up notification for the waiters of all processes.

        Raises:
            MessagingError: the server did not confirm the notification.
            ConfigError: the server rejects the client, or its permissions do not suffice.
        """
        publishing = self._execute("PUBLISH", self._channel, channel)
        try:
            await driver.execute_with_timeout(publishing, self._response_timeout)
        except driver.FAILURES as error:
            reason = driver.describe_error(f"notify {channel}", error)
            if driver.is_permanent(error):
                raise ConfigError(reason) from error
            raise MessagingError(reason) from error

    async def wait(self, channel: str, timeout: float) -> bool:
        """Wait for a notification, ``timeout`` seconds at most, and return whether it came.

        Raises:
            InvalidOperationError: the ``async with`` block of the signal is not open.
        """
        if self._subscription is None:
            raise InvalidOperationError("the signal does not listen; enter it by async with first")
        return await self._waiters.wait(channel, timeout)
