"""Locks on Redis, shared by processes."""

from .fifo import FifoRedisLockStrategy
from .redlock import RedlockLockStrategy

__all__ = ["FifoRedisLockStrategy", "RedlockLockStrategy"]
