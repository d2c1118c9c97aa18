"""Tests of the dispatchers by their contract, over handlers in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cqrs_ddd_advanced_core.persistence import CachingPersistenceDispatcher, PersistenceDispatcher
from cqrs_ddd_advanced_core.persistence.fill_leases import InProcessFillLeases
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core.adapters.memory import InMemoryCacheService, InMemoryUnitOfWork
from cqrs_ddd_core.ports.cache import ICacheService, IVersionedCache
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, SerializationError
from cqrs_ddd_core.testing.contracts.cache import CacheContract
from cqrs_ddd_core.testing.contracts.repository import Options, Where
from tests.advanced.parcels import CountedParcels, in_memory_dispatcher
from tests.core.conftest import Equals, QueryOptions


class PlainCache(ICacheService):
    """Cache with only the methods of ``ICacheService``."""

    def __init__(self) -> None:
        self._cache = InMemoryCacheService()

    async def get(self, key: str) -> Any | None:
        return await self._cache.get(key)

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await self._cache.set(key, value, ttl)

    async def delete(self, key: str) -> None:
        await self._cache.delete(key)

    async def clear(self) -> None:
        await self._cache.clear()


@pytest.fixture
def parcels() -> CountedParcels:
    return CountedParcels()


@pytest.fixture
def new_uow() -> Callable[[], InMemoryUnitOfWork]:
    return InMemoryUnitOfWork


@pytest.fixture
def where() -> Where:
    return lambda attribute, operator, value: Equals(attribute, value)


@pytest.fixture
def options() -> Options:
    return QueryOptions


@pytest.fixture
def cache() -> InProcessFillLeases:
    return InProcessFillLeases(PlainCache())


class TestPersistenceDispatcher(PersistenceDispatcherContract):
    @pytest.fixture
    def dispatcher(self, parcels: CountedParcels) -> PersistenceDispatcher:
        return in_memory_dispatcher(parcels)


class TestCachingPersistenceDispatcher(PersistenceDispatcherContract):
    @pytest.fixture
    def dispatcher(self, parcels: CountedParcels) -> CachingPersistenceDispatcher:
        return CachingPersistenceDispatcher(in_memory_dispatcher(parcels), InMemoryCacheService())


class TestCachingPersistenceDispatcherWithPlainCache(PersistenceDispatcherContract):
    @pytest.fixture
    def dispatcher(self, parcels: CountedParcels) -> CachingPersistenceDispatcher:
        return CachingPersistenceDispatcher(in_memory_dispatcher(parcels), PlainCache())


class TestInProcessFillLeases(CacheContract):
    async def test_cache_rejects_invalid_keys_ttls_and_values(self, cache: IVersionedCache) -> None:
        """Check only keys and values, since the dispatcher builds keys and times."""
        with pytest.raises(InvalidOperationError):
            await cache.set("", 1)
        with pytest.raises(SerializationError):
            await cache.set("key", object())
