"""Adapters as a Redis user with few permissions, or with a wrong password."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core import LeaseLostError
from cqrs_ddd_core.ports import ILeasedLock
from cqrs_ddd_core.primitives.exceptions import CacheError, ConfigError
from cqrs_ddd_redis import (
    FifoRedisLockStrategy,
    RedisCacheService,
    RedisQueueSignal,
    RedlockLockStrategy,
)

PAGE = Path(__file__).parents[2] / "docs/concepts/locks.md"
FOREVER = 60.0
"""Seconds that no test waits; an error that is repeated until then fails the test."""


def read_documented_rules() -> list[str]:
    """Return the rules of the ACL that the page prints."""
    (line,) = re.findall(r"^ACL SETUSER shop (.*)$", PAGE.read_text("utf-8"), re.M)
    return [rule for rule in line.split() if not rule.startswith(">")]


@asynccontextmanager
async def log_in(client: Redis, *rules: str) -> AsyncIterator[Redis]:
    """Create a user with these rules, and connect as this user."""
    await change_user(client, "reset", *rules, ">secret")
    pool = client.connection_pool.connection_kwargs
    try:
        async with Redis(
            host=pool["host"], port=pool["port"], username="shop", password="secret"
        ) as user:
            yield user
    finally:
        await client.acl_deluser("shop")


async def change_user(client: Redis, *rules: str) -> None:
    execute: Any = client.execute_command
    await execute("ACL", "SETUSER", "shop", *rules)


@pytest.fixture(params=["fifo", "redlock"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def create_lock(
    kind: str, client: Redis, *, namespace: str = "shop", **options: Any
) -> ILeasedLock:
    if kind == "fifo":
        return FifoRedisLockStrategy(client, namespace=namespace, **options)
    return RedlockLockStrategy([client], namespace=namespace, **options)


async def test_documented_permissions_suffice_for_locks(client: Redis, kind: str) -> None:
    async with log_in(client, *read_documented_rules()) as user:
        lock = create_lock(kind, user)
        held = asyncio.Event()

        async def hold() -> None:
            async with lock.hold("door", timeout=FOREVER):
                held.set()
                await asyncio.sleep(0.05)

        first = asyncio.ensure_future(hold())
        await held.wait()
        async with lock.hold("door", timeout=FOREVER) as lease:
            lease.check()
        await first
        assert await lock.acquire("door", timeout=0)
        assert await lock.extend("door", 30)
        await lock.release("door")


async def test_documented_permissions_suffice_for_cache_and_signal(client: Redis) -> None:
    async with log_in(client, *read_documented_rules()) as user:
        cache = RedisCacheService(user, namespace="shop", fail_open=False)
        lease = await cache.lease_fill("a", 10)
        assert lease is not None
        assert await cache.fill("a", 1, lease)
        await cache.set("b", 2, ttl=10)
        assert await cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
        await cache.delete("a")
        await cache.clear()
        assert await cache.get_many(["a", "b"]) == {}
        async with RedisQueueSignal(user, namespace="shop") as signal:
            waiting = asyncio.ensure_future(signal.wait("orders", FOREVER))
            await asyncio.sleep(0)
            await signal.notify("orders")
            assert await waiting


async def test_documented_permissions_open_no_other_namespace(client: Redis, kind: str) -> None:
    async with log_in(client, *read_documented_rules()) as user:
        other = create_lock(kind, user, namespace="other")
        with pytest.raises(ConfigError, match="permission"):
            await other.acquire("door", timeout=FOREVER)


async def test_release_succeeds_without_the_permission_to_notify_waiters(
    client: Redis, kind: str
) -> None:
    rules = [rule for rule in read_documented_rules() if not rule.startswith("&")]
    async with log_in(client, *rules, "resetchannels") as user:
        lock, other = create_lock(kind, user), create_lock(kind, client)
        async with lock.hold("door"):
            waiting = asyncio.ensure_future(other.acquire("door", timeout=FOREVER))
            await wait_for_waiter(client, kind)
        assert await waiting
        await other.release("door")
        assert await client.keys("shop:*{door}") == []


async def read_token(client: Redis) -> int:
    return int(await client.get("shop:fifo:{door}:fence") or 0)


async def wait_for_waiter(client: Redis, kind: str) -> None:
    key = "shop:fifo:{door}:queue" if kind == "fifo" else "shop:redlock:{door}:waiting"
    while not await client.exists(key):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("denied", ["-set", "-incr", "-zrem"])
async def test_release_that_cannot_grant_the_lock_to_a_waiter_releases_it(
    client: Redis, denied: str
) -> None:
    async with log_in(client, "on", "~*", "&*", "+@all") as user:
        lock = FifoRedisLockStrategy(user, namespace="shop")
        waiter = FifoRedisLockStrategy(client, namespace="shop")
        assert await lock.acquire("door")
        waiting = asyncio.ensure_future(waiter.acquire("door", timeout=FOREVER))
        await wait_for_waiter(client, "fifo")
        before = await read_token(client)
        await change_user(client, denied)

        await lock.release("door")  # Not LeaseLostError, since the lock was held.

        assert await waiting
        assert await read_token(client) > before
        with pytest.raises(LeaseLostError):
            await lock.release("door")


@pytest.mark.parametrize("denied", ["-set", "-incr"])
async def test_acquire_without_a_permission_leaves_no_lock(client: Redis, denied: str) -> None:
    async with log_in(client, "on", "~*", "&*", "+@all", denied) as user:
        with pytest.raises(ConfigError):
            await FifoRedisLockStrategy(user, namespace="shop").acquire("door", timeout=FOREVER)
        assert not await client.exists("shop:fifo:{door}")


async def wrong_password(stack: AsyncExitStack, client: Redis) -> Redis:
    pool = client.connection_pool.connection_kwargs
    wrong = Redis(host=pool["host"], port=pool["port"], username="default", password="wrong")
    return await stack.enter_async_context(wrong)


async def no_permission(stack: AsyncExitStack, client: Redis) -> Redis:
    return await stack.enter_async_context(log_in(client, "on"))


async def wrong_database(stack: AsyncExitStack, client: Redis) -> Redis:
    pool = client.connection_pool.connection_kwargs
    keys = ("host", "port", "username", "password")
    known = {key: pool[key] for key in keys if key in pool}
    return await stack.enter_async_context(Redis(**known, db=9_999))


REJECTED = [
    (wrong_password, "invalid username-password pair"),
    (no_permission, "permission"),
    (wrong_database, "DB index is out of range"),
]


@pytest.mark.parametrize(("connect", "words"), REJECTED, ids=["password", "user", "database"])
async def test_lock_raises_a_permanent_error_at_once(
    client: Redis, kind: str, connect: Any, words: str
) -> None:
    async with AsyncExitStack() as stack:
        lock = create_lock(kind, await connect(stack, client))

        with pytest.raises(ConfigError, match=f"cannot lock door: .*{words}"):
            await lock.acquire("door", timeout=FOREVER)


@pytest.mark.parametrize(("connect", "words"), REJECTED, ids=["password", "user", "database"])
async def test_cache_and_signal_report_a_permanent_error(
    client: Redis, connect: Any, words: str
) -> None:
    async with AsyncExitStack() as stack:
        rejected = await connect(stack, client)
        cache = RedisCacheService(rejected, namespace="shop", fail_open=False)
        with pytest.raises(CacheError, match=f"cannot read a: .*{words}"):
            await cache.get("a")
        signal = RedisQueueSignal(rejected, namespace="shop")
        with pytest.raises(ConfigError, match=f"cannot notify orders: .*{words}"):
            await signal.notify("orders")


async def test_redlock_works_with_one_server_that_rejects_the_client(
    clients: list[Redis],
) -> None:
    async with AsyncExitStack() as stack:
        rejected = await wrong_password(stack, clients[0])
        lock = RedlockLockStrategy([rejected, *clients[1:]], namespace="shop")

        async with lock.hold("door", timeout=FOREVER) as lease:
            lease.check()


async def test_lock_whose_permissions_end_is_released_at_the_end_of_its_ttl(
    client: Redis, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with log_in(client, "on", "~*", "&*", "+@all") as user:
        lock = create_lock(kind, user)
        with caplog.at_level(logging.WARNING):
            async with lock.hold("door", ttl=30):
                await change_user(client, "resetkeys")

        assert "cannot release door" in caplog.text
        await change_user(client, "~*")
