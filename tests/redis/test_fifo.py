from __future__ import annotations

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.testing.contracts.locking import FifoLockContract, LockContract
from cqrs_ddd_redis.locking.fifo import FifoRedisLockStrategy


@pytest.fixture
def lock(client: Redis) -> FifoRedisLockStrategy:
    return FifoRedisLockStrategy(client)


@pytest.fixture
def other_lock(other_client: Redis) -> FifoRedisLockStrategy:
    return FifoRedisLockStrategy(other_client)


class TestFifoRedisLock(LockContract):
    pass


class TestFifoRedisLockOrder(FifoLockContract):
    pass
