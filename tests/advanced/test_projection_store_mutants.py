"""Naive stores of positions and of dead letters, and the sentence that each of them breaks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemoryDeadLetterStore, InMemoryPositionStore
from cqrs_ddd_advanced_core.adapters.memory import dead_letters as fake_letters
from cqrs_ddd_advanced_core.adapters.memory import positions as fake_positions
from cqrs_ddd_advanced_core.adapters.memory.transaction_locks import TransactionLocks
from cqrs_ddd_advanced_core.ports.dead_letters import DeadLetter, DeadLetterState
from cqrs_ddd_advanced_core.ports.positions import Checkpoint
from cqrs_ddd_advanced_core.testing.contracts.dead_letters import DeadLetterStoreContract
from cqrs_ddd_advanced_core.testing.contracts.positions import PositionStoreContract
from cqrs_ddd_core import StreamId, UnitOfWork
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.transaction import InMemoryTransaction, join_transaction
from cqrs_ddd_core.primitives.exceptions import CQRSDDDError


class _Naive(InMemoryPositionStore):
    """With a set of changes of its own."""

    changes: type[fake_positions._Changes] = fake_positions._Changes

    def _changes(self, uow: InMemoryTransaction) -> fake_positions._Changes:
        return uow.change_set(self, lambda: self.changes(self))


class ComparesPositionsOnly(_Naive):
    """Who was frozen goes on while the new owner has not moved yet."""

    class changes(fake_positions._Changes):
        def advance(self, checkpoint: Checkpoint, position: int, leased_until: float) -> None:
            row = self.read(checkpoint.projection)
            if row is None or row.position != checkpoint.position:
                raise checkpoint.lease_ended()
            self._own[checkpoint.projection] = replace(row, position=position)


class ComparesEpochsOnly(_Naive):
    """Two tasks of one worker take the same events."""

    class changes(fake_positions._Changes):
        def advance(self, checkpoint: Checkpoint, position: int, leased_until: float) -> None:
            row = self.read(checkpoint.projection)
            if row is None or row.epoch != checkpoint.epoch:
                raise checkpoint.lease_ended()
            self._own[checkpoint.projection] = replace(row, position=position)


class KnowsWorkersByName(_Naive):
    """Who claims again under the same id has the old right too."""

    async def claim(self, projection: str, worker_id: str, **given: Any) -> Checkpoint | None:
        before = self._rows.get(projection)
        checkpoint = await super().claim(projection, worker_id, **given)
        if checkpoint is None or before is None or before.worker_id != worker_id:
            return checkpoint
        row = self._rows[projection]
        self._rows[projection] = replace(row, epoch=before.epoch)
        return replace(checkpoint, epoch=before.epoch)


class ComparesAtTheCallOnly(_Naive):
    """Others commit between the comparison and the commit."""

    class changes(fake_positions._Changes):
        def check(self) -> None:
            pass


class TrustsTheLeaseAlone(_Naive):
    """What ran out is lost, though nobody took it."""

    async def advance(self, checkpoint: Checkpoint, *args: Any, **given: Any) -> Checkpoint:
        row = self._rows.get(checkpoint.projection)
        if row is not None and self._holder(row) is None:
            raise checkpoint.lease_ended()
        return await super().advance(checkpoint, *args, **given)


class LocksOf(TransactionLocks):
    """Takes one kind of locks alone."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self._shared = shared

    async def acquire(
        self, key: Hashable, transaction: InMemoryTransaction, *, shared: bool = False
    ) -> None:
        if shared is self._shared:
            await super().acquire(key, transaction, shared=shared)


class LooksInsteadOfHolding(_Naive):
    def __init__(self) -> None:
        super().__init__()
        self._locks = LocksOf(shared=True)


class LooksInsteadOfJoining(_Naive):
    def __init__(self) -> None:
        super().__init__()
        self._locks = LocksOf(shared=False)


class ReplacesWhoeverAsks(_Naive):
    """Without a look at the lease of the one that takes the place."""

    class changes(fake_positions._Changes):
        def replace(self, projection: str, by: Checkpoint) -> None:
            self._own[by.projection] = None
            self._own[projection] = fake_positions._Row(
                next(self._store._epochs), by.version, by.position
            )


class KeepsTheEpochOfARelease(_Naive):
    """Who has released goes on."""

    async def release(self, checkpoint: Checkpoint) -> None:
        row = self._rows.get(checkpoint.projection)
        if row is not None and row.epoch == checkpoint.epoch:
            self._rows[checkpoint.projection] = replace(row, leased_until=0.0)


POSITIONS: list[tuple[type[InMemoryPositionStore], str]] = [
    (
        ComparesPositionsOnly,
        "test_worker_without_the_lease_cannot_advance_even_if_the_new_holder_is_idle",
    ),
    (ComparesEpochsOnly, "test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds"),
    (
        KnowsWorkersByName,
        "test_second_claim_by_the_same_worker_id_ends_its_first_lease",
    ),
    (
        ComparesAtTheCallOnly,
        "test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds",
    ),
    (
        ComparesAtTheCallOnly,
        "test_claim_during_an_advance_never_lets_two_workers_process_the_same_events",
    ),
    (
        TrustsTheLeaseAlone,
        "test_worker_with_an_expired_lease_advances_unless_another_worker_claimed",
    ),
    (LooksInsteadOfHolding, "test_worker_cannot_advance_a_projection_during_an_exclusive_lock"),
    (
        LooksInsteadOfHolding,
        "test_replacement_sees_every_inline_write_of_the_version_it_replaces",
    ),
    (
        LooksInsteadOfJoining,
        "test_inline_write_begun_before_a_replacement_does_not_commit_after_it",
    ),
    (ReplacesWhoeverAsks, "test_worker_without_the_lease_cannot_replace_a_projection"),
    (
        ReplacesWhoeverAsks,
        "test_replacement_keeps_an_inline_projection_inline_or_creates_a_new_one",
    ),
    (KeepsTheEpochOfARelease, "test_released_projection_can_be_claimed_at_once_but_not_advanced"),
]


class RetriesTheLetterAlone(InMemoryDeadLetterStore):
    """Those behind it stay for ever, or overtake it."""

    async def retry(self, projection: str, position: int) -> None:
        fake_letters._make_due(self._dead_letters, [self._get(projection, position)])


class HoldsBehindFailuresOnly(InMemoryDeadLetterStore):
    """What comes next overtakes those that still wait."""

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        failed = {
            each.stream
            for each in self._dead_letters.values()
            if each.projection == projection and each.state is DeadLetterState.POISON
        }
        return failed & set(streams)


class HandsOutWhatIsDue(InMemoryDeadLetterStore):
    """Also behind one that failed again."""

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        letters = await self.list_dead_letters(projection, limit=10_000)
        return [each for each in letters if each.is_due][:limit]


class AddsAsItIsTold(InMemoryDeadLetterStore):
    """What is set aside after the retry stays behind, and nobody asks for it."""

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        async with join_transaction(uow, "add dead letters") as active:
            added = {fake_letters._place_of(each): each for each in dead_letters}
            self._changes(active).add(lambda kept: kept.update(added))


class DiscardsTheLetterAlone(InMemoryDeadLetterStore):
    """Those that waited behind it do so for ever."""

    async def discard(self, projection: str, position: int) -> None:
        del self._dead_letters[fake_letters._place_of(self._get(projection, position))]


class CutsPagesAnywhere(InMemoryDeadLetterStore):
    """The next page begins after the position, and leaves the other projections' letters out."""

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        return (await super().list_dead_letters(projection, after=after, limit=limit))[:limit]


LETTERS: list[tuple[type[InMemoryDeadLetterStore], str]] = [
    (
        RetriesTheLetterAlone,
        "test_retry_makes_all_dead_letters_of_the_stream_due_in_position_order",
    ),
    (
        HoldsBehindFailuresOnly,
        "test_failed_and_waiting_dead_letters_block_their_stream_even_when_due",
    ),
    (
        HoldsBehindFailuresOnly,
        "test_discard_of_a_failed_dead_letter_makes_the_waiting_dead_letters_due",
    ),
    (HandsOutWhatIsDue, "test_retryable_dead_letter_waits_for_earlier_dead_letters_of_its_stream"),
    (AddsAsItIsTold, "test_dead_letter_added_after_a_retry_or_discard_of_its_stream_is_due"),
    (
        AddsAsItIsTold,
        "test_dead_letter_added_during_a_retry_or_discard_of_its_stream_becomes_due",
    ),
    (
        DiscardsTheLetterAlone,
        "test_discard_of_a_failed_dead_letter_makes_the_waiting_dead_letters_due",
    ),
    (CutsPagesAnywhere, "test_pages_of_dead_letters_contain_every_dead_letter_by_position"),
]


@pytest.mark.parametrize(("naive", "sentence"), POSITIONS)
async def test_a_naive_store_of_positions_breaks_a_sentence(
    naive: type[InMemoryPositionStore], sentence: str
) -> None:
    test = getattr(PositionStoreContract(), sentence)

    with pytest.raises((AssertionError, CQRSDDDError)):
        await test(**_wanted(test, positions=naive()))


@pytest.mark.parametrize(("naive", "sentence"), LETTERS)
async def test_a_naive_store_of_dead_letters_breaks_a_sentence(
    naive: type[InMemoryDeadLetterStore], sentence: str
) -> None:
    test = getattr(DeadLetterStoreContract(), sentence)

    with pytest.raises(AssertionError):
        await test(**_wanted(test, dead_letters=naive()))


def _wanted(test: Callable[..., Any], **given: Any) -> dict[str, Any]:
    given["new_uow"] = InMemoryUnitOfWork
    return {name: given[name] for name in inspect.signature(test).parameters}
