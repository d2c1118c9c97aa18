"""Adapters of the cache, lock and queue signal ports for Redis."""

from .cache import RedisCacheService
from .locking import FifoRedisLockStrategy, RedlockLockStrategy
from .queue_signal import RedisQueueSignal

__all__ = ["FifoRedisLockStrategy", "RedisCacheService", "RedisQueueSignal", "RedlockLockStrategy"]
