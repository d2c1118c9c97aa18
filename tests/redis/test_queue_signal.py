from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, MessagingError
from cqrs_ddd_core.testing.contracts.queue_signal import QueueSignalContract
from cqrs_ddd_redis import RedisQueueSignal
from tests.own_redis import OwnRedis, own_redis


@pytest.fixture
async def signal(client: Redis) -> AsyncIterator[RedisQueueSignal]:
    async with RedisQueueSignal(client, namespace="shop") as signal:
        yield signal


@pytest.fixture
def server() -> Iterator[OwnRedis]:
    with own_redis() as server:
        yield server


class TestRedisQueueSignal(QueueSignalContract):
    pass


async def test_notification_of_another_process_wakes_a_waiter(
    signal: RedisQueueSignal, other_client: Redis
) -> None:
    waiting = asyncio.ensure_future(signal.wait("orders", 30))
    elsewhere = asyncio.ensure_future(signal.wait("letters", 0.2))
    await asyncio.sleep(0)

    await RedisQueueSignal(other_client, namespace="shop").notify("orders")

    assert await waiting
    assert not await elsewhere


async def test_notification_of_another_namespace_wakes_no_waiter(
    signal: RedisQueueSignal, client: Redis
) -> None:
    waiting = asyncio.ensure_future(signal.wait("orders", 0.2))
    await asyncio.sleep(0)

    await RedisQueueSignal(client, namespace="another").notify("orders")

    assert not await waiting


async def test_queue_signal_listens_only_inside_its_block(client: Redis) -> None:
    signal = RedisQueueSignal(client, namespace="shop")

    with pytest.raises(InvalidOperationError, match="enter it by async with"):
        await signal.wait("orders", 1)
    async with signal:
        pass

    assert not client.connection_pool._in_use_connections
    with pytest.raises(InvalidOperationError):
        await signal.wait("orders", 1)


@pytest.mark.parametrize("trouble", ["dead", "frozen"])
async def test_queue_signal_works_again_when_the_server_is_back(
    server: OwnRedis, trouble: str
) -> None:
    async with (
        Redis.from_url(server.url) as client,
        RedisQueueSignal(client, response_timeout=0.2, namespace="shop") as signal,
    ):
        server.kill() if trouble == "dead" else server.freeze()

        assert not await signal.wait("orders", 0.05)
        with pytest.raises(MessagingError, match="cannot notify orders"):
            await signal.notify("orders")

        server.start() if trouble == "dead" else server.thaw()
        for _ in range(100):
            waiting = asyncio.ensure_future(signal.wait("orders", 0.2))
            await asyncio.sleep(0.05)
            await signal.notify("orders")
            if await waiting:
                break
        else:
            raise AssertionError("the signal receives no notification")


async def test_queue_signal_can_start_before_the_server(server: OwnRedis) -> None:
    server.kill()

    async with (
        Redis.from_url(server.url) as client,
        RedisQueueSignal(client, namespace="shop") as signal,
    ):
        assert not await signal.wait("orders", 0.01)


async def test_queue_signal_ignores_messages_of_other_programs(
    signal: RedisQueueSignal, client: Redis, other_client: Redis
) -> None:
    async with RedisQueueSignal(other_client, namespace="shop") as decoding:
        for junk in (b"\xff\xfe", b"", b"x" * 100_000):
            await client.publish("shop:signal", junk)

        for each in (signal, decoding):
            for _ in range(50):
                waiting = asyncio.ensure_future(each.wait("orders", 0.3))
                await asyncio.sleep(0.02)
                await each.notify("orders")
                if await waiting:
                    break
            else:
                raise AssertionError("the signal receives no notification")


async def test_queue_signal_rejects_a_second_block_and_keeps_the_first_working(
    signal: RedisQueueSignal,
) -> None:
    with pytest.raises(InvalidOperationError, match="already listens"):
        await signal.__aenter__()

    assert not await signal.wait("orders", 0.01)
