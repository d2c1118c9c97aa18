"""Clients of a real server; each test finds it empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest
from redis.asyncio import Redis

from tests import services
from tests.redis.redlock_kit import Troubled


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """Return the client of one process."""
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def other_client(redis_url: str, client: Redis) -> AsyncIterator[Redis]:
    """Return the client of another process, which decodes replies."""
    async with Redis.from_url(redis_url, decode_responses=True) as other:
        yield other


@pytest.fixture(scope="session")
def server_urls(redis_url: str) -> Iterator[list[str]]:
    """Start three independent servers."""
    with ExitStack() as stack:
        others = (stack.enter_context(services.running(services.Redis())) for _ in range(2))
        yield [redis_url, *(server.url for server in others)]


@pytest.fixture
async def clients(server_urls: list[str]) -> AsyncIterator[list[Redis]]:
    """Return the clients of one process."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for url in server_urls]
        for client in clients:
            await client.flushdb()
        yield clients


@pytest.fixture
async def other_clients(server_urls: list[str], clients: list[Redis]) -> AsyncIterator[list[Redis]]:
    """Return the clients of another process, which decode replies."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Redis.from_url(url, decode_responses=True))
            for url in server_urls
        ]


@pytest.fixture
async def troubled_clients(
    server_urls: list[str], clients: list[Redis]
) -> AsyncIterator[list[Troubled]]:
    """Return the clients of another process, with faults on demand."""
    async with AsyncExitStack() as stack:
        troubled = []
        for url in server_urls:
            client = await stack.enter_async_context(Troubled.from_url(url))
            assert isinstance(client, Troubled)
            troubled.append(client)
        yield troubled
