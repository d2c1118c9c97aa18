"""Persistence dispatcher: saving, loading and querying by type, with or without a cache."""

from ..ports.persistence import (
    IOperationPersistence,
    IPersistenceDispatcher,
    IQueryPersistence,
    IQuerySpecificationPersistence,
    IResultCatalog,
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
    "IResultCatalog",
    "IRetrievalPersistence",
    "PersistenceDispatcher",
    "PersistenceRegistry",
]
