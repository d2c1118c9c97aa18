"""What the domain services ask about a hierarchy of nodes.

Every method answers None for a node that does not exist, and a tuple, maybe empty, for one that
does; the order is stable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import Protocol, TypeVar, runtime_checkable

from .acl import ACL

N = TypeVar("N", bound=Hashable)


@runtime_checkable
class IParentReader(Protocol[N]):
    @abstractmethod
    def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None: ...


@runtime_checkable
class ITagReader(Protocol[N]):
    @abstractmethod
    def get_tags_and_parents(self, node_id: N) -> tuple[tuple[str, ...], tuple[N, ...]] | None: ...


@runtime_checkable
class IACLReader(Protocol[N]):
    @abstractmethod
    def get_acl_and_parents(self, node_id: N) -> tuple[ACL | None, tuple[N, ...]] | None: ...


@runtime_checkable
class IAsyncParentReader(Protocol[N]):
    @abstractmethod
    async def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None: ...


@runtime_checkable
class IAsyncTagReader(Protocol[N]):
    @abstractmethod
    async def get_tags_and_parents(
        self, node_id: N
    ) -> tuple[tuple[str, ...], tuple[N, ...]] | None: ...


@runtime_checkable
class IAsyncACLReader(Protocol[N]):
    @abstractmethod
    async def get_acl_and_parents(self, node_id: N) -> tuple[ACL | None, tuple[N, ...]] | None: ...
