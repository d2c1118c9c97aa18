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
    """One client, as one process has it."""
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def other_client(redis_url: str, client: Redis) -> AsyncIterator[Redis]:
    """Another process's client; it decodes what it reads, as some applications want it."""
    async with Redis.from_url(redis_url, decode_responses=True) as other:
        yield other


@pytest.fixture(scope="session")
def server_urls(redis_url: str) -> Iterator[list[str]]:
    """Three servers that know nothing of each other."""
    with ExitStack() as stack:
        others = (stack.enter_context(services.running(services.Redis())) for _ in range(2))
        yield [redis_url, *(server.url for server in others)]


@pytest.fixture
async def clients(server_urls: list[str]) -> AsyncIterator[list[Redis]]:
    """As one process has them."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for url in server_urls]
        for client in clients:
            await client.flushdb()
        yield clients


@pytest.fixture
async def other_clients(server_urls: list[str], clients: list[Redis]) -> AsyncIterator[list[Redis]]:
    """Another process's; they decode what they read."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Redis.from_url(url, decode_responses=True))
            for url in server_urls
        ]


@pytest.fixture
async def troubled(server_urls: list[str], clients: list[Redis]) -> AsyncIterator[list[Troubled]]:
    """Another process's, with faults as a test wants them."""
    async with AsyncExitStack() as stack:
        troubled = []
        for url in server_urls:
            client = await stack.enter_async_context(Troubled.from_url(url))
            assert isinstance(client, Troubled)
            troubled.append(client)
        yield troubled
