"""Hierarchies in dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from ...domain.services.acl import ACL
from ...domain.services.readers import N
from ...domain.services.reading import ACLReader, ParentReader, TagReader, as_batch_reader
from ...ports.hierarchy import (
    IACLReader,
    IAncestryReader,
    IBatchACLReader,
    IBatchParentReader,
    IBatchTagReader,
    IParentReader,
    ITagReader,
)

Tagged = tuple[tuple[str, ...], tuple[N, ...]]
Guarded = tuple[ACL | None, tuple[N, ...]]


class InMemoryParentReader(IParentReader[N], IBatchParentReader[N], IAncestryReader[N]):
    """Reads a dict: node to parents."""

    def __init__(self, parents: Mapping[N, tuple[N, ...]]) -> None:
        self._parents = parents

    def get_parent_ids(self, node_id: N) -> tuple[N, ...] | None:
        return self._parents.get(node_id)

    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return {node_id: self._parents[node_id] for node_id in node_ids if node_id in self._parents}

    def get_ancestry(
        self, node_ids: Collection[N], *, max_depth: int | None = None
    ) -> Mapping[N, tuple[N, ...]]:
        found: dict[N, tuple[N, ...]] = {}
        level, depth = dict.fromkeys(node_ids), 0
        while level and (max_depth is None or depth <= max_depth):
            records = self.get_parent_ids_many(level)
            found.update(records)
            above = (parent for parents in records.values() for parent in parents)
            level = dict.fromkeys(parent for parent in above if parent not in found)
            depth += 1
        return found


class InMemoryTagReader(ITagReader[N], IBatchTagReader[N]):
    """Reads a dict: node to tags and parents."""

    def __init__(self, nodes: Mapping[N, Tagged[N]]) -> None:
        self._tagged = nodes

    def get_tags_and_parents(self, node_id: N) -> Tagged[N] | None:
        return self._tagged.get(node_id)

    def get_tags_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Tagged[N]]:
        return {node_id: self._tagged[node_id] for node_id in node_ids if node_id in self._tagged}


class InMemoryACLReader(IACLReader[N], IBatchACLReader[N]):
    """Reads a dict: node to access list and parents."""

    def __init__(self, nodes: Mapping[N, Guarded[N]]) -> None:
        self._guarded = nodes

    def get_acl_and_parents(self, node_id: N) -> Guarded[N] | None:
        return self._guarded.get(node_id)

    def get_acl_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Guarded[N]]:
        return {node_id: self._guarded[node_id] for node_id in node_ids if node_id in self._guarded}


class InMemoryHierarchy(InMemoryParentReader[N], InMemoryTagReader[N], InMemoryACLReader[N]):
    """All three readers over nodes that are added one by one."""

    def __init__(self) -> None:
        self._links: dict[N, tuple[N, ...]] = {}
        self._tags: dict[N, Tagged[N]] = {}
        self._acls: dict[N, Guarded[N]] = {}
        InMemoryParentReader.__init__(self, self._links)
        InMemoryTagReader.__init__(self, self._tags)
        InMemoryACLReader.__init__(self, self._acls)

    def node(
        self,
        node_id: N,
        parents: Iterable[N] = (),
        *,
        tags: Iterable[str] = (),
        acl: ACL | None = None,
    ) -> InMemoryHierarchy[N]:
        """Add a node, or replace it; parents may come later, or never."""
        links = tuple(parents)
        self._links[node_id] = links
        self._tags[node_id] = (tuple(tags), links)
        self._acls[node_id] = (acl, links)
        return self


class OverlayParentReader(IBatchParentReader[N]):
    """The stored parents, but for some nodes those that they would have."""

    def __init__(self, reader: ParentReader[N], parents: Mapping[N, tuple[N, ...]]) -> None:
        self._reader = as_batch_reader(reader)
        self._parents = parents

    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        given = {
            node_id: self._parents[node_id] for node_id in node_ids if node_id in self._parents
        }
        stored = [node_id for node_id in node_ids if node_id not in given]
        return {**self._reader.get_parent_ids_many(stored), **given} if stored else given


class CountingReader(IBatchParentReader[N], IBatchTagReader[N], IBatchACLReader[N]):
    """Counts the round trips to another reader, and how often each node was asked for."""

    def __init__(self, reader: ParentReader[N] | TagReader[N] | ACLReader[N]) -> None:
        self._reader = as_batch_reader(reader)
        self.round_trips = 0
        self.asked: Counter[N] = Counter()

    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return self._reader.get_parent_ids_many(self._counted(node_ids))

    def get_tags_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Tagged[N]]:
        return self._reader.get_tags_and_parents_many(self._counted(node_ids))

    def get_acl_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Guarded[N]]:
        return self._reader.get_acl_and_parents_many(self._counted(node_ids))

    def _counted(self, node_ids: Collection[N]) -> Collection[N]:
        self.round_trips += 1
        self.asked.update(node_ids)
        return node_ids
