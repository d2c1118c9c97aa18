"""Locks that processes share."""

from .fifo import FifoRedisLockStrategy
from .redlock import RedlockLockStrategy

__all__ = ["FifoRedisLockStrategy", "RedlockLockStrategy"]
