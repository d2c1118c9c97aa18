"""Subscription to a channel, on its own connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import describe_error
from cqrs_ddd_core.primitives.shielding import run_to_completion, timeout_after

from .driver import decode_text

logger = logging.getLogger(__name__)

_RECONNECT_PAUSE = 0.2
_READ_TIMEOUT = 5.0
"""Seconds to wait for a message before the next read; redis-py must not use its own timeout."""
_SUBSCRIBE_TIMEOUT = 1.0


class PubSubListener:
    """Reader of a channel that calls ``on_message``, while at least one subscriber is active.

    The first subscriber opens the connection, the last one closes it. A lost connection is
    replaced; messages published in between are lost.

    Args:
        client: client of ``redis.asyncio``.
        channel: name of the channel.
        on_message: called with the text of each message.
    """

    def __init__(self, client: Redis, channel: str, on_message: Callable[[str], None]) -> None:
        self._client = client
        self._channel = channel
        self._on_message = on_message
        self._subscribers = 0
        self._reader: asyncio.Task[None] | None = None
        self._is_subscribed = asyncio.Event()

    @property
    def is_subscribed(self) -> bool:
        """Return whether the server has confirmed the subscription."""
        return self._reader is not None and self._is_subscribed.is_set()

    @asynccontextmanager
    async def subscribe(self, timeout: float = _SUBSCRIBE_TIMEOUT) -> AsyncIterator[None]:
        """Subscribe for a block, which starts after ``timeout`` seconds at the latest."""
        self._subscribers += 1
        try:
            if self._reader is None:
                self._is_subscribed = asyncio.Event()
                self._reader = asyncio.ensure_future(self._read(self._is_subscribed))
            if not self._is_subscribed.is_set():
                with suppress(asyncio.TimeoutError):
                    limit = min(timeout, _SUBSCRIBE_TIMEOUT)
                    await timeout_after(limit, self._is_subscribed.wait())
            yield
        finally:
            self._subscribers -= 1
            if not self._subscribers and self._reader is not None:
                # Before the first await: the next subscriber must start a new reader.
                reader, self._reader = self._reader, None
                result = await run_to_completion(_stop(reader))
                if result.interruption is not None:
                    raise result.interruption

    async def _read(self, is_subscribed: asyncio.Event) -> None:
        is_logged = False
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    while True:
                        message = await pubsub.get_message(timeout=_READ_TIMEOUT)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            is_subscribed.set()
                            is_logged = False
                        elif message["type"] == "message":
                            self._on_message(decode_text(message["data"]))
            except Exception as error:
                # Any error: if the reader ended, its subscribers would get no messages.
                is_subscribed.clear()
                if not is_logged:
                    text = describe_error(error)
                    logger.warning("cannot listen to %s: %s; polling", self._channel, text)
                    is_logged = True
                await asyncio.sleep(_RECONNECT_PAUSE)


async def _stop(reader: asyncio.Task[None]) -> None:
    while not reader.done():
        # Repeatedly: on Python 3.10 and 3.11 redis-py can swallow a cancellation.
        reader.cancel()
        await asyncio.wait({reader}, timeout=0.1)
