"""One walk for every question: from a node upwards, level by level, each node read once.

The walk does no I/O itself: it is a generator that yields the ids to read and receives what was
found, so that services over sync and over async readers share it (C. Benfield, "Building protocol
libraries the right way", PyCon 2016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...primitives.exceptions import HierarchyLimitExceededError, InvalidOperationError
from .readers import IAncestryReader, IAsyncAncestryReader, N

V = TypeVar("V")
T = TypeVar("T")

Record = tuple[V, tuple[N, ...]]
"""What a node has, and its parents."""
Steps = Generator[tuple[N, ...], Mapping[N, tuple[V, tuple[N, ...]]], T]
"""Yields ids, receives their records, returns the answer."""


@dataclass(frozen=True)
class TraversalLimits:
    """How far a service may read before it gives up; None is without limit."""

    max_depth: int | None = None
    max_nodes: int | None = 100_000

    def __post_init__(self) -> None:
        for limit, allowed, least in (
            ("max_depth", self.max_depth, 0),
            ("max_nodes", self.max_nodes, 1),
        ):
            if allowed is not None and allowed < least:
                raise InvalidOperationError(
                    f"{limit}={allowed} lets nothing be read; pass {least} or more, or None"
                )

    def check(self, node_id: object, *, depth: int, nodes: int) -> None:
        """Raises ``HierarchyLimitExceededError``."""
        for limit, allowed, needed in (
            ("max_depth", self.max_depth, depth),
            ("max_nodes", self.max_nodes, nodes),
        ):
            if allowed is not None and needed > allowed:
                raise HierarchyLimitExceededError(
                    f"the ancestors of {node_id} need {limit}={needed} or more, {allowed} is "
                    f"allowed; look for a fault in the data, or pass "
                    f"TraversalLimits({limit}=...)",
                    node_id=node_id,
                    limit=limit,
                    allowed=allowed,
                )


DEFAULT_LIMITS = TraversalLimits()


class HierarchyWalk(Generic[N, V]):
    """The way up from some nodes; ends on any data.

    ``records`` holds the nodes found, nearest first, those of one distance in the order in which
    children name them; ``missing`` those that do not exist; ``known`` stands in for stored ones.
    """

    def __init__(
        self,
        starts: Iterable[N],
        limits: TraversalLimits,
        known: Mapping[N, Record[V, N]] | None = None,
    ) -> None:
        self.frontier = tuple(dict.fromkeys(starts))
        self.records: dict[N, Record[V, N]] = {}
        self.missing: list[N] = []
        self.distances = dict.fromkeys(self.frontier, 0)
        self._limits = limits
        self._known: Mapping[N, Record[V, N]] = known or {}
        self._came_from: dict[N, N] = {}
        self._depth = 0

    def climb(self) -> Steps[N, V, None]:
        """All the way."""
        while self.frontier:
            yield from self.step()

    def step(self) -> Steps[N, V, tuple[N, ...]]:
        """One level; returns those of its nodes that exist.

        Raises ``HierarchyLimitExceededError`` instead of reading further than the limits.
        """
        level, known = self.frontier, self._known
        self._limits.check(next(iter(self.distances)), depth=self._depth, nodes=len(self.distances))
        asked = tuple(node_id for node_id in level if node_id not in known)
        found = (yield asked) if asked else known
        self._depth += 1
        above: list[N] = []
        present: list[N] = []
        for node_id in level:
            record = known.get(node_id) or found.get(node_id)
            if record is None:
                self.missing.append(node_id)
                continue
            self.records[node_id] = record
            present.append(node_id)
            for parent_id in record[1]:
                if parent_id not in self.distances:
                    self.distances[parent_id] = self._depth
                    self._came_from[parent_id] = node_id
                    above.append(parent_id)
        self.frontier = tuple(above)
        return tuple(present)

    def links(self) -> dict[N, tuple[N, ...]]:
        """The parents of each node found."""
        return {node_id: parents for node_id, (_, parents) in self.records.items()}

    def path_to(self, node_id: N) -> tuple[N, ...]:
        """A shortest way from a start up to a node that was reached."""
        path = [node_id]
        while path[-1] in self._came_from:
            path.append(self._came_from[path[-1]])
        return tuple(reversed(path))


def drive(steps: Steps[N, V, T], read: Callable[[tuple[N, ...]], Mapping[N, Record[V, N]]]) -> T:
    """Run the steps to their answer over a function that reads."""
    found: Mapping[N, Record[V, N]] | None = None
    while True:
        try:
            # The first send starts the generator, which takes None only.
            asked = next(steps) if found is None else steps.send(found)
        except StopIteration as end:
            answer: T = end.value
            return answer
        found = read(asked)


async def drive_async(
    steps: Steps[N, V, T], read: Callable[[tuple[N, ...]], Awaitable[Mapping[N, Record[V, N]]]]
) -> T:
    """Run the steps to their answer over a coroutine function that reads."""
    found: Mapping[N, Record[V, N]] | None = None
    while True:
        try:
            asked = next(steps) if found is None else steps.send(found)
        except StopIteration as end:
            answer: T = end.value
            return answer
        found = await read(asked)


def levels(
    read: Callable[[Collection[N]], Mapping[N, Record[V, N]]],
    ancestry: IAncestryReader[N] | None,
    limits: TraversalLimits,
) -> Callable[[tuple[N, ...]], Mapping[N, Record[V, N]]]:
    """What one walk reads its levels with: a read for each, or one of all ancestors."""
    if ancestry is None:
        return read
    prefetch = _Prefetch[N, V](limits)

    def prefetched(node_ids: tuple[N, ...]) -> Mapping[N, Record[V, N]]:
        if lacking := prefetch.lacking(node_ids):
            links = ancestry.get_ancestry(lacking, max_depth=limits.max_depth)
            prefetch.cover(lacking, links)
            prefetch.records.update(read(links))
        return prefetch.records

    return prefetched


def levels_async(
    read: Callable[[Collection[N]], Awaitable[Mapping[N, Record[V, N]]]],
    ancestry: IAsyncAncestryReader[N] | None,
    limits: TraversalLimits,
) -> Callable[[tuple[N, ...]], Awaitable[Mapping[N, Record[V, N]]]]:
    """As ``levels``."""
    if ancestry is None:
        return read
    prefetch = _Prefetch[N, V](limits)

    async def prefetched(node_ids: tuple[N, ...]) -> Mapping[N, Record[V, N]]:
        if lacking := prefetch.lacking(node_ids):
            links = await ancestry.get_ancestry(lacking, max_depth=limits.max_depth)
            prefetch.cover(lacking, links)
            prefetch.records.update(await read(links))
        return prefetch.records

    return prefetched


class _Prefetch(Generic[N, V]):
    """What whole ancestries have brought for one walk."""

    def __init__(self, limits: TraversalLimits) -> None:
        self.records: dict[N, Record[V, N]] = {}
        self._is_whole = limits.max_depth is None
        self._covered: set[N] = set()

    def lacking(self, node_ids: tuple[N, ...]) -> tuple[N, ...]:
        return tuple(node_id for node_id in node_ids if node_id not in self._covered)

    def cover(self, asked: tuple[N, ...], links: Mapping[N, tuple[N, ...]]) -> None:
        self._covered.update(asked, links)
        if self._is_whole:
            # Otherwise the parents of the last level were not looked for, and may exist.
            self._covered.update(*links.values())


def distinct(node_ids: Iterable[N]) -> tuple[N, ...]:
    """Each once, in order; refuses a text, which is one id and not many."""
    if isinstance(node_ids, str | bytes):
        raise InvalidOperationError(
            f"expected a collection, got the text {node_ids!r}; pass ({node_ids!r},)"
        )
    return tuple(dict.fromkeys(node_ids))
