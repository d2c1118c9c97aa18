"""Servers of locks that are killed, frozen and started again, empty, and writes under tokens."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, LockingError
from cqrs_ddd_redis import RedlockLockStrategy
from tests import services
from tests.processes import ServerUnavailableError, serve, temporary_room

WRITERS = 3
HOLDS = 0.002
"""Seconds between the two writes of a holder."""


class Node:
    """One server, always at the same URL."""

    def __init__(self, program: Path, room: Path, stack: ExitStack) -> None:
        self._product = services.Redis()
        self._program = program
        self._room = room
        self._stack = stack
        self._port = _port()
        self._process: subprocess.Popen[str] | None = None
        self.url = self._product.url(self._port)

    def start(self) -> None:
        arguments, settings = self._product.command(self._room, self._port)
        self._process = self._stack.enter_context(
            serve(
                self._product.account,
                [self._program, *arguments],
                self._room,
                settings=settings,
                stop_signal=signal.SIGKILL,
            )
        )
        services.wait_until_it_answers(self._product, self._process, self.url)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def started(count: int) -> Iterator[list[Node]]:
    product = services.Redis()
    program = next(
        (program for source in services.SOURCES for program in product.programs(source)), None
    )
    if program is None:
        raise ServerUnavailableError("no Redis to start")
    with ExitStack() as stack:
        nodes = []
        for _ in range(count):
            node = Node(program, stack.enter_context(temporary_room()), stack)
            node.start()
            nodes.append(node)
        yield nodes


def _port() -> int:
    """Of those that no system gives to a client, who would have it when the server comes back."""
    return next(port for port in random.sample(range(20_000, 32_000), 100) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@asynccontextmanager
async def connected(urls: Sequence[str]) -> AsyncIterator[list[Redis]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Redis.from_url(url)) for url in urls]


@dataclass
class FencedRegister:
    """Keeps the largest token it has seen, and refuses a write under a smaller one."""

    largest: int = 0
    refused: int = 0
    writes: list[tuple[int, str]] = field(default_factory=list)

    def write(self, token: int, writer: str) -> bool:
        if token < self.largest:
            self.refused += 1
            return False
        self.largest = token
        self.writes.append((token, writer))
        return True


@dataclass
class Work:
    """What writers did while the servers had their troubles."""

    register: FencedRegister = field(default_factory=FencedRegister)
    granted: list[int] = field(default_factory=list)
    failed: int = 0

    def holders_at_once(self) -> int:
        """Writes that came between the two of another one."""
        writers = dict(self.register.writes)
        return sum(writers[token] != writer for token, writer in self.register.writes)

    def shrunk(self) -> int:
        return sum(later <= earlier for earlier, later in pairwise(self.granted))


async def write_meanwhile(
    urls: Sequence[str],
    trouble: Callable[[], object],
    kind: type[RedlockLockStrategy] = RedlockLockStrategy,
) -> Work:
    """Each writer with clients of its own, as a process has them; ``trouble`` runs in a thread."""
    work, is_over = Work(), asyncio.Event()

    async def write(name: str) -> None:
        async with connected(urls) as clients:
            lock = kind(clients)
            while not is_over.is_set():
                try:
                    async with lock.hold("door", timeout=5, ttl=2) as lease:
                        work.granted.append(lease.fencing_token)
                        work.register.write(lease.fencing_token, name)
                        await asyncio.sleep(HOLDS)
                        work.register.write(lease.fencing_token, name)
                except (ConcurrencyError, LockingError):
                    work.failed += 1

    writers = [asyncio.ensure_future(write(f"writer {number}")) for number in range(WRITERS)]
    await asyncio.to_thread(trouble)
    is_over.set()
    await asyncio.gather(*writers)
    return work


def run_holder(urls: Sequence[str], held: Path, ttl: float) -> None:
    """In a process that is going to be killed."""

    async def hold() -> None:
        async with AsyncExitStack() as stack:
            clients = await stack.enter_async_context(connected(urls))
            lock = RedlockLockStrategy(clients)
            await stack.enter_async_context(lock.hold("door", timeout=10, ttl=ttl))
            await asyncio.to_thread(held.touch)
            await asyncio.Event().wait()

    asyncio.run(hold())
