"""Messages of the server, by a connection of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cqrs_ddd_core.primitives.shielding import finish, within

from .driver import text_of

logger = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds until the next try to connect."""
_READ = 5.0
"""Seconds of silence after which it is read again; redis-py would give up after its own limit."""
_PATIENCE = 1.0
"""Seconds that may pass until the server hears that somebody listens."""


class Listener:
    """Tells ``heard`` the channel and the text of each message, while somebody is inside.

    The first who comes in opens the connection, the last who leaves closes it. A connection that
    dies is replaced; what is published meanwhile is not heard.
    """

    def __init__(self, client: Redis, heard: Callable[[str, str], None]) -> None:
        self._client = client
        self._heard = heard
        self._channels: frozenset[str] = frozenset()
        self._inside = 0
        self._reader: asyncio.Task[None] | None = None
        self._is_listening = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        return self._is_listening.is_set()

    @asynccontextmanager
    async def listening(self, *channels: str) -> AsyncIterator[None]:
        """To these channels from now on, or a little later where the server does not answer."""
        self._inside += 1
        try:
            await self.listen_to(channels)
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                ended = await finish(self._stop())
                if ended.interruption is not None:
                    raise ended.interruption

    async def listen_to(self, channels: Collection[str]) -> None:
        """To these as well, as long as somebody is inside."""
        if self._reader is None or not self._channels.issuperset(channels):
            stopped = self._reader
            self._channels |= frozenset(channels)
            self._is_listening = asyncio.Event()
            self._reader = asyncio.ensure_future(self._read(self._channels, self._is_listening))
            await _end(stopped)
        if not self._is_listening.is_set():
            with suppress(asyncio.TimeoutError):
                await within(_PATIENCE, self._is_listening.wait())

    async def _stop(self) -> None:
        stopped, self._reader = self._reader, None
        self._channels = frozenset()
        await _end(stopped)

    async def _read(self, channels: Collection[str], is_listening: asyncio.Event) -> None:
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(*channels)
                    while True:
                        message = await pubsub.get_message(timeout=_READ)
                        if message is not None:
                            self._take(message)
                            if message["type"] == "subscribe" and message["data"] == len(channels):
                                is_listening.set()
            except (RedisError, OSError) as error:
                is_listening.clear()
                logger.warning("cannot listen to %s: %r", ", ".join(sorted(channels)), error)
                await asyncio.sleep(_PAUSE)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self._heard(text_of(message["channel"]), text_of(message["data"]))


async def _end(reader: asyncio.Task[None] | None) -> None:
    while reader is not None and not reader.done():
        # Again and again: on Python 3.10 and 3.11 redis-py can swallow it.
        reader.cancel()
        await asyncio.wait({reader}, timeout=0.1)
