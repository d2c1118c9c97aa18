"""Links from children to parents, as data in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .hierarchy import HierarchyWalk, Record, TraversalLimits, drive
from .readers import N

Path = tuple[N, ...]
Links = Mapping[N, Collection[N]]


def as_records(links: Mapping[N, tuple[N, ...]]) -> dict[N, Record[None, N]]:
    return {node_id: (None, parents) for node_id, parents in links.items()}


def parents_first(links: Links[N]) -> list[N]:
    """The nodes in an order of their own; those on a cycle or below one are left out.

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
    for node_id in order:  # grows on the way
        for child in children.get(node_id, ()):
            awaited[child] -= 1
            if awaited[child] == 0:
                order.append(child)
    return order


def some_cycle(links: Links[N]) -> Path[N] | None:
    tangled = _tangled(links)
    if not tangled:
        return None
    # Each node left has a parent left, so any way up must come back to itself.
    seen: dict[N, None] = {}
    at = next(iter(tangled))
    while at not in seen:
        seen[at] = None
        at = tangled[at][0]
    way = list(seen)
    return (*way[way.index(at) :], at)


def cycle_through(node_ids: Iterable[N], links: Links[N]) -> Path[N] | None:
    """A cycle that one of the nodes lies on."""
    tangled = as_records(_tangled(links))
    for node_id in node_ids:
        if node_id in tangled:
            walk = HierarchyWalk(tangled[node_id][1], TraversalLimits(max_nodes=None), tangled)
            while node_id not in walk.distances and walk.frontier:
                drive(walk.step(), lambda _: tangled)
            if node_id in walk.distances:
                return (node_id, *walk.path_to(node_id))
    return None


def _tangled(links: Links[N]) -> dict[N, tuple[N, ...]]:
    """The links of the nodes that have a cycle above them and one below."""
    above = _without(links, parents_first(links))
    children: dict[N, list[N]] = {node_id: [] for node_id in above}
    for node_id, parents in above.items():
        for parent in parents:
            children[parent].append(node_id)
    return _without(above, parents_first(children))


def _without(links: Links[N], node_ids: Iterable[N]) -> dict[N, tuple[N, ...]]:
    gone = set(node_ids)
    return {
        node_id: tuple(parent for parent in parents if parent in links and parent not in gone)
        for node_id, parents in links.items()
        if node_id not in gone
    }
