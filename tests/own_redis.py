"""Redis server that one test uses, which can end or freeze, and restart on the same port."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.processes import ServerUnavailableError, free_port, serve, temporary_room
from tests.services import SOURCES, Redis, wait_until_it_answers


class OwnRedis:
    """Redis server without persistence: a restart loses its data."""

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
            self._product.account,
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
def own_redis() -> Iterator[OwnRedis]:
    with temporary_room() as room:
        server = OwnRedis(room)
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.end()
