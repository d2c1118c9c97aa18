"""Walk that the services share: from some nodes upwards, level by level, each node read once.

The rules are coroutines over an async reader. A sync reader never waits, so the sync services
complete the same coroutines without an event loop.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from ...primitives.exceptions import HierarchyLimitExceededError, InvalidOperationError
from .readers import IAsyncBatchReader, N

__all__ = ["TraversalLimits"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

ReadMany = Callable[[Collection[N]], Awaitable[Mapping[N, R]]]

_SINGLE_READS = ("get_parent_ids", "get_tags_and_parents", "get_acl_and_parents")


@dataclass(frozen=True)
class TraversalLimits:
    """Limits of one walk; None is unlimited.

    Attributes:
        max_depth: number of levels above the nodes that the walk starts from.
        max_nodes: number of nodes that the walk may read, including the nodes that it starts from.
    """

    max_depth: int | None = None
    max_nodes: int | None = 100_000

    def __post_init__(self) -> None:
        if (self.max_depth or 0) < 0 or (1 if self.max_nodes is None else self.max_nodes) < 1:
            raise InvalidOperationError(
                f"{self} allows no node to be read; pass a max_depth of 0 or more and a max_nodes "
                "of 1 or more, or None"
            )

    def check(self, node_id: object, *, depth: int, nodes: int) -> None:
        """Raise ``HierarchyLimitExceededError`` if the walk needs more than a limit allows."""
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


class AsyncReader(IAsyncBatchReader[N, R]):
    """Async batch reader over any reader; over a sync reader it never waits.

    Args:
        reader: sync or async reader.
        method: name of the method that reads one node.
        is_async: True if the reader must be async, False if it must be sync.

    Raises:
        InvalidOperationError: the reader is of the other kind, or lacks the method.
    """

    def __init__(self, reader: object, method: str, *, is_async: bool) -> None:
        reads = {}
        for name in (*_SINGLE_READS, "get_many", "get_ancestry"):
            if (read := getattr(reader, name, None)) is None:
                continue
            # A runtime-checkable protocol compares names only: a coroutine would count as a record.
            if inspect.iscoroutinefunction(read) is not is_async:
                kind = "sync" if is_async else "async"
                raise InvalidOperationError(
                    f"{type(reader).__name__}.{name} is {kind}; use the {kind} form of the service"
                )
            reads[name] = read if is_async else _as_coroutine_function(read)
        singles = reads.keys() & _SINGLE_READS
        if method not in reads and ("get_many" not in reads or singles):
            raise InvalidOperationError(
                f"{type(reader).__name__} has neither {method} nor get_many with its records; "
                "pass a reader that has one of them"
            )
        if len(singles) > 1:
            # The records of get_many could have the form of another of the methods.
            reads.pop("get_many", None)
        self._read_many: ReadMany[N, R] = reads.get("get_many") or _read_each(reads[method])
        self.get_ancestry = reads.get("get_ancestry")
        self._reads_links = method == "get_parent_ids"

    async def get_many(self, node_ids: Collection[N]) -> Mapping[N, R]:
        """Return the records of the nodes that exist."""
        return await self._read_many(node_ids)

    async def read_upwards(
        self, node_ids: Collection[N], max_depth: int | None
    ) -> dict[N, R | None]:
        """Read nodes, and all their ancestors if the reader can; map a missing node to None."""
        if self.get_ancestry is None:
            found = await self._read_many(node_ids)
            return {node_id: found.get(node_id) for node_id in node_ids}
        links = await self.get_ancestry(node_ids, max_depth=max_depth)
        found = links if self._reads_links else await self._read_many(tuple(links))
        # With a limit, the parents of the last level were not read, and may exist.
        above = links.values() if max_depth is None else ()
        read = chain(node_ids, links, chain.from_iterable(above))
        return {node_id: found.get(node_id) for node_id in read}

    def parents_of(self, record: Any) -> tuple[N, ...]:
        """Return the ids of the parents from a record of the reader."""
        parents: tuple[N, ...] = record if self._reads_links else record[1]
        return parents


class HierarchyWalk(Generic[N, R]):
    """Walk from some nodes up to their roots; it also ends if the data has cycles.

    ``records`` holds the nodes found, nearest first, and within a level in the order in which
    children name them; ``missing`` lists the nodes that do not exist.

    Args:
        starts: ids of the nodes at the bottom.
        reader: reads the nodes that the cache lacks.
        limits: limits of this walk.
        cache: records that are already read, to which the walk adds; None stands for a missing
            node.
    """

    def __init__(
        self,
        starts: Iterable[N],
        reader: AsyncReader[N, R],
        limits: TraversalLimits = DEFAULT_LIMITS,
        cache: dict[N, R | None] | None = None,
    ) -> None:
        self.frontier = tuple(dict.fromkeys(starts))
        self.records: dict[N, R] = {}
        self.missing: list[N] = []
        self.distances = dict.fromkeys(self.frontier, 0)
        self._reader = reader
        self._limits = limits
        self._cache = {} if cache is None else cache
        self._children: dict[N, N] = {}
        self._depth = 0

    async def climb(self, until: Collection[N] = ()) -> None:
        """Read level by level up to the roots, or until one of the nodes ``until`` is reached."""
        while self.frontier and self.distances.keys().isdisjoint(until):
            await self.step()

    async def step(self) -> None:
        """Read one level.

        Raises:
            HierarchyLimitExceededError: the level is beyond a limit.
        """
        level, cache = self.frontier, self._cache
        self._limits.check(next(iter(self.distances)), depth=self._depth, nodes=len(self.distances))
        if unread := [node_id for node_id in level if node_id not in cache]:
            read = await self._reader.read_upwards(unread, self._limits.max_depth)
            cache.update((node_id, read[node_id]) for node_id in read if node_id not in cache)
        self._depth += 1
        above: list[N] = []
        for node_id in level:
            record = cache[node_id]
            if record is None:
                self.missing.append(node_id)
                continue
            self.records[node_id] = record
            for parent_id in self._reader.parents_of(record):
                if parent_id not in self.distances:
                    self.distances[parent_id] = self._depth
                    self._children[parent_id] = node_id
                    above.append(parent_id)
        self.frontier = tuple(above)

    def path_to(self, node_id: N) -> tuple[N, ...]:
        """Return a shortest path from a start up to a node that was reached."""
        path = [node_id]
        while path[-1] in self._children:
            path.append(self._children[path[-1]])
        return tuple(reversed(path))


class SyncService(Generic[S]):
    """Sync form of an async service, over a reader that never waits."""

    _service: S


def in_sync(
    method: Callable[Concatenate[S, P], Coroutine[object, None, T]],
) -> Callable[Concatenate[SyncService[S], P], T]:
    """Create the method of a sync service from a method of the async one."""

    @wraps(method)
    def call(service: SyncService[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            method(service._service, *args, **kwargs).send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise InvalidOperationError(f"{method.__name__} waits; use the async form of the service")

    return call


def deduplicate(node_ids: Iterable[N]) -> tuple[N, ...]:
    """Return each id once, in order.

    Raises:
        InvalidOperationError: the argument is a single text instead of a collection.
    """
    if isinstance(node_ids, str | bytes):
        raise InvalidOperationError(
            f"expected a collection, got the text {node_ids!r}; pass ({node_ids!r},)"
        )
    return tuple(dict.fromkeys(node_ids))


def select_ancestry(
    links: Mapping[N, tuple[N, ...]], node_ids: Iterable[N], max_depth: int | None
) -> dict[N, tuple[N, ...]]:
    """Return the links of these nodes and of all ancestors at most ``max_depth`` above them."""
    found: dict[N, tuple[N, ...]] = {}
    level, depth = dict.fromkeys(node_ids), 0
    while level and (max_depth is None or depth <= max_depth):
        present = {node_id: links[node_id] for node_id in level if node_id in links}
        found.update(present)
        above = chain.from_iterable(present.values())
        level = dict.fromkeys(node_id for node_id in above if node_id not in found)
        depth += 1
    return found


def _as_coroutine_function(read: Callable[P, T]) -> Callable[P, Coroutine[object, None, T]]:
    async def read_at_once(*args: P.args, **kwargs: P.kwargs) -> T:
        return read(*args, **kwargs)

    return read_at_once


def _read_each(read: Callable[[N], Awaitable[R | None]]) -> ReadMany[N, R]:
    async def read_many(node_ids: Collection[N]) -> Mapping[N, R]:
        found = [(node_id, await read(node_id)) for node_id in node_ids]
        return {node_id: record for node_id, record in found if record is not None}

    return read_many
