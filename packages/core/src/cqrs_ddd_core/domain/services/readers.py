"""Readers of a hierarchy of nodes, with links from a child to its parents.

The order of parents and tags is stable.
"""

from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from .acl import ACL

__all__ = [
    "ACLAndParents",
    "IACLReader",
    "IAncestryReader",
    "IAsyncACLReader",
    "IAsyncAncestryReader",
    "IAsyncBatchReader",
    "IAsyncParentReader",
    "IAsyncTagReader",
    "IBatchReader",
    "IParentReader",
    "ITagReader",
    "TagsAndParents",
]

N = TypeVar("N", bound=Hashable)
R_co = TypeVar("R_co", covariant=True)

TagsAndParents = tuple[tuple[str, ...], tuple[N, ...]]
"""Tags of a node, and the ids of its parents."""
ACLAndParents = tuple[ACL | None, tuple[N, ...]]
"""Access list of a node, or None if it inherits, and the ids of its parents."""


@runtime_checkable
class IParentReader(Protocol[N]):
    """Reader of the parents of a node; a root has no parents."""

    @abstractmethod
    def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None:
        """Return the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class ITagReader(Protocol[N]):
    """Reader of the tags and the parents of a node."""

    @abstractmethod
    def get_tags_and_parents(self, node_id: N) -> TagsAndParents[N] | None:
        """Return the tags and the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class IACLReader(Protocol[N]):
    """Reader of the access list and the parents of a node; without a list, the node inherits."""

    @abstractmethod
    def get_acl_and_parents(self, node_id: N) -> ACLAndParents[N] | None:
        """Return the list and the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class IBatchReader(Protocol[N, R_co]):
    """Reader of many nodes in one round trip.

    A record has the form that the method for one node returns: the parents, the tags and the
    parents, or the access list and the parents. A node that does not exist has no record. If a
    reader has several methods for one node, a service does not call ``get_many``, because the form
    of its records is ambiguous.
    """

    @abstractmethod
    def get_many(self, node_ids: Collection[N]) -> Mapping[N, R_co]:
        """Return the records of the nodes that exist."""


@runtime_checkable
class IAncestryReader(Protocol[N]):
    """Reader of the parents of nodes and of all their ancestors in one round trip.

    An adapter may use a recursive query. A service calls it if its reader has this method, too.
    """

    @abstractmethod
    def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        """Return the parents of these nodes and of all ancestors at most ``max_depth`` above them.

        The method has to return even if the stored links form a cycle.
        """


@runtime_checkable
class IAsyncParentReader(Protocol[N]):
    """Async reader of the parents of a node; a root has no parents."""

    @abstractmethod
    async def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None:
        """Return the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class IAsyncTagReader(Protocol[N]):
    """Async reader of the tags and the parents of a node."""

    @abstractmethod
    async def get_tags_and_parents(self, node_id: N) -> TagsAndParents[N] | None:
        """Return the tags and the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class IAsyncACLReader(Protocol[N]):
    """Async reader of the access list and the parents of a node."""

    @abstractmethod
    async def get_acl_and_parents(self, node_id: N) -> ACLAndParents[N] | None:
        """Return the list and the ids of the parents, or None if the node does not exist."""


@runtime_checkable
class IAsyncBatchReader(Protocol[N, R_co]):
    """Async reader of many nodes in one round trip; ``IBatchReader`` describes the records."""

    @abstractmethod
    async def get_many(self, node_ids: Collection[N]) -> Mapping[N, R_co]:
        """Return the records of the nodes that exist."""


@runtime_checkable
class IAsyncAncestryReader(Protocol[N]):
    """Async reader of the parents of nodes and of all their ancestors in one round trip."""

    @abstractmethod
    async def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        """Return the parents of these nodes and of all ancestors at most ``max_depth`` above."""
