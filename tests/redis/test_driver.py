"""Clients that the adapters accept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_redis import (
    FifoRedisLockStrategy,
    RedisCacheService,
    RedisQueueSignal,
    RedlockLockStrategy,
)


@pytest.mark.parametrize(
    "make",
    [
        FifoRedisLockStrategy,
        RedisCacheService,
        RedisQueueSignal,
        lambda client, namespace: RedlockLockStrategy([client], namespace=namespace),
    ],
)
def test_redis_adapters_reject_a_client_of_another_kind(make: Callable[..., object]) -> None:
    for client, kind in ((redis.Redis(), "redis.client.Redis"), (None, "builtins.NoneType")):
        with pytest.raises(ConfigError, match=f"client of redis.asyncio, got {kind}"):
            make(client, namespace="shop")
