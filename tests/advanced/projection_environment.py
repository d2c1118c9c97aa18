"""Projections over the stores of one back end, for the kits of projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cqrs_ddd_advanced_core.conflict import ConflictRetryMiddleware
from cqrs_ddd_advanced_core.ports.dead_letters import IDeadLetterStore
from cqrs_ddd_advanced_core.ports.positions import IPositionStore
from cqrs_ddd_advanced_core.ports.projections import IProjectionStore
from cqrs_ddd_advanced_core.projections import (
    InlineProjectionMiddleware,
    ProjectionHandler,
    ProjectionRebuild,
    ProjectionWorker,
)
from cqrs_ddd_advanced_core.projections.run import ProjectionRun, ProjectionRuntime
from cqrs_ddd_core import HandlerRegistry, Mediator, UnitOfWork
from cqrs_ddd_core.ports import IEventLog
from cqrs_ddd_core.primitives.retry import (
    ExponentialBackoffPolicy,
    NoRetry,
)
from tests.advanced.till_domain import (
    Inspect,
    Sell,
    SellHandler,
    inspect,
)

NewUnitOfWork = Callable[[], UnitOfWork]
SEED = 8_081


class ProjectionEnvironment:
    """Stores of one back end, and projections over them."""

    def __init__(
        self,
        events: IEventLog,
        store: IProjectionStore,
        positions: IPositionStore,
        dead_letters: IDeadLetterStore,
        uow_factory: NewUnitOfWork,
    ) -> None:
        self.events = events
        self.store = store
        self.positions = positions
        self.dead_letters = dead_letters
        self.uow_factory = uow_factory

    @property
    def stores(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "positions": self.positions,
            "dead_letters": self.dead_letters,
            "uow_factory": self.uow_factory,
        }

    def worker(self, *handlers: ProjectionHandler, **options: Any) -> ProjectionWorker:
        options.setdefault("retry", NoRetry())
        options.setdefault("poll_interval", 0.02)
        return ProjectionWorker(handlers, **self.stores, **options)

    def rebuild(self, handler: ProjectionHandler, **options: Any) -> ProjectionRebuild:
        return ProjectionRebuild(handler, **{**self.stores, **options})

    def run(
        self, handler: ProjectionHandler, worker_id: str = "a worker", **options: Any
    ) -> ProjectionRun:
        return ProjectionRun(
            handler, ProjectionRuntime(**self.stores, worker_id=worker_id, **options)
        )

    async def append(self, *streams: list[Any]) -> None:
        for stream in streams:
            await self.events.append_batch(stream)

    async def get_documents(
        self, handler: ProjectionHandler, *ids: str
    ) -> dict[str, dict[str, Any]]:
        return await self.store.get_batch(handler.collection, ids)

    async def position(self, handler: ProjectionHandler) -> int | None:
        (found,) = await self.positions.list_positions([handler.collection])
        return found.position


async def create_inline_mediator(
    environment: ProjectionEnvironment, *handlers: ProjectionHandler, **options: Any
) -> Mediator:
    """Create a mediator that writes projections inline and retries commands after a conflict."""
    inline = InlineProjectionMiddleware(handlers, positions=environment.positions, **options)
    await inline.prepare(environment.uow_factory)
    registry = HandlerRegistry()
    registry.register_command_handler(Sell, SellHandler())
    registry.register_command_handler(Inspect, inspect)
    retry = ExponentialBackoffPolicy(max_attempts=200, base=0.002, maximum=0.05)
    return Mediator(
        registry,
        uow_factory=environment.uow_factory,
        middlewares=[ConflictRetryMiddleware(retry), inline],
    )
