"""Whether a new link would make a node its own ancestor.

A check and a write in two transactions can still meet: judge and write under a lock on the
hierarchy, at the isolation level serialisable, or with a version that every move raises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Generic, Literal, TypeVar

from ...primitives.exceptions import CorruptHierarchyError, CycleDetectedError, NodeNotFoundError
from .hierarchy import (
    DEFAULT_LIMITS,
    HierarchyWalk,
    Record,
    Steps,
    TraversalLimits,
    distinct,
    drive,
    drive_async,
    levels,
    levels_async,
)
from .links import Links, Path, as_records, cycle_through, parents_first, some_cycle
from .readers import N
from .reading import AsyncParentReader, ParentReader, as_async_batch_reader, as_batch_reader

T = TypeVar("T")


class _CycleRules(Generic[N]):
    """The questions, as steps for a driver."""

    def __init__(
        self,
        on_missing: Literal["ignore", "raise"],
        strict: bool,
        limits: TraversalLimits,
    ) -> None:
        self._on_missing = on_missing
        self._strict = strict
        self._limits = limits

    def _find_path(self, node_id: N, parent_ids: Iterable[N]) -> Steps[N, None, Path[N] | None]:
        walk = HierarchyWalk[N, None](distinct(parent_ids), self._limits)
        while node_id not in walk.distances and walk.frontier:
            yield from self._step(walk)
        if node_id in walk.distances:
            return (node_id, *walk.path_to(node_id))
        if self._strict:
            _ensure_acyclic(walk.links())
        return None

    def _ensure(self, node_id: N, parent_ids: Iterable[N]) -> Steps[N, None, None]:
        path = yield from self._find_path(node_id, parent_ids)
        if path is not None:
            raise CycleDetectedError.would_close(path)

    def _detect(self, node_id: N) -> Steps[N, None, Path[N] | None]:
        walk = HierarchyWalk[N, None]((node_id,), self._limits)
        while walk.frontier:
            yield from self._step(walk)
        return some_cycle(walk.links())

    def _check_links(self, links: Mapping[N, Collection[N]]) -> Steps[N, None, None]:
        given = {child: distinct(parents) for child, parents in links.items()}
        walk = HierarchyWalk[N, None](given, self._limits, as_records(given))
        while walk.frontier:
            yield from self._step(walk)
        if path := cycle_through(given, walk.links()):
            raise CycleDetectedError.would_close(path)
        if self._strict:
            _ensure_acyclic(walk.links())

    def _depth(self, node_id: N, longest: bool) -> Steps[N, None, int]:
        walk = HierarchyWalk[N, None]((node_id,), self._limits)
        while walk.frontier:
            yield from self._step(walk)
        links = walk.links()
        if node_id not in links:
            raise NodeNotFoundError(
                f"no node {node_id}, so it has no depth; save it first", node_id=node_id
            )
        if not longest:
            roots = [at for at in walk.distances if not links.get(at)]
            if roots:
                return walk.distances[roots[0]]
        _ensure_acyclic(links)
        depths: dict[N, int] = {}
        for at in parents_first(links):
            depths[at] = max((1 + depths.get(parent, 0) for parent in links[at]), default=0)
        return depths[node_id]

    def _step(self, walk: HierarchyWalk[N, None]) -> Steps[N, None, None]:
        yield from walk.step()
        if walk.missing and self._on_missing == "raise":
            raise NodeNotFoundError(
                f"no node {walk.missing[0]}, which is named as a parent; save it first, or name "
                "another parent",
                node_id=walk.missing[0],
            )


class CycleDetectionService(_CycleRules[N]):
    """Judges new links over a sync reader; reads upwards from the parents only.

    Args:
        on_missing: what to do about a parent or an ancestor that does not exist: ``"ignore"`` takes
            it for a root, ``"raise"`` raises ``NodeNotFoundError``.
        strict: raise ``CorruptHierarchyError`` for a stored cycle that the new link has no part in.
    """

    def __init__(
        self,
        parent_reader: ParentReader[N],
        *,
        on_missing: Literal["ignore", "raise"] = "ignore",
        strict: bool = False,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(on_missing, strict, limits)
        self._reader = as_batch_reader(parent_reader)

    def would_create_cycle(self, node_id: N, new_parent_id: N | None) -> bool:
        """Whether the parent is the node or one of its descendants; a root (None) never is."""
        return self.find_cycle_path(node_id, new_parent_id) is not None

    def would_create_cycle_any(self, node_id: N, new_parent_ids: Collection[N]) -> bool:
        """Whether one of these parents would; one walk for all."""
        return self._run(self._find_path(node_id, new_parent_ids)) is not None

    def find_cycle_path(self, node_id: N, new_parent_id: N | None) -> tuple[N, ...] | None:
        """The cycle that the link would close: node, parent, ..., node."""
        return self._run(self._find_path(node_id, _given(new_parent_id)))

    def ensure_acyclic(self, node_id: N, new_parent_ids: Collection[N]) -> None:
        """Raises ``CycleDetectedError`` with the path."""
        self._run(self._ensure(node_id, new_parent_ids))

    def detect_existing_cycle(self, node_id: N) -> tuple[N, ...] | None:
        """A stored cycle among the node and its ancestors: a, ..., a."""
        return self._run(self._detect(node_id))

    def check_links(self, links: Mapping[N, Collection[N]]) -> None:
        """Judge many nodes with their new parents together.

        Raises ``CycleDetectedError`` for a cycle that one of the links has a part in.
        """
        self._run(self._check_links(links))

    def depth_of(self, node_id: N, *, longest: bool = False) -> int:
        """How many links up to the nearest root, or to the farthest.

        Raises ``NodeNotFoundError``, and ``CorruptHierarchyError`` where a cycle leaves no answer.
        """
        return self._run(self._depth(node_id, longest))

    def _run(self, steps: Steps[N, None, T]) -> T:
        reader = self._reader

        def read(node_ids: Collection[N]) -> Mapping[N, Record[None, N]]:
            return as_records(reader.get_parent_ids_many(node_ids))

        return drive(steps, levels(read, reader.ancestry, self._limits))


class AsyncCycleDetectionService(_CycleRules[N]):
    """``CycleDetectionService`` over an async reader."""

    def __init__(
        self,
        parent_reader: AsyncParentReader[N],
        *,
        on_missing: Literal["ignore", "raise"] = "ignore",
        strict: bool = False,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(on_missing, strict, limits)
        self._reader = as_async_batch_reader(parent_reader)

    async def would_create_cycle(self, node_id: N, new_parent_id: N | None) -> bool:
        return await self.find_cycle_path(node_id, new_parent_id) is not None

    async def would_create_cycle_any(self, node_id: N, new_parent_ids: Collection[N]) -> bool:
        return await self._run(self._find_path(node_id, new_parent_ids)) is not None

    async def find_cycle_path(self, node_id: N, new_parent_id: N | None) -> tuple[N, ...] | None:
        return await self._run(self._find_path(node_id, _given(new_parent_id)))

    async def ensure_acyclic(self, node_id: N, new_parent_ids: Collection[N]) -> None:
        await self._run(self._ensure(node_id, new_parent_ids))

    async def detect_existing_cycle(self, node_id: N) -> tuple[N, ...] | None:
        return await self._run(self._detect(node_id))

    async def check_links(self, links: Mapping[N, Collection[N]]) -> None:
        await self._run(self._check_links(links))

    async def depth_of(self, node_id: N, *, longest: bool = False) -> int:
        return await self._run(self._depth(node_id, longest))

    async def _run(self, steps: Steps[N, None, T]) -> T:
        reader = self._reader

        async def read(node_ids: Collection[N]) -> Mapping[N, Record[None, N]]:
            return as_records(await reader.get_parent_ids_many(node_ids))

        return await drive_async(steps, levels_async(read, reader.ancestry, self._limits))


def _given(parent_id: N | None) -> tuple[N, ...]:
    return () if parent_id is None else (parent_id,)


def _ensure_acyclic(links: Links[N]) -> None:
    if path := some_cycle(links):
        raise CorruptHierarchyError.stored_cycle(path)
