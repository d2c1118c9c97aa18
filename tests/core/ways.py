"""Every way to ask a domain service: sync or async, over each kind of reader."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACLInheritanceService,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    CycleDetectionService,
    TagInheritanceService,
)

Node = Any
SINGLE = ("get_parent_ids", "get_tags_and_parents", "get_acl_and_parents")
BATCH = tuple(f"{name}_many" for name in SINGLE)
ANCESTRY = (*BATCH, "get_ancestry")


def hierarchy(*nodes: str) -> InMemoryHierarchy[str]:
    """``hierarchy("a", "b < a", "c < a b")``: names, with the parents behind the sign."""
    found: InMemoryHierarchy[str] = InMemoryHierarchy()
    for node in nodes:
        name, _, parents = node.partition("<")
        found.node(name.strip(), parents.split())
    return found


def ladder(steps: int) -> InMemoryHierarchy[str]:
    """Diamonds on diamonds: 2 ** steps ways lead from the bottom (b0) to the top."""
    found: InMemoryHierarchy[str] = InMemoryHierarchy()
    for i in range(steps):
        found.node(f"b{i}", (f"l{i}", f"r{i}")).node(f"l{i}", (f"b{i + 1}",))
        found.node(f"r{i}", (f"b{i + 1}",))
    return found.node(f"b{steps}")


def limited(source: object, methods: tuple[str, ...], *, is_async: bool) -> Any:
    """A reader with these methods of the source, and no others."""

    def awaiting(method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(0)
            return method(*arguments, **named)

        return call

    found = {name: getattr(source, name) for name in methods}
    members = {name: awaiting(method) if is_async else method for name, method in found.items()}
    # Static, for `self` is in the bound method already.
    return type("Limited", (), {name: staticmethod(member) for name, member in members.items()})()


class Awaited:
    """A sync service whose methods are awaited like those of its async twin."""

    def __init__(self, service: object) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return getattr(self._service, name)(*arguments, **named)

        return call


@dataclass(frozen=True)
class Way:
    is_async: bool
    methods: tuple[str, ...]

    def __str__(self) -> str:
        kind = {SINGLE: "single", BATCH: "batch", ANCESTRY: "ancestry"}[self.methods]
        return f"{'async' if self.is_async else 'sync'}-{kind}"

    def cycles(self, source: object, **options: Any) -> AsyncCycleDetectionService[Node]:
        service: AsyncCycleDetectionService[Node] = self._service(
            CycleDetectionService, AsyncCycleDetectionService, source, options
        )
        return service

    def tags(self, source: object, **options: Any) -> AsyncTagInheritanceService[Node]:
        service: AsyncTagInheritanceService[Node] = self._service(
            TagInheritanceService, AsyncTagInheritanceService, source, options
        )
        return service

    def acls(self, source: object, **options: Any) -> AsyncACLInheritanceService[Node]:
        service: AsyncACLInheritanceService[Node] = self._service(
            ACLInheritanceService, AsyncACLInheritanceService, source, options
        )
        return service

    def _service(
        self, sync: type[Any], asynchronous: type[Any], source: object, options: dict[str, Any]
    ) -> Any:
        reader = limited(source, self.methods, is_async=self.is_async)
        if self.is_async:
            return asynchronous(reader, **options)
        return Awaited(sync(reader, **options))


WAYS = [
    Way(is_async, methods) for is_async in (False, True) for methods in (SINGLE, BATCH, ANCESTRY)
]
