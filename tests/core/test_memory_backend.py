"""Backend of the fakes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from itertools import count
from typing import Any

import pytest

from cqrs_ddd_core import InMemoryBackend, InvalidOperationError, OutboxMessage, UnitOfWork
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryInbox,
    InMemoryOutboxStorage,
    InMemoryQueueSignal,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.testing.contracts.backend import BackendContract, NewBackend
from cqrs_ddd_core.testing.contracts.parcel import Parcel


@pytest.fixture
def new_backend() -> NewBackend:
    return InMemoryBackend


@pytest.fixture
async def backend() -> AsyncIterator[InMemoryBackend]:
    async with InMemoryBackend() as backend:
        yield backend


@pytest.fixture
def parcel_model() -> None:
    return None


class TestInMemoryBackend(BackendContract):
    pass


def test_part_is_created_once_by_the_default_of_its_first_request() -> None:
    backend = InMemoryBackend()

    part = backend.part(list[int], lambda: [1])

    assert part == [1]
    assert backend.part(list[int], lambda: [2]) is part


def test_repository_of_an_entity_type_is_created_once_for_any_model() -> None:
    backend = InMemoryBackend()

    assert backend.repository(Parcel, object()) is backend.repository(Parcel)


class NewRepositoryEachTime(InMemoryBackend):
    """Wrong variant: gives each repository rows of its own."""

    def repository(self, entity_type: Any, model: object = None) -> Any:
        return InMemoryRepository(entity_type)


class SavesMessagesOutsideTheTransaction(InMemoryBackend):
    """Wrong variant: saves outbox messages in a transaction of their own."""

    class Outbox(InMemoryOutboxStorage):
        async def save_messages(
            self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
        ) -> None:
            async with InMemoryUnitOfWork() as own:
                await super().save_messages(messages, own)

    @cached_property
    def outbox(self) -> InMemoryOutboxStorage:
        return self.Outbox()


class CarriesAnotherInbox(InMemoryBackend):
    """Wrong variant: gives each unit of work an inbox of its own."""

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(self.event_store, self.outbox, InMemoryInbox())


class CarriesNoOutbox(InMemoryBackend):
    """Wrong variant: expects that the application adds the outbox to each unit of work."""

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        return InMemoryUnitOfWork(self.event_store, inbox=self.inbox)


class WritesInReadOnlyTransactions(InMemoryBackend):
    """Naive: ignores that a unit of work is read-only."""

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        return super().unit_of_work()


class SharesItsEvents(InMemoryBackend):
    """Wrong variant: keeps the events of all backends of the process in one place."""

    event_store = InMemoryEventStore()


class EmptyBackground(InMemoryBackend):
    """Wrong variant: starts the background services on a database of their own."""

    @cached_property
    def background(self) -> InMemoryBackend:
        return InMemoryBackend()


class DeafSignal(InMemoryBackend):
    """Wrong variant: lets the waiters of the background poll."""

    class Signal(InMemoryQueueSignal):
        async def wait(self, channel: str, timeout: float) -> bool:
            return False

    @cached_property
    def signal(self) -> InMemoryQueueSignal:
        return self.Signal()


class ClosesOnce(InMemoryBackend):
    """Wrong variant: expects one call of close."""

    async def close(self) -> None:
        del self.inbox


class TracksNoNewAggregates(InMemoryBackend):
    """Wrong variant: commits although a new aggregate with events was not saved."""

    def unit_of_work(self, *, read_only: bool = False) -> InMemoryUnitOfWork:
        uow = super().unit_of_work(read_only=read_only)
        uow.aggregates.track_new = lambda aggregate: None  # type: ignore[method-assign]
        return uow


class ForgetsMessages(InMemoryBackend):
    """Wrong variant: an inbox that knows no message."""

    class Inbox(InMemoryInbox):
        async def register(
            self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
        ) -> None:
            place = f"{message_id} {self.__dict__.setdefault('numbers', count()).__next__()}"
            await super().register(consumer, place, fingerprint, uow)

        async def store_outcome(
            self, consumer: str, message_id: str, outcome: object, uow: UnitOfWork | None = None
        ) -> None:
            pass

    @cached_property
    def inbox(self) -> InMemoryInbox:
        return self.Inbox()


CONTRACT = BackendContract()


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (
            NewRepositoryEachTime,
            CONTRACT.test_repositories_of_one_entity_type_have_the_same_data,
        ),
        (
            NewRepositoryEachTime,
            CONTRACT.test_backend_for_background_work_has_the_same_data_and_accepts_the_same_stores,
        ),
        (
            SavesMessagesOutsideTheTransaction,
            CONTRACT.test_rollback_leaves_no_change_in_any_store_of_the_backend,
        ),
        (
            SavesMessagesOutsideTheTransaction,
            CONTRACT.test_stores_of_the_backend_join_the_current_unit_of_work,
        ),
        (
            CarriesAnotherInbox,
            CONTRACT.test_unit_of_work_commits_the_changes_to_all_stores_of_the_backend,
        ),
        (
            CarriesNoOutbox,
            CONTRACT.test_unit_of_work_commits_the_changes_to_all_stores_of_the_backend,
        ),
        (
            WritesInReadOnlyTransactions,
            CONTRACT.test_read_only_unit_of_work_of_the_backend_reads_and_rejects_changes,
        ),
        (SharesItsEvents, CONTRACT.test_backends_on_different_databases_share_no_data),
        (
            EmptyBackground,
            CONTRACT.test_backend_for_background_work_has_the_same_data_and_accepts_the_same_stores,
        ),
        (DeafSignal, CONTRACT.test_committed_events_wake_waiters_of_each_signal_of_the_backend),
        (
            TracksNoNewAggregates,
            CONTRACT.test_command_that_creates_an_aggregate_and_does_not_add_it_fails,
        ),
        (
            TracksNoNewAggregates,
            CONTRACT.test_aggregate_that_an_event_handler_creates_and_does_not_add_fails_the_command,
        ),
        (
            ForgetsMessages,
            CONTRACT.test_nested_command_with_a_known_id_is_answered_with_the_stored_result,
        ),
        (ClosesOnce, CONTRACT.test_backend_can_be_closed_twice_and_opened_again),
    ],
    ids=lambda value: value.__name__,
)
async def test_backend_contract_catches_each_wrong_backend(
    mutant: type[InMemoryBackend], test: Callable[..., Awaitable[None]]
) -> None:
    fixtures = {"backend": mutant(), "new_backend": mutant, "parcel_model": None}
    wanted = inspect.signature(test).parameters

    with pytest.raises((AssertionError, AttributeError, InvalidOperationError)):
        await test(**{name: fixtures[name] for name in wanted})
