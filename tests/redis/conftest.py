"""Clients of a real server; each test finds it empty."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis


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
