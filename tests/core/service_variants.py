"""Variants of the domain services: sync or async, over each kind of reader."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import pytest

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACLInheritanceService,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    CycleDetectionService,
    IBatchReader,
    TagInheritanceService,
)

Node = Any
R = TypeVar("R")


def build_hierarchy(*nodes: str) -> InMemoryHierarchy[str]:
    """Build nodes such as ``"a", "b < a", "c < a b"``, with the parents after the sign."""
    found: InMemoryHierarchy[str] = InMemoryHierarchy()
    for node in nodes:
        name, _, parents = node.partition("<")
        found.node(name.strip(), parents.split())
    return found


def build_ladder(steps: int) -> InMemoryHierarchy[str]:
    """Build a chain of diamonds, in which 2 ** steps paths lead from the bottom (b0) to the top."""
    found: InMemoryHierarchy[str] = InMemoryHierarchy()
    for i in range(steps):
        found.node(f"b{i}", (f"l{i}", f"r{i}")).node(f"l{i}", (f"b{i + 1}",))
        found.node(f"r{i}", (f"b{i + 1}",))
    return found.node(f"b{steps}")


class CountingReader(IBatchReader[str, R]):
    """Reader that counts the round trips, and how often each node is read."""

    def __init__(self, read_one: Callable[[str], R | None]) -> None:
        self._read_one = read_one
        self.round_trips = 0
        self.reads: Counter[str] = Counter()

    def get_many(self, node_ids: Collection[str]) -> Mapping[str, R]:
        self.round_trips += 1
        self.reads.update(node_ids)
        found = ((node_id, self._read_one(node_id)) for node_id in node_ids)
        return {node_id: record for node_id, record in found if record is not None}


class AwaitableService:
    """Sync service with the awaitable methods of its async form."""

    def __init__(self, service: object) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return getattr(self._service, name)(*arguments, **named)

        return call


@dataclass(frozen=True)
class ServiceVariant:
    """Sync or async service over a reader of single nodes, of batches or of whole ancestries."""

    is_async: bool
    reads: Literal["single", "batch", "ancestry"]

    def __str__(self) -> str:
        return f"{'async' if self.is_async else 'sync'}-{self.reads}"

    def cycles(self, source: object, **options: Any) -> AsyncCycleDetectionService[Node]:
        service: AsyncCycleDetectionService[Node] = self._create(
            CycleDetectionService,
            AsyncCycleDetectionService,
            self.reader(source, "get_parent_ids"),
            options,
        )
        return service

    def tags(self, source: object, **options: Any) -> AsyncTagInheritanceService[Node]:
        service: AsyncTagInheritanceService[Node] = self._create(
            TagInheritanceService,
            AsyncTagInheritanceService,
            self.reader(source, "get_tags_and_parents"),
            options,
        )
        return service

    def acls(self, source: object, **options: Any) -> AsyncACLInheritanceService[Node]:
        service: AsyncACLInheritanceService[Node] = self._create(
            ACLInheritanceService,
            AsyncACLInheritanceService,
            self.reader(source, "get_acl_and_parents"),
            options,
        )
        return service

    def _create(
        self, sync: type[Any], asynchronous: type[Any], reader: object, options: dict[str, Any]
    ) -> Any:
        if self.is_async:
            return asynchronous(reader, **options)
        return AwaitableService(sync(reader, **options))

    def reader(self, source: Any, method: str) -> Any:
        """Create a reader with the methods of this variant only."""
        read_one = getattr(source, method)
        members = {method: read_one}
        if self.reads != "single":
            members = {"get_many": CountingReader(read_one).get_many}
        if self.reads == "ancestry":
            members["get_ancestry"] = source.get_ancestry
        reader = SimpleNamespace()
        for name, member in members.items():
            setattr(reader, name, _delay(member) if self.is_async else member)
        return reader


def _delay(method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        return method(*arguments, **named)

    return call


VARIANTS = [
    ServiceVariant(is_async, reads)
    for is_async in (False, True)
    for reads in ("single", "batch", "ancestry")
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
