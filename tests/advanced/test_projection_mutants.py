"""Wrong projections, and the test that each of them fails."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import (
    InMemoryDeadLetterStore,
    InMemoryPositionStore,
    InMemoryProjectionStore,
)
from cqrs_ddd_advanced_core.adapters.memory.transaction_locks import TransactionLocks
from cqrs_ddd_advanced_core.ports.positions import Checkpoint
from cqrs_ddd_advanced_core.projections import (
    ProjectionDocuments,
    ProjectionHandler,
    ProjectionRebuild,
)
from cqrs_ddd_advanced_core.projections import batch as batches
from cqrs_ddd_advanced_core.projections.run import ProjectionRun
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.transaction import InMemoryTransaction
from cqrs_ddd_core.primitives.exceptions import ConcurrencyError
from tests.advanced.inline_kit import InlineProjectionKit
from tests.advanced.projection_environment import ProjectionEnvironment
from tests.advanced.projection_kit import ProjectionWorkerKit
from tests.advanced.rebuild_kit import ProjectionRebuildKit


class LateCheckpointStore(InMemoryPositionStore):
    """Store that advances after the commit: a crash in between repeats the events."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async def later() -> None:
            async with InMemoryUnitOfWork() as own:
                await super(LateCheckpointStore, self).advance(checkpoint, position, uow=own)

        uow.on_commit(later)
        return replace(checkpoint, position=position)


class EarlyCheckpointStore(InMemoryPositionStore):
    """Store that advances before the commit: a crash in between loses the events."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async with InMemoryUnitOfWork() as own:
            return await super().advance(checkpoint, position, lease=lease, uow=own)


class UnfencedCheckpointStore(InMemoryPositionStore):
    """Store that sets the position without a check of the lease."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        row = self._rows[checkpoint.projection]
        self._rows[checkpoint.projection] = replace(row, position=position)
        return replace(checkpoint, position=position)


class NoLocks(TransactionLocks):
    async def acquire(
        self, key: Hashable, transaction: InMemoryTransaction, *, shared: bool = False
    ) -> None:
        pass


class NonLockingPositionStore(InMemoryPositionStore):
    """Store with an exclusive lock that blocks neither workers nor inline writes."""

    def __init__(self) -> None:
        super().__init__()
        self._locks = NoLocks()


class ForgetfulPositionStore(InMemoryPositionStore):
    """Store that lets each process write the version that it asks for."""

    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> int:
        await super().lock_shared(projection, version=version, uow=uow)
        return version


class NonBlockingDeadLetterStore(InMemoryDeadLetterStore):
    """Store without blocked streams: the next batch overtakes the poison event."""

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        return set()


class NonLockingProjectionStore(InMemoryProjectionStore):
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        pass


def create_environment(
    positions: InMemoryPositionStore | None = None,
    dead_letters: InMemoryDeadLetterStore | None = None,
    store: InMemoryProjectionStore | None = None,
) -> ProjectionEnvironment:
    events, kept = InMemoryEventStore(), store or InMemoryProjectionStore()
    return ProjectionEnvironment(
        events,
        kept,
        positions or InMemoryPositionStore(),
        dead_letters or InMemoryDeadLetterStore(),
        partial(CutOffUnitOfWork, event_store=events, projections=kept),
    )


class CutOffUnitOfWork(InMemoryUnitOfWork):
    """Unit of work that cancels its hooks at once, as in a crash."""

    hook_timeout = 0.0


STORES: list[tuple[dict[str, Any], type[Any], str]] = [
    (
        {"positions": LateCheckpointStore},
        ProjectionWorkerKit,
        "test_cancelled_projection_worker_commits_documents_and_checkpoint_together",
    ),
    (
        {"positions": EarlyCheckpointStore},
        ProjectionWorkerKit,
        "test_cancelled_projection_worker_commits_documents_and_checkpoint_together",
    ),
    (
        {"positions": UnfencedCheckpointStore},
        ProjectionWorkerKit,
        "test_projection_worker_that_lost_its_lease_cannot_commit",
    ),
    (
        {"positions": UnfencedCheckpointStore},
        ProjectionRebuildKit,
        "test_worker_of_the_old_documents_cannot_commit_after_the_rebuild",
    ),
    (
        {"positions": NonLockingPositionStore},
        InlineProjectionKit,
        "test_rebuild_of_an_inline_projection_during_commands_loses_no_event",
    ),
    (
        {"positions": ForgetfulPositionStore},
        InlineProjectionKit,
        "test_process_with_two_versions_writes_the_live_one_before_and_after_rebuilds",
    ),
    (
        {"dead_letters": NonBlockingDeadLetterStore},
        ProjectionWorkerKit,
        "test_poison_event_blocks_its_own_stream_and_no_other",
    ),
    (
        {"store": NonLockingProjectionStore},
        InlineProjectionKit,
        "test_concurrent_commands_lose_no_change_of_one_inline_document",
    ),
]


@pytest.mark.parametrize(("naive_stores", "kit", "test_name"), STORES)
async def test_projection_check_catches_each_wrong_store(
    naive_stores: dict[str, Any], kit: type[Any], test_name: str
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, KeyError)):
        await getattr(kit(), test_name)(
            create_environment(**{name: each() for name, each in naive_stores.items()})
        )


async def test_poison_event_check_catches_documents_that_keep_changes_of_a_failed_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keep_changes(self: ProjectionDocuments, *, keep: bool) -> None:
        self._changed.update(self._by_event)

    monkeypatch.setattr(ProjectionDocuments, "end_event", keep_changes)

    with pytest.raises(AssertionError):
        await ProjectionWorkerKit().test_skipped_poison_event_does_not_block_its_stream(
            create_environment()
        )


async def test_poison_event_check_catches_a_worker_that_does_not_block_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_dead_letter = batches.Batch._add_dead_letter

    def add_without_blocking(self: batches.Batch, *given: Any) -> None:
        held = set(self.blocked)
        add_dead_letter(self, *given)
        self.blocked = held

    monkeypatch.setattr(batches.Batch, "_add_dead_letter", add_without_blocking)

    with pytest.raises(AssertionError):
        await ProjectionWorkerKit().test_poison_event_blocks_its_own_stream_and_no_other(
            create_environment()
        )


class InPlaceRebuild(ProjectionRebuild):
    """Rebuild that truncates the live collection and fills it again."""

    async def run(self, *, resume: bool = False, replace_later: bool = False) -> int:
        async with self._runtime.uow_factory() as uow:
            assert isinstance(uow, InMemoryUnitOfWork)
            await uow.projections.truncate_collection(self._handler.collection)
        return await super().run(resume=resume, replace_later=replace_later)


async def test_reader_check_catches_a_rebuild_in_place_that_shows_fewer_documents() -> None:
    class InPlaceEnvironment(ProjectionEnvironment):
        def rebuild(self, handler: ProjectionHandler, **options: Any) -> ProjectionRebuild:
            return InPlaceRebuild(handler, **{**self.stores, **options})

    environment = create_environment()
    naive_stores = InPlaceEnvironment(
        environment.events,
        environment.store,
        environment.positions,
        environment.dead_letters,
        environment.uow_factory,
    )
    name = "test_readers_never_see_fewer_documents_during_a_rebuild_under_load"

    with pytest.raises(AssertionError):
        await getattr(ProjectionRebuildKit(), name)(naive_stores)


async def test_frozen_rebuild_check_catches_a_rebuild_that_clears_before_its_lease_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = ProjectionRebuild._begin

    async def clear_first(self: ProjectionRebuild, run: ProjectionRun) -> None:
        if run.checkpoint.position == 0:
            async with self._runtime.uow_factory() as uow:
                assert isinstance(uow, InMemoryUnitOfWork)
                await uow.projections.drop_collection(run.collection, uow=uow)
                await uow.projections.ensure_collection(run.collection, run.handler.fields)
        await begin(self, run)

    monkeypatch.setattr(ProjectionRebuild, "_begin", clear_first)
    name = "test_frozen_rebuild_does_not_disturb_the_rebuild_that_replaced_it"

    with pytest.raises(ConcurrencyError, match="tills__rebuild"):
        await getattr(ProjectionRebuildKit(), name)(create_environment())
