"""Cache on Redis compared with bare commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pydantic import BaseModel
from redis.asyncio import Redis

from cqrs_ddd_redis import RedisCacheService

from .databases import PAYLOAD, Databases
from .measuring import Row, Side, repeat_await

MANY = 100
TTL = 300
LIMIT = 1.3


class Line(BaseModel):
    sku: str
    count: int
    cents: int


class Summary(BaseModel):
    """Read model of 200 bytes."""

    order: str
    customer: str
    lines: list[Line]
    currency: str
    note: str


SUMMARY = Summary.model_validate(PAYLOAD)
KEYS = [f"summary-{number}" for number in range(MANY)]
Call = Callable[[Redis], Callable[[], Awaitable[object]]]


def build_rows(databases: Databases) -> list[Row]:
    return [
        Row(
            "Redis: get a model from the cache",
            "redis-py: GET, model_validate_json",
            _open_side(databases, _get),
            _open_side(databases, _get_bare),
            LIMIT,
        ),
        Row(
            "Redis: set a model in the cache",
            "redis-py: model_dump_json, SET PX",
            _open_side(databases, _set),
            _open_side(databases, _set_bare),
            LIMIT,
        ),
        Row(
            f"Redis: get {MANY} models from the cache at once",
            "redis-py: MGET, model_validate_json",
            _open_side(databases, _get_many),
            _open_side(databases, _get_many_bare),
            LIMIT,
            items=MANY,
        ),
        # Without a limit: the bare commands do not detect an invalidation during a load.
        Row(
            f"Redis: lease and fill {MANY} models at once",
            "redis-py: SET PX in a pipeline",
            _open_side(databases, _fill_many),
            _open_side(databases, _set_many_bare),
            items=MANY,
        ),
    ]


@asynccontextmanager
async def _open_side(databases: Databases, call: Call) -> AsyncIterator[Side]:
    async with Redis.from_url(databases.redis) as client:
        cache = _cache(client)
        for key in KEYS:
            await cache.set(key, SUMMARY, TTL)
            await client.set(key, SUMMARY.model_dump_json(), px=TTL * 1000)
        yield repeat_await(call(client))


def _cache(client: Redis) -> RedisCacheService:
    return RedisCacheService(client, response_timeout=10.0, fail_open=False, namespace="shop")


def _get(client: Redis) -> Callable[[], Awaitable[object]]:
    cache = _cache(client)

    async def get() -> Summary:
        return Summary.model_validate(await cache.get(KEYS[0]))

    return get


def _get_bare(client: Redis) -> Callable[[], Awaitable[object]]:
    async def get() -> Summary:
        return Summary.model_validate_json(await client.get(KEYS[0]) or b"")

    return get


def _set(client: Redis) -> Callable[[], Awaitable[object]]:
    cache = _cache(client)
    return lambda: cache.set(KEYS[0], SUMMARY, TTL)


def _set_bare(client: Redis) -> Callable[[], Awaitable[object]]:
    async def set_() -> None:
        await client.set(KEYS[0], SUMMARY.model_dump_json(), px=TTL * 1000)

    return set_


def _get_many(client: Redis) -> Callable[[], Awaitable[object]]:
    cache = _cache(client)

    async def get() -> list[Summary]:
        found = await cache.get_many(KEYS)
        return [Summary.model_validate(found[key]) for key in KEYS]

    return get


def _get_many_bare(client: Redis) -> Callable[[], Awaitable[object]]:
    async def get() -> list[Summary]:
        return [Summary.model_validate_json(each or b"") for each in await client.mget(KEYS)]

    return get


def _fill_many(client: Redis) -> Callable[[], Awaitable[object]]:
    cache = _cache(client)
    values = dict.fromkeys(KEYS, SUMMARY)

    async def fill() -> None:
        leases = await cache.lease_many(KEYS, 10)
        await cache.fill_many(values, leases, TTL)

    return fill


def _set_many_bare(client: Redis) -> Callable[[], Awaitable[object]]:
    async def set_() -> None:
        pipeline = client.pipeline(transaction=False)
        for key in KEYS:
            pipeline.set(key, SUMMARY.model_dump_json(), px=TTL * 1000)
        await pipeline.execute()

    return set_
