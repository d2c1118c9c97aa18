"""In-memory hierarchy."""

from collections.abc import Collection, Iterable, Mapping

from ...domain.services.acl import ACL
from ...domain.services.hierarchy import select_ancestry
from ...domain.services.readers import ACLAndParents, N, TagsAndParents
from ...ports.hierarchy import IACLReader, IAncestryReader, IParentReader, ITagReader


class InMemoryHierarchy(IParentReader[N], ITagReader[N], IACLReader[N], IAncestryReader[N]):
    """In-memory reader for all domain services, over nodes that are added one by one."""

    def __init__(self) -> None:
        self._parents: dict[N, tuple[N, ...]] = {}
        self._tags: dict[N, TagsAndParents[N]] = {}
        self._acls: dict[N, ACLAndParents[N]] = {}

    def node(
        self,
        node_id: N,
        parents: Iterable[N] = (),
        *,
        tags: Iterable[str] = (),
        acl: ACL | None = None,
    ) -> "InMemoryHierarchy[N]":
        """Add or replace a node and return the hierarchy; parents need not exist."""
        links = tuple(parents)
        self._parents[node_id] = links
        self._tags[node_id] = (tuple(tags), links)
        self._acls[node_id] = (acl, links)
        return self

    def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None:
        """Return the parents of the node, or None if it was not added."""
        return self._parents.get(node_id)

    def get_tags_and_parents(self, node_id: N) -> TagsAndParents[N] | None:
        """Return the tags and parents of the node, or None if it was not added."""
        return self._tags.get(node_id)

    def get_acl_and_parents(self, node_id: N) -> ACLAndParents[N] | None:
        """Return the access list and parents of the node, or None if it was not added."""
        return self._acls.get(node_id)

    def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        """Return the parents of these nodes and of their ancestors up to ``max_depth``."""
        return select_ancestry(self._parents, node_ids, max_depth)
