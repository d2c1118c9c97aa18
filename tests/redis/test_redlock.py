from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cqrs_ddd_core.primitives.exceptions import ConfigError, InvalidOperationError, LockingError
from cqrs_ddd_core.testing.contracts.locking import FifoLockContract, LockContract
from cqrs_ddd_redis import RedlockLockStrategy, driver
from tests.redis.redlock_kit import NewLock, RedlockKit, Troubled


@pytest.fixture
def new_lock() -> NewLock:
    return partial(RedlockLockStrategy, namespace="shop")


class TestRedlockOnOneServer(LockContract):
    @pytest.fixture
    def lock(self, clients: list[Redis]) -> RedlockLockStrategy:
        return RedlockLockStrategy(clients[:1], namespace="shop")

    @pytest.fixture
    def other_lock(self, other_clients: list[Redis]) -> RedlockLockStrategy:
        return RedlockLockStrategy(other_clients[:1], namespace="shop")


class TestRedlockOnThreeServers(LockContract):
    @pytest.fixture
    def lock(self, clients: list[Redis]) -> RedlockLockStrategy:
        return RedlockLockStrategy(clients, namespace="shop")

    @pytest.fixture
    def other_lock(self, other_clients: list[Redis]) -> RedlockLockStrategy:
        return RedlockLockStrategy(other_clients, namespace="shop")


class TestRedlockOrderWithinOneProcess(FifoLockContract):
    @pytest.fixture
    def lock(self, clients: list[Redis]) -> RedlockLockStrategy:
        return RedlockLockStrategy(clients, namespace="shop")

    @pytest.fixture
    def other_lock(self, lock: RedlockLockStrategy) -> RedlockLockStrategy:
        return lock


class TestRedlock(RedlockKit):
    pass


async def test_redlock_rejects_repeated_and_missing_clients(clients: list[Redis]) -> None:
    for unusable in ([], [clients[0], clients[0]]):
        with pytest.raises(InvalidOperationError, match="cannot build a majority of"):
            RedlockLockStrategy(unusable, namespace="shop")


async def test_redlock_with_one_client_instead_of_a_list_names_the_next_step(
    clients: list[Redis],
) -> None:
    create: Callable[..., object] = partial(RedlockLockStrategy, namespace="shop")
    for mistake in (clients[0], "redis://localhost"):
        with pytest.raises(ConfigError, match=r"pass \[client, ...\], or use FifoRedisLockStrate"):
            create(mistake)


async def test_redlock_waits_less_for_a_silent_server_until_it_replies(
    troubled_clients: list[Troubled], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    class Deadline(driver.Deadline):
        def __init__(self, end: Callable[[], object], seconds: float) -> None:
            super().__init__(end, seconds)
            given.append(seconds)

    monkeypatch.setattr(driver, "Deadline", Deadline)
    lock = RedlockLockStrategy(troubled_clients, response_timeout=1.0, namespace="shop")
    troubled_clients[1].is_away = True

    assert await lock.acquire("door", timeout=0)
    assert await lock.extend("door", 10)
    troubled_clients[1].is_away = False
    assert await lock.extend("door", 10)
    await lock.release("door")

    assert given == [1.0, 1.0, 0.05, 1.0, 0.05, 1.0]


async def test_redlock_waits_fully_for_a_silent_server_that_the_majority_needs(
    troubled_clients: list[Troubled],
) -> None:
    lock = RedlockLockStrategy(troubled_clients, namespace="shop")
    troubled_clients[0].is_away = troubled_clients[1].is_away = True

    await lock._servers.execute(lock._extend_script, ["door"], ["nobody", 1])

    assert not lock._servers._find_slow()


async def test_error_that_the_application_handles_is_not_taken_for_one_of_a_server() -> None:
    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients = [Redis(port=port) for _ in range(3)]
    lock = RedlockLockStrategy(clients, namespace="shop", response_timeout=0.1)
    try:
        raise ResponseError("WRONGTYPE of the application")
    except ResponseError:
        with pytest.raises(LockingError) as caught:
            await lock.acquire("stock", timeout=0.5, ttl=5.0)
    finally:
        for client in clients:
            await client.aclose()
        server.close()

    assert "of the application" not in str(caught.value)
