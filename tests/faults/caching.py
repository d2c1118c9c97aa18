"""A cache server that goes away and comes back, and processes that read through it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from redis.asyncio import Redis as Client

from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_redis import RedisCacheService
from tests.processes import OURSELVES, ServerUnavailableError, free_port, serve
from tests.services import SOURCES, Redis, wait_until_it_answers

READERS = 50
"""Tasks of each process."""


class Server:
    """A server of a test's own, which may end or freeze, and come back where it was."""

    def __init__(self, room: Path) -> None:
        self._product = Redis()
        self._room = room
        self._port = free_port()
        self._serving: AbstractContextManager[subprocess.Popen[str]] | None = None
        self._process: subprocess.Popen[str] | None = None
        self.url = self._product.url(self._port)

    def start(self) -> None:
        programs = [each for source in SOURCES for each in self._product.programs(source)]
        if not programs:
            raise ServerUnavailableError("no program of a Redis or Valkey server")
        arguments, settings = self._product.command(self._room, self._port)
        self._serving = serve(
            OURSELVES,
            [programs[0], *arguments],
            self._room,
            settings=settings,
            stop_signal=self._product.stop_signal,
        )
        self._process = self._serving.__enter__()
        wait_until_it_answers(self._product, self._process, self.url)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        self._send(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        if self._serving is not None:
            serving, self._serving = self._serving, None
            serving.__exit__(None, None, None)

    def _send(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)


@contextmanager
def own_server(room: Path) -> Iterator[Server]:
    server = Server(room)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.end()


class Loads(InMemoryRepository[Parcel, str]):
    """Counts its loads at the server, each of which lasts until ``may answer`` is there."""

    def __init__(self, client: Client) -> None:
        super().__init__(Parcel)
        self._client = client

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        await self._client.incr("loads")
        while not await self._client.exists("may answer"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return await super().get(entity_id, uow)


class Noted(RedisCacheService):
    """Counts at the server who has asked for a lease."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, timeout=10.0)
        self._to_note = client

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        leases = await super().lease_many(keys, ttl)
        await self._to_note.incr("asked")
        return leases


async def read(url: str) -> None:
    """Many tasks that want the same at once."""
    async with Client.from_url(url) as client:
        inner = Loads(client)
        await inner.add(Parcel.register("p-1", "anna"))
        parcels = CachingRepository(inner, Noted(client), Parcel)
        found = await asyncio.gather(*(parcels.get("p-1") for _ in range(READERS)))
        await client.incrby("found", sum(each is not None for each in found))


def run_read(url: str) -> None:
    asyncio.run(read(url))
