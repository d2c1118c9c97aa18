"""Lock servers that are killed, frozen and restarted without data, and fenced writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import ConcurrencyError, LockingError
from cqrs_ddd_redis import RedlockLockStrategy
from tests.own_redis import OwnRedis, own_redis

WRITERS = 3
HOLDS = 0.002
"""Seconds between the two writes of a holder."""


@contextmanager
def start_servers(count: int) -> Iterator[list[OwnRedis]]:
    with ExitStack() as stack:
        yield [stack.enter_context(own_redis()) for _ in range(count)]


@asynccontextmanager
async def connect(urls: Sequence[str]) -> AsyncIterator[list[Redis]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Redis.from_url(url)) for url in urls]


@dataclass
class FencedRegister:
    """Store that keeps the largest token and rejects writes with a smaller one."""

    largest: int = 0
    rejected: int = 0
    writes: list[tuple[int, str]] = field(default_factory=list)

    def write(self, token: int, writer: str) -> bool:
        if token < self.largest:
            self.rejected += 1
            return False
        self.largest = token
        self.writes.append((token, writer))
        return True


@dataclass
class Work:
    """Record of the writes during the faults of the servers."""

    register: FencedRegister = field(default_factory=FencedRegister)
    granted: list[int] = field(default_factory=list)
    failed: int = 0

    def count_interruptions(self) -> int:
        """Return the number of writes between two writes of another holder."""
        writers = dict(self.register.writes)
        return sum(writers[token] != writer for token, writer in self.register.writes)

    def count_decreases(self) -> int:
        return sum(later <= earlier for earlier, later in pairwise(self.granted))


async def write_during(
    urls: Sequence[str],
    faults: Callable[[Work], object],
    kind: type[RedlockLockStrategy] = RedlockLockStrategy,
) -> Work:
    """Run writers with clients of their own, while ``faults`` runs in a thread."""
    work, is_over = Work(), asyncio.Event()

    async def write(name: str) -> None:
        async with connect(urls) as clients:
            lock = kind(clients, namespace="shop")
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
    await asyncio.to_thread(faults, work)
    is_over.set()
    await asyncio.gather(*writers)
    return work


def run_holder(urls: Sequence[str], held: Path, ttl: float) -> None:
    """Hold the lock in a process that the test kills."""

    async def hold() -> None:
        async with AsyncExitStack() as stack:
            clients = await stack.enter_async_context(connect(urls))
            lock = RedlockLockStrategy(clients, namespace="shop")
            await stack.enter_async_context(lock.hold("door", timeout=10, ttl=ttl))
            await asyncio.to_thread(held.touch)
            await asyncio.Event().wait()

    asyncio.run(hold())
