"""Repositories that add a cache or tenants to another one; fakes are in ``adapters.memory``."""

from .caching_mixin import CachingMixin
from .caching_repository import CachingRepository
from .tenant_repository import MultitenantMixin

__all__ = ["CachingMixin", "CachingRepository", "MultitenantMixin"]
