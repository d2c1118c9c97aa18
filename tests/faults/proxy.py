"""TCP proxy that breaks connections on request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from urllib.parse import urlsplit

_COMMIT = re.compile(rb"COMMIT;?\0")


class AtCommit(Enum):
    """Behaviour of the proxy at the next COMMIT of a client."""

    FORWARD = "forward it"
    LOSE_THE_ANSWER = "let the server commit, then drop the connection"
    LOSE_THE_REQUEST = "drop the connection before the server receives it"
    FREEZE = "forward nothing more, and drop nothing"


class Proxy:
    """Proxy between a driver and PostgreSQL; ``url`` is the URL of the server through the proxy.

    While ``is_frozen``, it forwards no request and drops no connection.
    """

    def __init__(self, server_url: str) -> None:
        self._server = urlsplit(server_url)
        self.at_commit = AtCommit.FORWARD
        self.is_down = False
        self.is_frozen = False
        self.url = server_url
        self._writers: set[asyncio.StreamWriter] = set()
        self.frozen = asyncio.Event()
        self._thawed = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = self.url.replace(f":{self._server.port}", f":{port}")
        try:
            yield self
        finally:
            server.close()
            self._thawed.set()
            self.drop_all()
            await server.wait_closed()

    def thaw(self) -> None:
        """Drop the connections that were frozen."""
        self._thawed.set()

    def drop_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self.is_down:
            back.transport.abort()
            return
        answers, server = await asyncio.open_connection(self._server.hostname, self._server.port)
        writers = {back, server}
        self._writers |= writers
        answering = asyncio.ensure_future(_forward(answers, back))
        try:
            while request := await client.read(65_536):
                if self.is_frozen:
                    await self._thawed.wait()
                    break
                if _COMMIT.search(request) and self.at_commit is not AtCommit.FORWARD:
                    await self._misbehave(request, server, answering)
                    break
                server.write(request)
        finally:
            answering.cancel()
            for writer in writers:
                writer.transport.abort()
            self._writers -= writers

    async def _misbehave(
        self, request: bytes, server: asyncio.StreamWriter, answering: asyncio.Future[None]
    ) -> None:
        at_commit, self.at_commit = self.at_commit, AtCommit.FORWARD
        if at_commit is AtCommit.FREEZE:
            self.frozen.set()
            await self._thawed.wait()
        if at_commit is AtCommit.LOSE_THE_ANSWER:
            answering.cancel()
            server.write(request)
            # Time for the server to commit; the proxy drops the reply.
            await asyncio.sleep(0.2)


async def _forward(answers: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    while answer := await answers.read(65_536):
        back.write(answer)
    back.transport.abort()
