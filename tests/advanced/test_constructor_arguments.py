"""Mistakes in the arguments of constructors are errors that name the argument and the next step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cqrs_ddd_advanced_core import (
    AggregateUpdater,
    ConflictRetryMiddleware,
    EventSourcedRepository,
    LiveProjection,
    PersistenceDispatcher,
    PersistenceRegistry,
    ProjectionDocuments,
    ProjectionError,
    ProjectionHandler,
    ProjectionRebuild,
    Projections,
    ProjectionWorker,
    SnapshotStrategy,
)
from cqrs_ddd_advanced_core.adapters import memory
from cqrs_ddd_core import (
    AggregateRoot,
    DomainEvent,
    ExponentialBackoffPolicy,
    InMemoryBackend,
)
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryRepository, InMemoryUnitOfWork
from tests.mistakes import Mistakes, ensure_config_error


class PalletMoved(DomainEvent):
    pass


class Pallet(AggregateRoot[str]):
    pass


class Moves(ProjectionHandler):
    collection = "moves"

    def apply_PalletMoved(self, event: PalletMoved, documents: ProjectionDocuments) -> None: ...


BACKEND = InMemoryBackend()

# Type checkers would reject each of these calls.
Untyped = Callable[..., Any]
repository: Untyped = EventSourcedRepository
create_worker: Untyped = ProjectionWorker
create_rebuild: Untyped = ProjectionRebuild
projections: Untyped = Projections
live: Untyped = LiveProjection
retrying: Untyped = ConflictRetryMiddleware
updater: Untyped = AggregateUpdater
dispatcher: Untyped = PersistenceDispatcher


def wire(create: Untyped, handlers: object, **other: object) -> object:
    arguments: dict[str, object] = {
        "events": BACKEND.event_store,
        "positions": memory.InMemoryPositionStore(),
        "dead_letters": memory.InMemoryDeadLetterStore(),
        "uow_factory": BACKEND.unit_of_work,
    }
    return create(handlers, **{**arguments, **other})


worker = partial(wire, create_worker, [Moves()])
rebuild = partial(wire, create_rebuild, Moves())

MISTAKES: Mistakes = {
    "entity type: object": (
        lambda: repository(Pallet(id="p-1")),
        "entity_type is an object of Pallet; pass a subclass of AggregateRoot",
    ),
    "event store: class": (
        lambda: repository(Pallet, event_store=InMemoryEventStore),
        "event_store is the class InMemoryEventStore, not an object; pass InMemoryEventStore(...)",
    ),
    "snapshot store: class": (
        lambda: repository(Pallet, snapshot_store=memory.InMemorySnapshotStore),
        "snapshot_store is the class InMemorySnapshotStore, not an object",
    ),
    "snapshot strategy: class": (
        lambda: repository(
            Pallet, snapshot_store=memory.InMemorySnapshotStore(), strategy=SnapshotStrategy
        ),
        "strategy is the class SnapshotStrategy, not an object",
    ),
    "worker: events class": (
        lambda: worker(events=InMemoryEventStore),
        "events is the class InMemoryEventStore, not an object",
    ),
    "worker: positions class": (
        lambda: worker(positions=memory.InMemoryPositionStore),
        "positions is the class InMemoryPositionStore, not an object",
    ),
    "worker: dead letters class": (
        lambda: worker(dead_letters=memory.InMemoryDeadLetterStore),
        "dead_letters is the class InMemoryDeadLetterStore, not an object",
    ),
    "worker: unit of work": (
        lambda: worker(uow_factory=InMemoryUnitOfWork()),
        "uow_factory is an object of InMemoryUnitOfWork, and each call needs a new one; pass a "
        "function that creates a new UnitOfWork, such as backend.unit_of_work",
    ),
    "rebuild: backend": (
        lambda: rebuild(events=BACKEND),
        "events is an object of InMemoryBackend, which lacks append, append_batch, get_events",
    ),
    "projections: option": (
        lambda: projections([Moves()], batchsize=5),
        "a ProjectionWorker has no option batchsize; it has batch, lease, retry, on_poison, ",
    ),
    "retry: class": (
        lambda: retrying(ExponentialBackoffPolicy),
        "retry is the class ExponentialBackoffPolicy, not an object",
    ),
    "updater: repository class": (
        lambda: updater(InMemoryRepository, uow_factory=BACKEND.unit_of_work),
        "repository is the class InMemoryRepository, not an object",
    ),
    "updater: backend": (
        lambda: updater(InMemoryRepository(Pallet), uow_factory=BACKEND),
        "uow_factory is an object of InMemoryBackend, which cannot be called; ",
    ),
    "dispatcher: unit of work": (
        lambda: dispatcher({"default": BACKEND.unit_of_work()}, PersistenceRegistry()),
        "uow_factories['default'] is an object of InMemoryUnitOfWork, and each call needs a new ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_constructor_argument_of_another_kind_is_a_config_error(mistake: str) -> None:
    ensure_config_error(*MISTAKES[mistake])


@pytest.mark.parametrize(
    "create",
    [
        lambda: projections([Moves]),
        lambda: projections(Moves()),
        lambda: wire(create_worker, [Moves]),
        lambda: wire(create_rebuild, Moves),
        lambda: live(Moves, BACKEND.event_store),
    ],
)
def test_class_of_a_projection_handler_is_not_a_handler(create: Callable[[], object]) -> None:
    with pytest.raises(ProjectionError, match="register an instance|pass projections as a list"):
        create()
