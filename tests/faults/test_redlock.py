"""Tests of Redlock with failing servers: an error is allowed, two holders are not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import LeaseLostError, LockingError
from cqrs_ddd_redis import RedlockLockStrategy
from tests.faults.redlock import (
    FencedRegister,
    Work,
    connect,
    run_holder,
    start_servers,
    write_during,
)
from tests.forking import kill, process
from tests.own_redis import OwnRedis


class CountingFromOne(RedlockLockStrategy):
    """Wrong lock with a first token that is right only if no server ever loses its data."""

    def _propose_token(self) -> int:
        return 1


@pytest.fixture
def nodes() -> Iterator[list[OwnRedis]]:
    with start_servers(5) as nodes:
        yield nodes


@pytest.fixture
def urls(nodes: list[OwnRedis]) -> list[str]:
    return [node.url for node in nodes]


@pytest.fixture
async def clients(urls: list[str]) -> AsyncIterator[list[Redis]]:
    async with connect(urls) as clients:
        yield clients


@pytest.fixture
async def lock(clients: list[Redis]) -> RedlockLockStrategy:
    return RedlockLockStrategy(clients, namespace="shop")


async def test_redlock_keeps_its_lease_with_two_of_five_servers_killed(
    nodes: list[OwnRedis], lock: RedlockLockStrategy, clients: list[Redis]
) -> None:
    async with lock.hold("door", timeout=1, ttl=1) as lease:
        nodes[0].kill()
        nodes[3].kill()
        await asyncio.sleep(1.5)
        lease.check()
        assert not await RedlockLockStrategy(clients, namespace="shop").acquire("door", timeout=0)

    assert await lock.acquire("door", timeout=1)
    await lock.release("door")


async def test_redlock_raises_an_error_while_three_of_five_servers_are_down(
    nodes: list[OwnRedis], lock: RedlockLockStrategy, clients: list[Redis]
) -> None:
    assert await lock.acquire("door", timeout=1)
    await lock.release("door")
    for node in nodes[:3]:
        node.kill()

    for timeout in (0, 0.3):
        with pytest.raises(LockingError, match="2 of 5 servers replied, 3 must agree"):
            await lock.acquire("door", timeout=timeout)
    waiting = asyncio.ensure_future(lock.acquire("door", timeout=30))
    await asyncio.to_thread(nodes[1].start)

    assert await waiting
    await lock.release("door")
    for client in clients:
        assert not client.connection_pool._in_use_connections


async def test_redlock_tokens_grow_while_a_server_is_frozen_and_thawed(
    nodes: list[OwnRedis], lock: RedlockLockStrategy, clients: list[Redis]
) -> None:
    tokens, other = [], RedlockLockStrategy(clients, namespace="shop")
    for number in range(30):
        async with lock.hold("door", timeout=5, ttl=1) as lease:
            tokens.append(lease.fencing_token)
            if number == 10:
                nodes[2].freeze()
            if number == 20:
                nodes[2].thaw()
            assert not await other.acquire("door", timeout=0)

    assert tokens == sorted(set(tokens))


async def test_redlock_tokens_grow_while_servers_restart_without_data(
    nodes: list[OwnRedis], urls: list[str]
) -> None:
    work = await write_during(urls, lambda work: _start_again(nodes, work))

    assert len(work.granted) > 10
    assert (work.count_decreases(), work.count_interruptions()) == (0, 0)


async def test_token_check_catches_a_redlock_whose_tokens_restart_at_one(
    nodes: list[OwnRedis], urls: list[str]
) -> None:
    work = await write_during(urls, lambda work: _start_again(nodes, work), CountingFromOne)

    assert work.count_decreases() > 0


async def test_lock_of_a_killed_holder_expires_after_its_ttl(
    urls: list[str], lock: RedlockLockStrategy, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    with process(run_holder, urls, held, 2.0) as holder:
        while not held.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not await lock.acquire("door", timeout=0)

        kill(holder)

        assert await lock.acquire("door", timeout=20)


async def test_late_write_of_a_stopped_lock_holder_is_rejected(
    clients: list[Redis], lock: RedlockLockStrategy
) -> None:
    register, successor = FencedRegister(), RedlockLockStrategy(clients, namespace="shop")

    async def work() -> None:
        async with lock.hold("door", timeout=1, ttl=0.1, cancel_on_loss=False) as late:
            time.sleep(0.3)  # noqa: ASYNC251 - the process is stopped
            async with successor.hold("door", timeout=5) as lease:
                register.write(lease.fencing_token, "successor")
            register.write(late.fencing_token, "late")

    with pytest.raises(LeaseLostError):
        await work()

    assert [writer for _, writer in register.writes] == ["successor"]
    assert register.rejected == 1


def _start_again(nodes: list[OwnRedis], work: Work) -> None:
    """Restart the servers one after the other, then all at once, each time during the writes."""
    for some in (*([node] for node in nodes), nodes):
        for node in some:
            node.kill()
        time.sleep(0.05)
        for node in some:
            node.start()
        expected = len(work.granted) + 3
        while len(work.granted) < expected:
            time.sleep(0.01)
