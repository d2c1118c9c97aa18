"""Wrong stores of positions and dead letters, and the contract test that each of them fails."""

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


class _NaiveStore(InMemoryPositionStore):
    """Position store with changes that a subclass replaces."""

    changes: type[fake_positions._Changes] = fake_positions._Changes

    def _changes(self, uow: InMemoryTransaction) -> fake_positions._Changes:
        return uow.change_set(self, lambda: self.changes(self))


class PositionOnlyStore(_NaiveStore):
    """Store in which a frozen worker can advance until the new holder has advanced."""

    class changes(fake_positions._Changes):
        def advance(self, checkpoint: Checkpoint, position: int, leased_until: float) -> None:
            row = self.read(checkpoint.projection)
            if row is None or row.position != checkpoint.position:
                raise checkpoint.lease_ended()
            self._own[checkpoint.projection] = replace(row, position=position)


class EpochOnlyStore(_NaiveStore):
    """Store in which two tasks of one worker can process the same events."""

    class changes(fake_positions._Changes):
        def advance(self, checkpoint: Checkpoint, position: int, leased_until: float) -> None:
            row = self.read(checkpoint.projection)
            if row is None or row.epoch != checkpoint.epoch:
                raise checkpoint.lease_ended()
            self._own[checkpoint.projection] = replace(row, position=position)


class WorkerIdStore(_NaiveStore):
    """Store in which a second claim under a worker id does not end the first lease."""

    async def claim(self, projection: str, worker_id: str, **given: Any) -> Checkpoint | None:
        before = self._rows.get(projection)
        checkpoint = await super().claim(projection, worker_id, **given)
        if checkpoint is None or before is None or before.worker_id != worker_id:
            return checkpoint
        row = self._rows[projection]
        self._rows[projection] = replace(row, epoch=before.epoch)
        return replace(checkpoint, epoch=before.epoch)


class UncheckedCommitStore(_NaiveStore):
    """Store that compares checkpoints at the call, but not again at the commit."""

    class changes(fake_positions._Changes):
        def check(self) -> None:
            pass


class ExpiringLeaseStore(_NaiveStore):
    """Store in which an expired lease is lost although no other worker claimed it."""

    async def advance(self, checkpoint: Checkpoint, *args: Any, **given: Any) -> Checkpoint:
        row = self._rows.get(checkpoint.projection)
        if row is not None and self._holder(row) is None:
            raise checkpoint.lease_ended()
        return await super().advance(checkpoint, *args, **given)


class PartialLocks(TransactionLocks):
    """Locks of which only one kind, shared or exclusive, has an effect."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self._shared = shared

    async def acquire(
        self, key: Hashable, transaction: InMemoryTransaction, *, shared: bool = False
    ) -> None:
        if shared is self._shared:
            await super().acquire(key, transaction, shared=shared)


class NoExclusiveLockStore(_NaiveStore):
    def __init__(self) -> None:
        super().__init__()
        self._locks = PartialLocks(shared=True)


class NoSharedLockStore(_NaiveStore):
    def __init__(self) -> None:
        super().__init__()
        self._locks = PartialLocks(shared=False)


class UnfencedReplacementStore(_NaiveStore):
    """Store that replaces a projection without a check of the lease of the replacement."""

    class changes(fake_positions._Changes):
        def replace(self, projection: str, by: Checkpoint) -> None:
            self._own[by.projection] = None
            self._own[projection] = fake_positions._Row(
                next(self._store._epochs), by.version, by.position
            )


class SameEpochReleaseStore(_NaiveStore):
    """Store in which a worker can advance after it released its lease."""

    async def release(self, checkpoint: Checkpoint) -> None:
        row = self._rows.get(checkpoint.projection)
        if row is not None and row.epoch == checkpoint.epoch:
            self._rows[checkpoint.projection] = replace(row, leased_until=0.0)


POSITIONS: list[tuple[type[InMemoryPositionStore], str]] = [
    (
        PositionOnlyStore,
        "test_worker_without_the_lease_cannot_advance_even_if_the_new_holder_is_idle",
    ),
    (EpochOnlyStore, "test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds"),
    (
        WorkerIdStore,
        "test_second_claim_by_the_same_worker_id_ends_its_first_lease",
    ),
    (
        UncheckedCommitStore,
        "test_exactly_one_of_many_concurrent_advances_of_a_checkpoint_succeeds",
    ),
    (
        UncheckedCommitStore,
        "test_claim_during_an_advance_never_lets_two_workers_process_the_same_events",
    ),
    (
        ExpiringLeaseStore,
        "test_worker_with_an_expired_lease_advances_unless_another_worker_claimed",
    ),
    (NoExclusiveLockStore, "test_worker_cannot_advance_a_projection_during_an_exclusive_lock"),
    (
        NoExclusiveLockStore,
        "test_replacement_sees_every_inline_write_of_the_version_it_replaces",
    ),
    (
        NoSharedLockStore,
        "test_inline_write_begun_before_a_replacement_does_not_commit_after_it",
    ),
    (UnfencedReplacementStore, "test_worker_without_the_lease_cannot_replace_a_projection"),
    (
        UnfencedReplacementStore,
        "test_replacement_keeps_an_inline_projection_inline_or_creates_a_new_one",
    ),
    (SameEpochReleaseStore, "test_released_projection_can_be_claimed_at_once_but_not_advanced"),
]


class SingleRetryStore(InMemoryDeadLetterStore):
    """Store in which a retry makes only one dead letter of the stream due."""

    async def retry(self, projection: str, position: int) -> None:
        fake_letters._make_due(self._dead_letters, [self._get(projection, position, None)])


class FailedOnlyBlockingStore(InMemoryDeadLetterStore):
    """Store in which new events overtake the waiting dead letters of their stream."""

    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        failed = {
            each.stream
            for each in self._dead_letters.values()
            if each.projection == projection and each.state is DeadLetterState.POISON
        }
        return failed & set(streams)


class UnorderedRetryStore(InMemoryDeadLetterStore):
    """Store that returns due dead letters even behind one that failed again."""

    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        dead_letters = await self.list_dead_letters(projection, limit=10_000)
        return [each for each in dead_letters if each.is_due][:limit]


class UnconditionalAddStore(InMemoryDeadLetterStore):
    """Store in which a dead letter added after a retry never becomes due."""

    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        async with join_transaction(uow, "add dead letters") as active:
            added = {fake_letters._place_of(each): each for each in dead_letters}
            self._changes(active).add(lambda kept: kept.update(added))


class SingleDiscardStore(InMemoryDeadLetterStore):
    """Store in which a discard never makes the waiting dead letters due."""

    async def discard(self, projection: str, position: int) -> None:
        del self._dead_letters[fake_letters._place_of(self._get(projection, position, None))]


class SplitPositionPagesStore(InMemoryDeadLetterStore):
    """Store that can end a page between two dead letters of the same position."""

    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        return (await super().list_dead_letters(projection, after=after, limit=limit))[:limit]


DEAD_LETTERS: list[tuple[type[InMemoryDeadLetterStore], str]] = [
    (
        SingleRetryStore,
        "test_retry_makes_all_dead_letters_of_the_stream_retryable_in_position_order",
    ),
    (
        FailedOnlyBlockingStore,
        "test_failed_and_waiting_dead_letters_block_their_stream_even_if_retryable",
    ),
    (
        FailedOnlyBlockingStore,
        "test_discard_of_a_failed_dead_letter_makes_its_waiting_ones_retryable",
    ),
    (
        UnorderedRetryStore,
        "test_retryable_dead_letter_waits_for_earlier_dead_letters_of_its_stream",
    ),
    (
        UnconditionalAddStore,
        "test_dead_letter_added_after_a_retry_or_discard_of_its_stream_is_retryable",
    ),
    (
        UnconditionalAddStore,
        "test_dead_letter_added_during_a_retry_or_discard_becomes_retryable",
    ),
    (
        SingleDiscardStore,
        "test_discard_of_a_failed_dead_letter_makes_its_waiting_ones_retryable",
    ),
    (SplitPositionPagesStore, "test_pages_of_dead_letters_contain_every_dead_letter_by_position"),
]


@pytest.mark.parametrize(("naive_store", "test_name"), POSITIONS)
async def test_position_store_contract_catches_each_wrong_store(
    naive_store: type[InMemoryPositionStore], test_name: str
) -> None:
    test = getattr(PositionStoreContract(), test_name)

    with pytest.raises((AssertionError, CQRSDDDError)):
        await test(**_select_fixtures(test, positions=naive_store()))


@pytest.mark.parametrize(("naive_store", "test_name"), DEAD_LETTERS)
async def test_dead_letter_store_contract_catches_each_wrong_store(
    naive_store: type[InMemoryDeadLetterStore], test_name: str
) -> None:
    test = getattr(DeadLetterStoreContract(), test_name)

    with pytest.raises(AssertionError):
        await test(**_select_fixtures(test, dead_letters=naive_store()))


def _select_fixtures(test: Callable[..., Any], **given: Any) -> dict[str, Any]:
    given["new_uow"] = InMemoryUnitOfWork
    return {name: given[name] for name in inspect.signature(test).parameters}
