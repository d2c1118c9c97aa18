"""Wake-up notifications between processes, through PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core import ConfigError, InvalidOperationError, IQueueSignal, PersistenceError
from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.shielding import run_to_completion, timeout_after

from .driver import autocommit_connection, fetch, is_postgres
from .driver_errors import translate_errors

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 5.0
"""Seconds that a reconnection may take, even if the timeout of ``wait`` is shorter."""
_TEST_TIMEOUT = 1.0
"""Seconds that a notification may take to come through a pooler when the signal is entered."""


class PostgresQueueSignal(IQueueSignal):
    """Queue signal by LISTEN and NOTIFY, on a connection outside the pool.

    Enter it by ``async with``. A lost connection is replaced at the next wait; until then
    notifications may be lost. A pooler in transaction mode, such as PgBouncer, passes on no
    notifications: the signal then logs one warning when it is entered, and each ``wait`` lasts
    until its timeout, so that the caller polls.

    Args:
        engine: engine on PostgreSQL.

    Raises:
        ConfigError: the engine is not on PostgreSQL.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        exceptions.arguments.ensure_instance(
            engine, AsyncEngine, "engine", example="create_async_engine(url)"
        )
        if not is_postgres(engine):
            raise ConfigError(
                f"{engine.dialect.name} does not support NOTIFY; omit the signal to poll instead"
            )
        self._engine = engine
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._listening: set[str] = set()
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._opening = asyncio.Lock()
        self._is_entered = False
        self._is_polling = False

    async def __aenter__(self) -> PostgresQueueSignal:
        with translate_errors(PersistenceError, "listen"):
            await self._open_connection()
            try:
                self._is_polling = not await self._receives_notifications()
            except BaseException:
                await self._close_connection()
                raise
        if self._is_polling:
            await self._close_connection()
            logger.warning(
                "cannot listen: the pooler in front of PostgreSQL passes on no notifications; "
                "polling, until the signal gets an engine with a direct connection"
            )
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_entered = False
        await self._close_connection()

    async def notify(self, channel: str) -> None:
        """Send a wake-up notification at once, independently of the current transaction.

        Raises:
            PersistenceError: the database did not accept it.
        """
        with translate_errors(PersistenceError, "notify"):
            async with autocommit_connection(self._engine) as connection:
                await fetch(connection, "SELECT pg_notify($1, '')", channel)

    async def wait(self, channel: str, timeout: float) -> bool:
        """Wait for a notification, ``timeout`` seconds at most, and return whether it came.

        Raises:
            InvalidOperationError: the signal has not been entered.
        """
        if not self._is_entered:
            raise InvalidOperationError(
                "the signal does not listen; open its backend, or enter it by async with"
            )
        if self._is_polling:
            await asyncio.sleep(timeout)
            return False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        waiter: asyncio.Future[None] = loop.create_future()
        waiters = self._waiting.setdefault(channel, set())
        waiters.add(waiter)
        try:
            # Run to completion even when cancelled: an abandoned query leaves driver tasks behind.
            listening = await run_to_completion(
                timeout_after(max(timeout, _CONNECT_TIMEOUT), self._listen_to(channel))
            )
            if listening.interruption is not None:
                raise listening.interruption
            if listening.error is not None:
                text = exceptions.describe_error(listening.error)
                logger.warning("cannot listen to %s: %s; polling", channel, text)
            await asyncio.wait({waiter}, timeout=max(deadline - loop.time(), 0))
            return waiter.done()
        finally:
            waiters.discard(waiter)

    async def _receives_notifications(self) -> bool:
        """Return whether notifications reach the connection; the answer without a pooler is yes."""
        key = self._driver.get_server_pid()
        # A pooler assigns a key of its own to the connection.
        if await self._driver.fetchval("SELECT pg_backend_pid()") == key:
            return True
        channel = f"cqrs_ddd_test_{key}"
        received = asyncio.Event()
        await self._driver.add_listener(channel, lambda *_: received.set())
        # On another connection, since a pooler returns to this one all replies to its statements.
        await self.notify(channel)
        arrival = asyncio.ensure_future(received.wait())
        try:
            await asyncio.wait({arrival}, timeout=_TEST_TIMEOUT)
        finally:
            arrival.cancel()
        return received.is_set()

    async def _listen_to(self, channel: str) -> None:
        async with self._opening:
            if self._connection is None or self._driver.is_closed():
                await self._close_connection()
                await self._open_connection()
            if channel not in self._listening:
                await self._driver.add_listener(channel, self._wake)
                self._listening.add(channel)

    def _wake(self, connection: object, process: int, channel: str, payload: object) -> None:
        for waiter in self._waiting.get(channel, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _open_connection(self) -> None:
        connection = await self._engine.connect()
        try:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            raw.detach()
            for channel in self._waiting:
                await driver.add_listener(channel, self._wake)
        except BaseException:
            await connection.close()
            raise
        self._connection, self._driver = connection, driver
        self._listening = set(self._waiting)

    async def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
