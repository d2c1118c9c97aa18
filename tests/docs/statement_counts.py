"""Number of statements and round trips of one command or query on a real database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

_STARTUP = 196608
_EXECUTES = b"EQ"
"""Types of the messages to PostgreSQL that execute a statement."""
_WAITS = b"SQH"
"""Types after which the client waits for the server: Sync, Query and Flush."""


@dataclass
class Counts:
    """Statements that a database has executed, and replies for which the client has waited."""

    statements: int = 0
    round_trips: int = 0

    def reset(self) -> None:
        self.statements = self.round_trips = 0


def count_sqlite(engine: AsyncEngine) -> Counts:
    """Count each statement on the connections that the engine opens from now on."""
    counts = Counts()

    def count(_: str) -> None:
        counts.statements += 1

    @event.listens_for(engine.sync_engine, "connect")
    def trace(connection: Any, _: object) -> None:
        def set_callback(driver: Any) -> Awaitable[None]:
            inner: sqlite3.Connection = driver._conn
            return driver._execute(inner.set_trace_callback, count)  # type: ignore[no-any-return]

        connection.run_async(set_callback)

    return counts


@asynccontextmanager
async def count_postgres(url: str) -> AsyncIterator[tuple[str, Counts]]:
    """Yield the URL of a proxy for a server, and the counts of all connections through it."""
    counts, server = Counts(), urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(server.hostname, server.port)
        tasks.add(asyncio.ensure_future(_forward(answers, back)))
        try:
            await _forward_requests(client, requests, counts)
        finally:
            requests.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = proxy.sockets[0].getsockname()[1]
        yield url.replace(f":{server.port}", f":{port}"), counts
    finally:
        proxy.close()
        for task in tasks:
            task.cancel()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def _forward_requests(
    client: asyncio.StreamReader, server: asyncio.StreamWriter, counts: Counts
) -> None:
    pending, is_started = b"", False
    while data := await client.read(65_536):
        server.write(data)
        pending += data
        while True:
            head = 5 if is_started else 4
            if len(pending) < head:
                break
            length = int.from_bytes(pending[head - 4 : head], "big") + head - 4
            if len(pending) < length:
                break
            if is_started:
                counts.statements += pending[:1] in _types(_EXECUTES)
                counts.round_trips += pending[:1] in _types(_WAITS)
            else:
                # A request for TLS comes before the startup message, and has no type either.
                is_started = int.from_bytes(pending[4:8], "big") == _STARTUP
            pending = pending[length:]


def _types(letters: bytes) -> Iterator[bytes]:
    return (letters[i : i + 1] for i in range(len(letters)))


async def count(counts: Counts, work: Callable[[], Awaitable[object]]) -> tuple[int, int]:
    """Return the counts of the third call: the first two open connections and fill caches."""
    await work()
    await work()
    counts.reset()
    await work()
    return counts.statements, counts.round_trips
