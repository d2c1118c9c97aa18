"""The servers that the other tests rely on are real, and the wheels can always bring them."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio

from tests.processes import ServerUnavailableError
from tests.services import Postgres, Redis, running


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT version()"))
    finally:
        await connection.close()


async def _redis_round_trip(url: str) -> object:
    async with redis.asyncio.from_url(url) as client:
        await client.ping()
        await client.set("cqrs-ddd:smoke", "kept", px=60_000)
        return await client.get("cqrs-ddd:smoke")


async def test_postgres_answers(postgres_url: str) -> None:
    assert (await _postgres_version(postgres_url)).startswith("PostgreSQL")


async def test_redis_keeps_a_value(redis_url: str) -> None:
    assert await _redis_round_trip(redis_url) == b"kept"


async def test_postgres_comes_from_a_wheel_when_the_machine_has_none() -> None:
    with running(Postgres(), sources=["wheel"]) as server:
        assert server.source == "wheel"
        assert (await _postgres_version(server.url)).startswith("PostgreSQL")


async def test_redis_comes_from_a_wheel_when_the_machine_has_none() -> None:
    with running(Redis(), sources=["wheel"]) as server:
        assert server.source == "wheel"
        assert await _redis_round_trip(server.url) == b"kept"


@pytest.mark.parametrize(
    ("product", "url"),
    [(Postgres(), "postgresql://127.0.0.1:1/none"), (Redis(), "redis://127.0.0.1:1/0")],
    ids=["postgres", "redis"],
)
def test_a_url_that_nobody_answers_fails_instead_of_falling_back(
    product: Postgres | Redis, url: str
) -> None:
    with (
        pytest.raises(ServerUnavailableError, match=product.variable),
        running(product, url=url),
    ):
        pass
