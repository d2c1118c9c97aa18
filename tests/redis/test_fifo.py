from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from cqrs_ddd_core.ports.locking import ILeasedLock
from cqrs_ddd_core.primitives.exceptions import LockAcquisitionError
from cqrs_ddd_core.spi.leases import LockName, name_lock
from cqrs_ddd_core.testing.contracts.locking import FifoLockContract, LockContract
from cqrs_ddd_redis.locking.fifo import FifoRedisLockStrategy


@pytest.fixture
def lock(client: Redis) -> FifoRedisLockStrategy:
    return FifoRedisLockStrategy(client, namespace="shop")


@pytest.fixture
def other_lock(other_client: Redis) -> FifoRedisLockStrategy:
    return FifoRedisLockStrategy(other_client, namespace="shop")


class TestFifoRedisLock(LockContract):
    pass


class TestFifoRedisLockOrder(FifoLockContract):
    async def wait_for_waiters(self, lock: ILeasedLock, resource: str, count: int) -> None:
        assert isinstance(lock, FifoRedisLockStrategy)
        queue = lock._keys(name_lock(resource))[2]
        while await lock._acquire_script._execute("ZCARD", queue) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class IgnoresTheTenant(FifoRedisLockStrategy):
    """Wrong variant: leaves the tenant out of the names in Redis."""

    def _key(self, name: LockName) -> str:
        return super()._key(LockName("", name.resource))


async def test_contract_catches_a_lock_that_ignores_the_tenant(client: Redis) -> None:
    lock, other_lock = (
        IgnoresTheTenant(client, namespace="shop"),
        IgnoresTheTenant(client, namespace="shop"),
    )

    with pytest.raises(LockAcquisitionError):
        await LockContract().test_tenants_lock_the_same_resource_independently(lock, other_lock)
