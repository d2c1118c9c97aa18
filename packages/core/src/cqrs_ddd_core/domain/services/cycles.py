"""Rule that no node becomes its own ancestor.

A check and a write in two concurrent transactions can still close a cycle: run both under a lock on
the hierarchy, at the isolation level serialisable, or with a version that every move increments.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Generic, Literal

from ...primitives.exceptions import CorruptHierarchyError, CycleDetectedError, NodeNotFoundError
from . import hierarchy
from .readers import IAsyncBatchReader, IAsyncParentReader, IBatchReader, IParentReader, N

__all__ = ["AsyncCycleDetectionService", "CycleDetectionService"]

Path = tuple[N, ...]
Links = Mapping[N, Collection[N]]
Cache = dict[N, tuple[N, ...] | None]
OnMissing = Literal["ignore", "raise"]


class AsyncCycleDetectionService(Generic[N]):
    """Service that finds the cycle that a new link would create, over an async reader.

    It reads upwards from the new parents only.

    Args:
        parent_reader: async reader of single nodes or of batches; with ``get_ancestry`` of all
            ancestors.
        on_missing: ``"ignore"`` treats a parent or an ancestor that does not exist as a root,
            ``"raise"`` raises ``NodeNotFoundError``.
        strict: raise ``CorruptHierarchyError`` also for a stored cycle without a new link.
        limits: limits of each walk.
    """

    def __init__(
        self,
        parent_reader: IAsyncParentReader[N] | IAsyncBatchReader[N, tuple[N, ...]],
        *,
        on_missing: OnMissing = "ignore",
        strict: bool = False,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        self._reader = hierarchy.AsyncReader[N, Path[N]](
            parent_reader, "get_parent_ids", is_async=True
        )
        self._on_missing = on_missing
        self._strict = strict
        self._limits = limits

    async def would_create_cycle(self, node_id: N, new_parent_id: N | None) -> bool:
        """Return whether the parent is the node or one of its descendants; False for None."""
        return await self.find_cycle_path(node_id, new_parent_id) is not None

    async def would_create_cycle_any(self, node_id: N, new_parent_ids: Collection[N]) -> bool:
        """Return whether one of these parents would create a cycle; all are checked in one walk."""
        return await self._find_path(node_id, new_parent_ids) is not None

    async def find_cycle_path(self, node_id: N, new_parent_id: N | None) -> Path[N] | None:
        """Return the cycle that the link would close: node, parent, ..., node."""
        return await self._find_path(node_id, () if new_parent_id is None else (new_parent_id,))

    async def ensure_acyclic(self, node_id: N, new_parent_ids: Collection[N]) -> None:
        """Raise ``CycleDetectedError`` with the path if one of the parents would create a cycle."""
        _raise_for_new(await self._find_path(node_id, new_parent_ids))

    async def detect_existing_cycle(self, node_id: N) -> Path[N] | None:
        """Return a stored cycle of the node and its ancestors: a, ..., a; None if there is none."""
        return find_cycle((await self._climb((node_id,))).records)

    async def check_links(self, links: Mapping[N, Collection[N]]) -> None:
        """Check the new parents of many nodes together.

        Raises:
            CycleDetectedError: one of the links is part of a cycle.
        """
        cache: Cache[N] = {
            child: hierarchy.deduplicate(parents) for child, parents in links.items()
        }
        together = (await self._climb(links, cache)).records
        _raise_for_new(find_cycle_through(links, together))
        if self._strict:
            _raise_for_stored(find_cycle(together))

    async def depth_of(self, node_id: N, *, longest: bool = False) -> int:
        """Return the number of links up to the nearest root, or to the farthest.

        Raises:
            NodeNotFoundError: the node does not exist.
            CorruptHierarchyError: the ancestors form a cycle, so the depth is not defined.
        """
        walk = await self._climb((node_id,))
        links = walk.records
        if node_id not in links:
            raise NodeNotFoundError(
                f"no node {node_id}, so it has no depth; save it first", node_id=node_id
            )
        if not longest:
            for reached, distance in walk.distances.items():
                if not links.get(reached):
                    return distance
        _raise_for_stored(find_cycle(links))
        depths: dict[N, int] = {}
        for each in sort_parents_first(links):
            depths[each] = max((1 + depths.get(parent, 0) for parent in links[each]), default=0)
        return depths[node_id]

    async def _find_path(self, node_id: N, parent_ids: Collection[N]) -> Path[N] | None:
        walk = await self._climb(hierarchy.deduplicate(parent_ids), until=(node_id,))
        if node_id in walk.distances:
            return (node_id, *walk.path_to(node_id))
        if self._strict:
            _raise_for_stored(find_cycle(walk.records))
        return None

    async def _climb(
        self, starts: Iterable[N], cache: Cache[N] | None = None, *, until: Collection[N] = ()
    ) -> hierarchy.HierarchyWalk[N, Path[N]]:
        walk = hierarchy.HierarchyWalk(starts, self._reader, self._limits, cache)
        await walk.climb(until)
        if walk.missing and self._on_missing == "raise":
            raise NodeNotFoundError(
                f"no node {walk.missing[0]}, which is named as a parent; save it first, or name "
                "another parent",
                node_id=walk.missing[0],
            )
        return walk


class CycleDetectionService(hierarchy.SyncService[AsyncCycleDetectionService[N]]):
    """Service that finds the cycle that a new link would create, over a sync reader.

    It reads upwards from the new parents only. The methods are the methods of
    ``AsyncCycleDetectionService``, without ``await``.

    Args:
        parent_reader: reader of single nodes or of batches; with ``get_ancestry`` of all ancestors.
        on_missing: ``"ignore"`` treats a parent or an ancestor that does not exist as a root,
            ``"raise"`` raises ``NodeNotFoundError``.
        strict: raise ``CorruptHierarchyError`` also for a stored cycle without a new link.
        limits: limits of each walk.
    """

    def __init__(
        self,
        parent_reader: IParentReader[N] | IBatchReader[N, tuple[N, ...]],
        *,
        on_missing: OnMissing = "ignore",
        strict: bool = False,
        limits: hierarchy.TraversalLimits = hierarchy.DEFAULT_LIMITS,
    ) -> None:
        reader = hierarchy.AsyncReader[N, Path[N]](parent_reader, "get_parent_ids", is_async=False)
        self._service = AsyncCycleDetectionService(
            reader, on_missing=on_missing, strict=strict, limits=limits
        )

    would_create_cycle = hierarchy.in_sync(AsyncCycleDetectionService.would_create_cycle)
    would_create_cycle_any = hierarchy.in_sync(AsyncCycleDetectionService.would_create_cycle_any)
    find_cycle_path = hierarchy.in_sync(AsyncCycleDetectionService.find_cycle_path)
    ensure_acyclic = hierarchy.in_sync(AsyncCycleDetectionService.ensure_acyclic)
    detect_existing_cycle = hierarchy.in_sync(AsyncCycleDetectionService.detect_existing_cycle)
    check_links = hierarchy.in_sync(AsyncCycleDetectionService.check_links)
    depth_of = hierarchy.in_sync(AsyncCycleDetectionService.depth_of)


def sort_parents_first(links: Links[N]) -> list[N]:
    """Return the nodes, each after its parents; nodes on a cycle or below one are left out.

    Source: A. B. Kahn, "Topological sorting of large networks", 1962.
    """
    children: dict[N, list[N]] = {}
    awaited: dict[N, int] = {}
    for node_id, parents in links.items():
        known = [parent for parent in dict.fromkeys(parents) if parent in links]
        awaited[node_id] = len(known)
        for parent in known:
            children.setdefault(parent, []).append(node_id)
    order = [node_id for node_id, count in awaited.items() if count == 0]
    for node_id in order:  # The loop appends to the list.
        for child in children.get(node_id, ()):
            awaited[child] -= 1
            if awaited[child] == 0:
                order.append(child)
    return order


def find_cycle(links: Links[N]) -> Path[N] | None:
    """Return a cycle in the links: a, ..., a; None if there is none."""
    cyclic = _keep_cyclic(links)
    if not cyclic:
        return None
    # Each remaining node has a remaining parent, so every path upwards must repeat a node.
    path = [next(iter(cyclic))]
    seen: dict[N, int] = {}
    while path[-1] not in seen:
        seen[path[-1]] = len(seen)
        path.append(cyclic[path[-1]][0])
    return tuple(path[seen[path[-1]] :])


def find_cycle_through(node_ids: Iterable[N], links: Links[N]) -> Path[N] | None:
    """Return a cycle with at least one of the nodes; None if there is none."""
    cyclic = _keep_cyclic(links)
    for node_id in node_ids:
        children: dict[N, N] = {}
        reached = [node_id] if node_id in cyclic else []
        for child in reached:  # The loop appends to the list.
            for parent in cyclic[child]:
                if parent not in children:
                    children[parent] = child
                    reached.append(parent)
        if node_id in children:
            path = [node_id, children[node_id]]
            while path[-1] != node_id:
                path.append(children[path[-1]])
            return tuple(reversed(path))
    return None


def _keep_cyclic(links: Links[N]) -> dict[N, tuple[N, ...]]:
    """Return the nodes on a cycle or on a path between two, with the links among them."""
    above = _remove(sort_parents_first(links), links)
    children: dict[N, list[N]] = {node_id: [] for node_id in above}
    for node_id, parents in above.items():
        for parent in parents:
            children[parent].append(node_id)
    return _remove(sort_parents_first(children), above)


def _remove(node_ids: Iterable[N], links: Links[N]) -> dict[N, tuple[N, ...]]:
    kept = links.keys() - node_ids
    return {
        node_id: tuple(parent for parent in parents if parent in kept)
        for node_id, parents in links.items()
        if node_id in kept
    }


def _raise_for_new(path: Path[N] | None) -> None:
    if path is not None:
        raise CycleDetectedError.would_close(path)


def _raise_for_stored(path: Path[N] | None) -> None:
    if path is not None:
        raise CorruptHierarchyError.stored_cycle(path)
