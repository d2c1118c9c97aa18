"""Tasks in several processes that compete for one lock, and are cancelled, killed and frozen."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from redis.asyncio import Redis

from cqrs_ddd_core.ports.locking import ILeasedLock
from cqrs_ddd_core.primitives.exceptions import LeaseLostError, LockAcquisitionError, LockingError
from cqrs_ddd_redis import FifoRedisLockStrategy, RedlockLockStrategy
from tests.forking import process

PROCESSES = 4
TASKS = 13
"""Tasks of each process."""
TTL = 1.0
WRITES = 3
"""Writes of each holder."""
OVERTAKE_SECONDS = 1.0
"""Difference of two arrivals from which on the earlier task must be first in the queue."""

MakeLock = Callable[[Sequence[Redis]], ILeasedLock]


def fifo(clients: Sequence[Redis]) -> ILeasedLock:
    return FifoRedisLockStrategy(clients[0], heartbeat=0.5, namespace="shop")


def redlock(clients: Sequence[Redis]) -> ILeasedLock:
    return RedlockLockStrategy(clients, namespace="shop")


@dataclass(frozen=True)
class Contest:
    """One resource, the lock that guards it, and a file that records every write."""

    urls: tuple[str, ...]
    make: MakeLock
    folder: Path

    @property
    def is_over(self) -> Path:
        return self.folder / "is-over"

    def open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "writes.db", timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def prepare(self) -> None:
        with closing(self.open()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE writes "
                "(seq INTEGER PRIMARY KEY, token INTEGER, holder TEXT, accepted INTEGER)"
            )
            connection.execute("CREATE TABLE fence (token INTEGER)")
            connection.execute("INSERT INTO fence VALUES (0)")
            connection.execute("CREATE TABLE holds (token INTEGER, requested_at REAL, holder TEXT)")


@dataclass
class Findings:
    holds: int = 0
    rejected: int = 0
    shared_tokens: int = 0
    interrupted: int = 0
    overtaken: int = 0
    kills: int = 0
    freezes: int = 0
    is_wedged: bool = False

    @property
    def two_holders(self) -> int:
        """Tokens with two holders, and writes between two writes of another holder."""
        return self.shared_tokens + self.interrupted

    def __str__(self) -> str:
        return (
            f"{self.holds:,} holds, {self.kills} kills, {self.freezes} freezes, "
            f"{self.rejected} late writes rejected, {self.two_holders} times two holders, "
            f"{self.overtaken} overtaken, {'wedged' if self.is_wedged else 'free at the end'}"
        )


async def contend(
    contest: Contest,
    *,
    seed: int,
    rounds: int,
    freezes: bool = False,
    nemesis: Callable[[], None] = lambda: None,
) -> Findings:
    """Let processes compete; each round kills and replaces one of them, or freezes it."""
    contest.prepare()
    chance = random.Random(seed)
    findings = Findings()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(process(compete, contest, f"{seed}-{number}"))
            for number in range(PROCESSES)
        ]
        while len(list(contest.folder.glob("*-started"))) < PROCESSES:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for number in range(rounds):
            await _wait_for_holds(contest, 30 * (number + 1))
            await asyncio.sleep(chance.uniform(0, 0.2))
            which = chance.randrange(PROCESSES)
            pid = workers[which].pid
            assert pid is not None
            if freezes and number % 2:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(TTL * chance.uniform(1.2, 1.6))
                os.kill(pid, signal.SIGCONT)
                findings.freezes += 1
            else:
                os.kill(pid, signal.SIGKILL)
                name = f"{seed}-{PROCESSES + number}"
                workers[which] = stack.enter_context(process(compete, contest, name))
                findings.kills += 1
            nemesis()
        contest.is_over.touch()
        for worker in workers:
            await asyncio.to_thread(worker.join, 240)
    findings.is_wedged = not await _is_free(contest)
    _judge(contest, findings)
    return findings


async def _wait_for_holds(contest: Contest, count: int) -> None:
    """Wait for work rather than for time, so that each round has some on a slow machine too."""
    with closing(contest.open()) as connection:
        while _count_holds(connection) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _count_holds(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM holds").fetchone()
    return int(count)


def compete(contest: Contest, name: str) -> None:
    asyncio.run(_compete(contest, name))


async def _compete(contest: Contest, name: str) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for url in contest.urls]
        lock = contest.make(clients)
        connection = stack.enter_context(closing(contest.open()))
        (contest.folder / f"{name}-started").touch()
        await asyncio.gather(
            *(_compete_as(contest, lock, connection, f"{name}-{task}") for task in range(TASKS))
        )


async def _compete_as(
    contest: Contest, lock: ILeasedLock, connection: sqlite3.Connection, name: str
) -> None:
    chance = random.Random(name)
    number = 0
    while not contest.is_over.exists():
        number += 1
        holder = f"{name}-{number}"
        timeout = chance.uniform(0.5, 5)
        holding = asyncio.ensure_future(_hold(lock, connection, holder, timeout, chance))
        if chance.random() < 0.2:
            await asyncio.wait({holding}, timeout=chance.uniform(0, 0.3))
            holding.cancel()
        with suppress(asyncio.CancelledError, LeaseLostError, LockAcquisitionError, LockingError):
            await holding


async def _hold(
    lock: ILeasedLock,
    connection: sqlite3.Connection,
    holder: str,
    timeout: float,
    chance: random.Random,
) -> None:
    requested_at = time.monotonic()
    async with lock.hold("the till", timeout=timeout, ttl=TTL) as lease:
        token = lease.fencing_token
        connection.execute("INSERT INTO holds VALUES (?, ?, ?)", (token, requested_at, holder))
        for _ in range(WRITES):
            write(connection, token, holder)
            await asyncio.sleep(chance.uniform(0, 0.004))


def write(connection: sqlite3.Connection, token: int, holder: str) -> None:
    """Write under the token; the store accepts it unless it has seen a larger token."""
    connection.execute("BEGIN IMMEDIATE")
    moved = connection.execute("UPDATE fence SET token = ? WHERE token <= ?", (token, token))
    row = (token, holder, moved.rowcount == 1)
    connection.execute("INSERT INTO writes (token, holder, accepted) VALUES (?, ?, ?)", row)
    connection.execute("COMMIT")


async def _is_free(contest: Contest) -> bool:
    """Acquire the lock at the end, after the lease and the queue entry of a killed task expired."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for url in contest.urls]
        lock = contest.make(clients)
        with suppress(LockAcquisitionError):
            async with lock.hold("the till", timeout=TTL + 5):
                return True
    return False


def _judge(contest: Contest, findings: Findings) -> None:
    with closing(contest.open()) as connection:
        writes = connection.execute(
            "SELECT token, holder FROM writes WHERE accepted ORDER BY seq"
        ).fetchall()
        findings.rejected = connection.execute(
            "SELECT count(*) FROM writes WHERE NOT accepted"
        ).fetchone()[0]
        holds = connection.execute(
            "SELECT token, requested_at, holder FROM holds ORDER BY token"
        ).fetchall()
    findings.holds = len(holds)
    holders: dict[int, set[str]] = {}
    for token, holder in writes:
        holders.setdefault(token, set()).add(holder)
    findings.shared_tokens = sum(len(each) > 1 for each in holders.values())
    turns = [holder for holder, _ in groupby(holder for _, holder in writes)]
    findings.interrupted = len(turns) - len(set(turns))
    latest = 0.0
    for _, requested_at, _ in holds:
        findings.overtaken += requested_at < latest - OVERTAKE_SECONDS
        latest = max(latest, requested_at)
