"""Persistence dispatcher, which saves, loads and queries by type, with or without a cache."""

from .caching import CachingPersistenceDispatcher
from .dispatcher import PersistenceDispatcher
from .registry import PersistenceRegistry

__all__ = ["CachingPersistenceDispatcher", "PersistenceDispatcher", "PersistenceRegistry"]
