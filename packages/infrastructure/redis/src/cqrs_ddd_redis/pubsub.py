"""Messages of the server, by a connection of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis

from cqrs_ddd_core.primitives.shielding import run_to_completion, timeout_after

logger = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds until the next try to connect."""
_READ = 5.0
"""Seconds of silence after which it is read again; redis-py would give up after its own limit."""
_PATIENCE = 1.0
"""Seconds that may pass until the server hears that somebody listens."""


class Listener:
    """Tells ``heard`` each message on a channel, while somebody is inside.

    The first who comes in opens the connection, the last who leaves closes it. A connection that
    dies is replaced; what is published meanwhile is not heard.
    """

    def __init__(self, client: Redis, channel: str, heard: Callable[[str], None]) -> None:
        self._client = client
        self._channel = channel
        self._heard = heard
        self._inside = 0
        self._reader: asyncio.Task[None] | None = None
        self._is_subscribed = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        return self._reader is not None and self._is_subscribed.is_set()

    @asynccontextmanager
    async def listening(self, patience: float = _PATIENCE) -> AsyncIterator[None]:
        """From now on, or a little later where the server does not answer in so many seconds."""
        self._inside += 1
        try:
            if self._reader is None:
                self._is_subscribed = asyncio.Event()
                self._reader = asyncio.ensure_future(self._read(self._is_subscribed))
            if not self._is_subscribed.is_set():
                with suppress(asyncio.TimeoutError):
                    await timeout_after(min(patience, _PATIENCE), self._is_subscribed.wait())
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                # At once: who comes in from now on needs another one.
                ended, self._reader = self._reader, None
                if ended is not None:
                    end = await run_to_completion(_end(ended))
                    if end.interruption is not None:
                        raise end.interruption

    async def _read(self, is_subscribed: asyncio.Event) -> None:
        was_told = False
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    while True:
                        message = await pubsub.get_message(timeout=_READ)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            is_subscribed.set()
                            was_told = False
                        elif message["type"] == "message":
                            self._heard(_text(message["data"]))
            except Exception as error:
                # Whatever it is: a listener that ends would be deaf for good.
                is_subscribed.clear()
                if not was_told:
                    logger.warning("cannot listen to %s: %r; poll", self._channel, error)
                    was_told = True
                await asyncio.sleep(_PAUSE)


def _text(data: bytes | str) -> str:
    """Also of what no one of us has published."""
    return data.decode(errors="replace") if isinstance(data, bytes) else data


async def _end(reader: asyncio.Task[None]) -> None:
    while not reader.done():
        # Again and again: on Python 3.10 and 3.11 redis-py can swallow it.
        reader.cancel()
        await asyncio.wait({reader}, timeout=0.1)
