"""Tests of one lock under kills, freezes and cancellations of its holders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.ports.locking import ILeasedLock
from cqrs_ddd_core.spi.leases import LockName
from cqrs_ddd_redis import FifoRedisLockStrategy
from cqrs_ddd_redis.locking.strategy import Grant, to_milliseconds
from tests.faults import sizes
from tests.faults.locking import Contest, MakeLock, contend, fifo, redlock
from tests.services import Redis as Server
from tests.services import running


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(running(Server())).url for _ in range(3))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("make", "servers"), [(fifo, 1), (redlock, 3)])
async def test_lock_has_one_holder_among_50_tasks_despite_kills_and_cancellations(
    make: MakeLock,
    servers: int,
    urls: tuple[str, ...],
    tmp_path: Path,
) -> None:
    findings = await contend(
        Contest(urls[:servers], make, tmp_path), seed=1, rounds=sizes.LOCK_ROUNDS
    )

    assert findings.holds > 50
    assert (findings.two_holders, findings.rejected, findings.is_wedged) == (0, 0, False)
    if make is fifo:
        assert findings.overtaken == 0


class CheckThenSetLock(FifoRedisLockStrategy):
    """Wrong lock that two callers can both find free and then acquire."""

    async def _try_acquire(
        self, name: LockName, owner: str, timeout: float, ttl: float
    ) -> Grant | None:
        deadline = self._clock.monotonic() + timeout
        execute = self._acquire_script._execute
        lock = self._keys(name)[0]
        while self._clock.monotonic() < deadline:
            if not await execute("EXISTS", lock):
                await execute("SET", lock, owner, "PX", to_milliseconds(ttl))
                token = await execute("INCR", "tokens")
                return Grant(owner, token, self._clock.monotonic() + ttl)
            await asyncio.sleep(0.005)
        return None


def create_naive_lock(clients: Sequence[Redis]) -> ILeasedLock:
    return CheckThenSetLock(clients[0], namespace="shop")


@pytest.mark.slow
async def test_contention_check_catches_a_lock_that_admits_two_holders(
    urls: tuple[str, ...], tmp_path: Path
) -> None:
    findings = await contend(Contest(urls[:1], create_naive_lock, tmp_path), seed=1, rounds=1)

    assert findings.two_holders + findings.rejected > 0
