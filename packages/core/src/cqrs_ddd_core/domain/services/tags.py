"""The tags of a node: its own, and those of all its ancestors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...primitives.exceptions import NodeNotFoundError
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
from .readers import N
from .reading import AsyncTagReader, TagReader, as_async_batch_reader, as_batch_reader

T = TypeVar("T")
Tags = tuple[str, ...]


@dataclass(frozen=True)
class TagSource(Generic[N]):
    """A node that has the tag, so many links above the one asked for."""

    node_id: N
    distance: int


@dataclass(frozen=True)
class TagResult(Generic[N]):
    """Tags, each once, the nearest first; ``missing`` are ancestors that do not exist."""

    tags: tuple[str, ...]
    inherited: tuple[str, ...]
    """Those of ancestors; a tag that the node has itself is here if an ancestor has it too."""
    sources: Mapping[str, tuple[TagSource[N], ...]]
    missing: tuple[N, ...] = ()


class _TagRules(Generic[N]):
    """The questions, as steps for a driver."""

    def __init__(
        self,
        normalize: Callable[[str], str] | None,
        is_inherited: Callable[[N, str], bool] | None,
        limits: TraversalLimits,
    ) -> None:
        self._normalize = normalize or _exactly
        self._is_inherited = is_inherited or _always
        self._limits = limits

    def _find(
        self, node_id: N, known: Mapping[N, Record[Tags, N]] | None = None
    ) -> Steps[N, Tags, TagResult[N] | None]:
        walk: HierarchyWalk[N, Tags] = HierarchyWalk((node_id,), self._limits, known)
        yield from walk.climb()
        return self._collected(node_id, walk) if node_id in walk.records else None

    def _require(self, node_id: N) -> Steps[N, Tags, TagResult[N]]:
        result = yield from self._find(node_id)
        if result is None:
            raise NodeNotFoundError(
                f"no node {node_id}, so it has no tags; save it first, or ask with find_tags",
                node_id=node_id,
            )
        return result

    def _find_many(self, node_ids: Collection[N]) -> Steps[N, Tags, dict[N, Tags]]:
        wanted = distinct(node_ids)
        walk: HierarchyWalk[N, Tags] = HierarchyWalk(wanted, self._limits)
        yield from walk.climb()
        results = {
            node_id: drive(self._find(node_id), lambda _: walk.records) for node_id in wanted
        }
        return {node_id: result.tags for node_id, result in results.items() if result is not None}

    def _preview(self, node_id: N, new_parents: Collection[N]) -> Steps[N, Tags, Tags]:
        known: dict[N, Record[Tags, N]] = {node_id: ((), distinct(new_parents))}
        result = yield from self._find(node_id, known)
        return () if result is None else result.inherited

    def _collected(self, node_id: N, walk: HierarchyWalk[N, Tags]) -> TagResult[N]:
        spelled: dict[str, str] = {}
        inherited: dict[str, str] = {}
        sources: dict[str, dict[N, TagSource[N]]] = {}
        for source_id, (tags, _) in walk.records.items():
            for tag in tags:
                if source_id != node_id:
                    if not self._is_inherited(source_id, tag):
                        continue
                    inherited.setdefault(self._normalize(tag), tag)
                spelling = spelled.setdefault(self._normalize(tag), tag)
                source = TagSource(source_id, walk.distances[source_id])
                sources.setdefault(spelling, {})[source_id] = source
        return TagResult(
            tags=tuple(spelled.values()),
            inherited=tuple(inherited.values()),
            sources={tag: tuple(found.values()) for tag, found in sources.items()},
            missing=tuple(walk.missing),
        )


class TagInheritanceService(_TagRules[N]):
    """Answers over a sync reader; an ancestor that does not exist has no tags.

    Args:
        normalize: gives the form by which tags are the same, for example ``str.casefold``; the
            spelling seen first is kept.
        is_inherited: whether a tag of this ancestor is handed down at all.
    """

    def __init__(
        self,
        tag_reader: TagReader[N],
        *,
        normalize: Callable[[str], str] | None = None,
        is_inherited: Callable[[N, str], bool] | None = None,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(normalize, is_inherited, limits)
        self._reader = as_batch_reader(tag_reader)

    def find_tags(self, node_id: N) -> TagResult[N] | None:
        """Everything about the tags of a node; None for a node that does not exist."""
        return self._run(self._find(node_id))

    def effective_tags(self, node_id: N) -> tuple[str, ...]:
        """Own tags as stored, then inherited ones; raises ``NodeNotFoundError``."""
        return self._run(self._require(node_id)).tags

    def inherited_tags(self, node_id: N) -> tuple[str, ...]:
        """The tags of its ancestors; raises ``NodeNotFoundError``."""
        return self._run(self._require(node_id)).inherited

    def tag_sources(self, node_id: N) -> Mapping[str, tuple[TagSource[N], ...]]:
        """Where each tag comes from, nearest first; raises ``NodeNotFoundError``."""
        return self._run(self._require(node_id)).sources

    def effective_tags_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[str, ...]]:
        """The tags of each that exists, in one walk that reads shared ancestors once."""
        return self._run(self._find_many(node_ids))

    def would_inherit(self, node_id: N, new_parents: Collection[N]) -> tuple[str, ...]:
        """What the node, new or stored, would inherit if these were its parents."""
        return self._run(self._preview(node_id, new_parents))

    def _run(self, steps: Steps[N, Tags, T]) -> T:
        reader = self._reader
        read = levels(reader.get_tags_and_parents_many, reader.ancestry, self._limits)
        return drive(steps, read)


class AsyncTagInheritanceService(_TagRules[N]):
    """``TagInheritanceService`` over an async reader."""

    def __init__(
        self,
        tag_reader: AsyncTagReader[N],
        *,
        normalize: Callable[[str], str] | None = None,
        is_inherited: Callable[[N, str], bool] | None = None,
        limits: TraversalLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(normalize, is_inherited, limits)
        self._reader = as_async_batch_reader(tag_reader)

    async def find_tags(self, node_id: N) -> TagResult[N] | None:
        return await self._run(self._find(node_id))

    async def effective_tags(self, node_id: N) -> tuple[str, ...]:
        return (await self._run(self._require(node_id))).tags

    async def inherited_tags(self, node_id: N) -> tuple[str, ...]:
        return (await self._run(self._require(node_id))).inherited

    async def tag_sources(self, node_id: N) -> Mapping[str, tuple[TagSource[N], ...]]:
        return (await self._run(self._require(node_id))).sources

    async def effective_tags_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[str, ...]]:
        return await self._run(self._find_many(node_ids))

    async def would_inherit(self, node_id: N, new_parents: Collection[N]) -> tuple[str, ...]:
        return await self._run(self._preview(node_id, new_parents))

    async def _run(self, steps: Steps[N, Tags, T]) -> T:
        reader = self._reader
        read = levels_async(reader.get_tags_and_parents_many, reader.ancestry, self._limits)
        return await drive_async(steps, read)


def _exactly(tag: str) -> str:
    return tag


def _always(source_id: object, tag: str) -> bool:
    return True
