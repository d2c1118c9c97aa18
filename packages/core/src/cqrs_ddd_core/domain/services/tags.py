"""Tags of a node: its own tags, and the tags of all its ancestors."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic

from ...primitives.exceptions import NodeNotFoundError
from . import hierarchy
from .readers import IAsyncBatchReader, IAsyncTagReader, IBatchReader, ITagReader, N, TagsAndParents

__all__ = ["AsyncTagInheritanceService", "TagInheritanceService", "TagResult", "TagSource"]

Cache = dict[N, TagsAndParents[N] | None]


@dataclass(frozen=True)
class TagSource(Generic[N]):
    """Node that has a tag.

    Attributes:
        node_id: id of the node.
        distance: number of links from the node up to this one; 0 for the node itself.
    """

    node_id: N
    distance: int


@dataclass(frozen=True)
class TagResult(Generic[N]):
    """Tags of a node, each once, the nearest first.

    Attributes:
        tags: all tags of the node, its own first.
        inherited: tags of the ancestors, also if the node has one of them itself.
        sources: the nodes that have each tag, nearest first.
        missing: ids of ancestors that do not exist.
    """

    tags: tuple[str, ...]
    inherited: tuple[str, ...]
    sources: Mapping[str, tuple[TagSource[N], ...]]
    missing: tuple[N, ...] = ()


class AsyncTagInheritanceService(Generic[N]):
    """Service that computes the tags of nodes, over an async reader.

    An ancestor that does not exist has no tags.

    Args:
        tag_reader: async reader of single nodes or of batches; with ``get_ancestry`` of all
            ancestors.
        normalize: returns a key that is equal for equal tags, for example ``str.casefold``; of
            several spellings, the nearest is kept.
        is_inherited: returns whether a tag of this ancestor applies to the nodes below it.
        limits: limits of each walk.
    """

    def __init__(
        self,
        tag_reader: IAsyncTagReader[N] | IAsyncBatchReader[N, TagsAndParents[N]],
        *,
        normalize: Callable[[str], str] | None = None,
        is_inherited: Callable[[N, str], bool] | None = None,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        self._reader = hierarchy.AsyncReader[N, TagsAndParents[N]](
            tag_reader, "get_tags_and_parents", is_async=True
        )
        self._normalize = normalize
        self._is_inherited = is_inherited
        self._limits = limits

    async def find_tags(self, node_id: N) -> TagResult[N] | None:
        """Return the tags of a node with their sources, or None if the node does not exist."""
        return await self._find(node_id, {})

    async def effective_tags(self, node_id: N) -> tuple[str, ...]:
        """Return the node's own tags as stored, then the inherited tags.

        Raises:
            NodeNotFoundError: the node does not exist.
        """
        return (await self._require(node_id)).tags

    async def inherited_tags(self, node_id: N) -> tuple[str, ...]:
        """Return the tags of the ancestors.

        Raises:
            NodeNotFoundError: the node does not exist.
        """
        return (await self._require(node_id)).inherited

    async def tag_sources(self, node_id: N) -> Mapping[str, tuple[TagSource[N], ...]]:
        """Return the nodes that have each tag, nearest first.

        Raises:
            NodeNotFoundError: the node does not exist.
        """
        return (await self._require(node_id)).sources

    async def effective_tags_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[str, ...]]:
        """Return the tags of each node that exists; shared ancestors are read once."""
        wanted = hierarchy.deduplicate(node_ids)
        cache: Cache[N] = {}
        await hierarchy.HierarchyWalk(wanted, self._reader, self._limits, cache).climb()
        results = {node_id: await self._find(node_id, cache) for node_id in wanted}
        return {node_id: result.tags for node_id, result in results.items() if result is not None}

    async def would_inherit(self, node_id: N, new_parents: Collection[N]) -> tuple[str, ...]:
        """Return the tags that a new or stored node would inherit from these parents."""
        result = await self._find(node_id, {node_id: ((), hierarchy.deduplicate(new_parents))})
        return () if result is None else result.inherited

    async def _find(self, node_id: N, cache: Cache[N]) -> TagResult[N] | None:
        walk = hierarchy.HierarchyWalk((node_id,), self._reader, self._limits, cache)
        await walk.climb()
        return self._collect(node_id, walk) if node_id in walk.records else None

    async def _require(self, node_id: N) -> TagResult[N]:
        result = await self.find_tags(node_id)
        if result is None:
            raise NodeNotFoundError(
                f"no node {node_id}, so it has no tags; save it first, or call find_tags",
                node_id=node_id,
            )
        return result

    def _collect(
        self, node_id: N, walk: hierarchy.HierarchyWalk[N, TagsAndParents[N]]
    ) -> TagResult[N]:
        spellings: dict[str, str] = {}
        inherited: dict[str, str] = {}
        sources: dict[str, dict[N, TagSource[N]]] = {}
        for source_id, (tags, _) in walk.records.items():
            for tag in tags:
                key = self._normalize(tag) if self._normalize else tag
                if source_id != node_id:
                    if self._is_inherited and not self._is_inherited(source_id, tag):
                        continue
                    inherited.setdefault(key, tag)
                source = TagSource(source_id, walk.distances[source_id])
                sources.setdefault(spellings.setdefault(key, tag), {})[source_id] = source
        return TagResult(
            tags=tuple(spellings.values()),
            inherited=tuple(inherited.values()),
            sources={tag: tuple(found.values()) for tag, found in sources.items()},
            missing=tuple(walk.missing),
        )


class TagInheritanceService(hierarchy.SyncService[AsyncTagInheritanceService[N]]):
    """Service that computes the tags of nodes, over a sync reader.

    An ancestor that does not exist has no tags. The methods are the methods of
    ``AsyncTagInheritanceService``, without ``await``.

    Args:
        tag_reader: reader of single nodes or of batches; with ``get_ancestry`` of all ancestors.
        normalize: returns a key that is equal for equal tags, for example ``str.casefold``; of
            several spellings, the nearest is kept.
        is_inherited: returns whether a tag of this ancestor applies to the nodes below it.
        limits: limits of each walk.
    """

    def __init__(
        self,
        tag_reader: ITagReader[N] | IBatchReader[N, TagsAndParents[N]],
        *,
        normalize: Callable[[str], str] | None = None,
        is_inherited: Callable[[N, str], bool] | None = None,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        reader = hierarchy.AsyncReader[N, TagsAndParents[N]](
            tag_reader, "get_tags_and_parents", is_async=False
        )
        self._service = AsyncTagInheritanceService(
            reader, normalize=normalize, is_inherited=is_inherited, limits=limits
        )

    find_tags = hierarchy.in_sync(AsyncTagInheritanceService.find_tags)
    effective_tags = hierarchy.in_sync(AsyncTagInheritanceService.effective_tags)
    inherited_tags = hierarchy.in_sync(AsyncTagInheritanceService.inherited_tags)
    tag_sources = hierarchy.in_sync(AsyncTagInheritanceService.tag_sources)
    effective_tags_many = hierarchy.in_sync(AsyncTagInheritanceService.effective_tags_many)
    would_inherit = hierarchy.in_sync(AsyncTagInheritanceService.would_inherit)
