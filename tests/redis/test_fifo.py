from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.ports.locking import ILeasedLock
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
    async def wait_for_waiters(self, lock: ILeasedLock, resource: str, count: int) -> None:
        assert isinstance(lock, FifoRedisLockStrategy)
        queue = lock._keys(resource)[2]
        while await lock._acquire_script._execute("ZCARD", queue) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
