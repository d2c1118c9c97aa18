"""One entrance to saving, loading and reading, with or without a cache."""

from ..ports.persistence import (
    IOperationPersistence,
    IPersistenceDispatcher,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IReadModels,
    IRetrievalPersistence,
)
from .caching import CachingPersistenceDispatcher
from .dispatcher import PersistenceDispatcher
from .registry import PersistenceRegistry

__all__ = [
    "CachingPersistenceDispatcher",
    "IOperationPersistence",
    "IPersistenceDispatcher",
    "IQueryPersistence",
    "IQuerySpecificationPersistence",
    "IReadModels",
    "IRetrievalPersistence",
    "PersistenceDispatcher",
    "PersistenceRegistry",
]
