"""Processes that read through a cache concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis as Client

from cqrs_ddd_core import UnitOfWork
from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_redis import RedisCacheService

READERS = 50
"""Tasks of each process."""


class CountingParcels(InMemoryRepository[Parcel, str]):
    """Repository that counts its loads on the server; each lasts until ``may answer`` exists."""

    def __init__(self, client: Client) -> None:
        super().__init__(Parcel)
        self._client = client

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        await self._client.incr("loads")
        while not await self._client.exists("may answer"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return await super().get(entity_id, uow)


class CountingCache(RedisCacheService):
    """Cache that counts its leases on the server."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, response_timeout=10.0, namespace="shop")
        self._client = client

    async def lease_many(self, keys: Sequence[str], ttl: float) -> Mapping[str, str]:
        leases = await super().lease_many(keys, ttl)
        await self._client.incr("asked")
        return leases


async def read(url: str) -> None:
    """Read the same key in many tasks."""
    async with Client.from_url(url) as client:
        inner = CountingParcels(client)
        await inner.add(Parcel.register("p-1", "anna"))
        parcels = CachingRepository(inner, CountingCache(client), Parcel)
        found = await asyncio.gather(*(parcels.get("p-1") for _ in range(READERS)))
        await client.incrby("found", sum(each is not None for each in found))


def run_read(url: str) -> None:
    asyncio.run(read(url))
