"""What the domain services ask about a hierarchy of nodes; links go from a child to its parents.

A method for one node answers None for a node that does not exist, and a tuple, maybe empty, for
one that does; a method for many leaves missing nodes out. The order of parents and tags is stable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping
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
class IBatchParentReader(Protocol[N]):
    @abstractmethod
    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]: ...


@runtime_checkable
class IBatchTagReader(Protocol[N]):
    @abstractmethod
    def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]: ...


@runtime_checkable
class IBatchACLReader(Protocol[N]):
    @abstractmethod
    def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]: ...


@runtime_checkable
class IAncestryReader(Protocol[N]):
    """Reads all ancestors at once, as a recursive query does; offer it beside another reader."""

    @abstractmethod
    def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        """The parents of these nodes and of all their ancestors, at most ``max_depth`` above.

        Ends on any data: a cycle is no reason to go on.
        """
        ...


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


@runtime_checkable
class IAsyncBatchParentReader(Protocol[N]):
    @abstractmethod
    async def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]: ...


@runtime_checkable
class IAsyncBatchTagReader(Protocol[N]):
    @abstractmethod
    async def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]: ...


@runtime_checkable
class IAsyncBatchACLReader(Protocol[N]):
    @abstractmethod
    async def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]: ...


@runtime_checkable
class IAsyncAncestryReader(Protocol[N]):
    """As ``IAncestryReader``."""

    @abstractmethod
    async def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]: ...
