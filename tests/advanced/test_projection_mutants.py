"""Naive projections, and the sentence that each of them breaks."""

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


class MovesAfterTheCommit(InMemoryPositionStore):
    """A crash in between, and the events are taken again."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async def later() -> None:
            async with InMemoryUnitOfWork() as own:
                await super(MovesAfterTheCommit, self).advance(checkpoint, position, uow=own)

        uow.on_commit(later)
        return replace(checkpoint, position=position)


class MovesBeforeTheCommit(InMemoryPositionStore):
    """A crash in between, and the events are never taken."""

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        async with InMemoryUnitOfWork() as own:
            return await super().advance(checkpoint, position, lease=lease, uow=own)


class MovesWhoeverAsks(InMemoryPositionStore):
    """Sets the position without a look at whose it is."""

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


class HoldsNothing(InMemoryPositionStore):
    """Looks where the live one stands, and lets everybody go on."""

    def __init__(self) -> None:
        super().__init__()
        self._locks = NoLocks()


class ForgetsWhoIsHeld(InMemoryDeadLetterStore):
    """The next batch overtakes the poison event."""

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        return set()


class LocksNothing(InMemoryProjectionStore):
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
        partial(CutOff, event_store=events, projections=kept),
    )


class CutOff(InMemoryUnitOfWork):
    """Whose hooks a cancellation ends, as a crash would."""

    hook_timeout = 0.0


STORES: list[tuple[dict[str, Any], type[Any], str]] = [
    (
        {"positions": MovesAfterTheCommit},
        ProjectionWorkerKit,
        "test_documents_and_checkpoint_are_committed_together_wherever_it_is_cancelled",
    ),
    (
        {"positions": MovesBeforeTheCommit},
        ProjectionWorkerKit,
        "test_documents_and_checkpoint_are_committed_together_wherever_it_is_cancelled",
    ),
    ({"positions": MovesWhoeverAsks}, ProjectionWorkerKit, "test_overtaken_worker_cannot_commit"),
    (
        {"positions": MovesWhoeverAsks},
        ProjectionRebuildKit,
        "test_worker_of_the_old_documents_cannot_commit_after_the_swap",
    ),
    (
        {"positions": HoldsNothing},
        InlineProjectionKit,
        "test_a_rebuild_while_commands_are_under_way_loses_no_event",
    ),
    (
        {"dead_letters": ForgetsWhoIsHeld},
        ProjectionWorkerKit,
        "test_a_stream_with_a_poison_event_waits_and_the_others_go_on",
    ),
    (
        {"store": LocksNothing},
        InlineProjectionKit,
        "test_commands_that_change_one_document_lose_no_change",
    ),
]


@pytest.mark.parametrize(("naive", "kit", "sentence"), STORES)
async def test_over_a_naive_store_a_sentence_is_broken(
    naive: dict[str, Any], kit: type[Any], sentence: str
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await getattr(kit(), sentence)(
            create_environment(**{name: each() for name, each in naive.items()})
        )


async def test_a_view_that_keeps_half_an_event_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps_what_is_done(self: ProjectionDocuments, *, keep: bool) -> None:
        self._changed.update(self._by_event)

    monkeypatch.setattr(ProjectionDocuments, "end_event", keeps_what_is_done)

    with pytest.raises(AssertionError):
        await ProjectionWorkerKit().test_a_skipped_event_holds_up_nothing(create_environment())


async def test_a_quarantine_of_the_event_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    add_dead_letter = batches.Batch._add_dead_letter

    def without_its_stream(self: batches.Batch, *given: Any) -> None:
        held = set(self.blocked)
        add_dead_letter(self, *given)
        self.blocked = held

    monkeypatch.setattr(batches.Batch, "_add_dead_letter", without_its_stream)

    with pytest.raises(AssertionError):
        await ProjectionWorkerKit().test_a_stream_with_a_poison_event_waits_and_the_others_go_on(
            create_environment()
        )


class InPlace(ProjectionRebuild):
    """Empties the live view, and begins again."""

    async def run(self, *, resume: bool = False) -> int:
        async with self._runtime.uow_factory() as uow:
            assert isinstance(uow, InMemoryUnitOfWork)
            await uow.projections.truncate_collection(self._handler.collection)
        return await super().run(resume=resume)


async def test_a_rebuild_in_place_shows_readers_fewer_documents() -> None:
    class RebuiltInPlace(ProjectionEnvironment):
        def rebuild(self, handler: ProjectionHandler, **options: Any) -> ProjectionRebuild:
            return InPlace(handler, **{**self.stores, **options})

    environment = create_environment()
    naive = RebuiltInPlace(
        environment.events,
        environment.store,
        environment.positions,
        environment.dead_letters,
        environment.uow_factory,
    )
    name = "test_readers_never_see_fewer_documents_while_it_is_rebuilt_under_load"

    with pytest.raises(AssertionError):
        await getattr(ProjectionRebuildKit(), name)(naive)


async def test_a_rebuild_that_clears_before_it_looks_takes_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = ProjectionRebuild._begin

    async def clears_first(self: ProjectionRebuild, run: ProjectionRun) -> None:
        if run.checkpoint.position == 0:
            async with self._runtime.uow_factory() as uow:
                assert isinstance(uow, InMemoryUnitOfWork)
                await uow.projections.drop_collection(run.collection, uow=uow)
                await uow.projections.ensure_collection(run.collection, run.handler.fields)
        await begin(self, run)

    monkeypatch.setattr(ProjectionRebuild, "_begin", clears_first)
    name = "test_a_rebuild_that_was_frozen_takes_nothing_from_the_one_that_took_over"

    with pytest.raises(ConcurrencyError, match="tills__rebuild"):
        await getattr(ProjectionRebuildKit(), name)(create_environment())
