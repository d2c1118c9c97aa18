"""Contracts of repositories and dispatchers that cache in Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from cqrs_ddd_advanced_core.persistence import CachingPersistenceDispatcher
from cqrs_ddd_advanced_core.testing.contracts.persistence import PersistenceDispatcherContract
from cqrs_ddd_core.adapters.caching_repository import CachingRepository
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.repository import Options, RepositoryContract, Where
from cqrs_ddd_redis import RedisCacheService
from tests.advanced.parcels import CountedParcels, in_memory_dispatcher
from tests.core.conftest import Equals, QueryOptions


@pytest.fixture
def cache(client: Redis) -> RedisCacheService:
    return RedisCacheService(client, response_timeout=10.0, fail_open=False, namespace="shop")


@pytest.fixture
def new_uow() -> Callable[[], InMemoryUnitOfWork]:
    return InMemoryUnitOfWork


@pytest.fixture
def where() -> Where:
    return lambda attribute, operator, value: Equals(attribute, value)


@pytest.fixture
def options() -> Options:
    return QueryOptions


class TestCachingRepository(RepositoryContract, BulkRepositoryContract):
    @pytest.fixture
    def parcels(self, cache: RedisCacheService) -> CachingRepository[Parcel, str]:
        return CachingRepository(InMemoryRepository(Parcel), cache, Parcel)


class TestCachingPersistenceDispatcher(PersistenceDispatcherContract):
    @pytest.fixture
    def parcels(self) -> CountedParcels:
        return CountedParcels()

    @pytest.fixture
    def dispatcher(
        self, parcels: CountedParcels, cache: RedisCacheService
    ) -> CachingPersistenceDispatcher:
        return CachingPersistenceDispatcher(in_memory_dispatcher(parcels), cache)
