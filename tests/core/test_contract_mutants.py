"""Wrong implementations, each with the contract test that catches it."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import repeat
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from cqrs_ddd_core import ExpectedVersion, SearchResult, StoredEvent, StreamId, UnitOfWork
from cqrs_ddd_core.adapters.memory import (
    InMemoryCacheService,
    InMemoryEventStore,
    InMemoryHeartbeatStore,
    InMemoryInbox,
    InMemoryLockStrategy,
    InMemoryMessageBus,
    InMemoryOutboxStorage,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.adapters.memory import event_store as fake_events
from cqrs_ddd_core.adapters.memory import outbox as fake_outbox
from cqrs_ddd_core.adapters.memory import repository as fake_rows
from cqrs_ddd_core.adapters.memory.transaction import InMemoryTransaction, join_transaction
from cqrs_ddd_core.ports import (
    AppendResult,
    Heartbeat,
    InboxEntry,
    OutboxBacklog,
    OutboxLease,
    OutboxMessage,
)
from cqrs_ddd_core.primitives import storable
from cqrs_ddd_core.primitives.exceptions import (
    AlreadyExistsError,
    DuplicateCommandError,
    DuplicateEventError,
    LeaseLostError,
    MultipleResultsError,
    OptimisticConcurrencyError,
)
from cqrs_ddd_core.spi.keyed_queue import KeyedQueue
from cqrs_ddd_core.spi.leases import LockName, name_lock
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.cache import CacheContract
from cqrs_ddd_core.testing.contracts.event_store import EventStoreContract
from cqrs_ddd_core.testing.contracts.heartbeats import HeartbeatStoreContract
from cqrs_ddd_core.testing.contracts.inbox import InboxContract
from cqrs_ddd_core.testing.contracts.locking import FifoLockContract, LockContract
from cqrs_ddd_core.testing.contracts.messaging import MessagingContract
from cqrs_ddd_core.testing.contracts.outbox import OutboxContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract
from cqrs_ddd_core.testing.contracts.unit_of_work import (
    ReadOnlyStoresContract,
    ReadOnlyUnitOfWorkContract,
    UnitOfWorkContract,
)
from tests.core.conftest import Equals, QueryOptions


class PositionsAtAppend(InMemoryEventStore):
    """Wrong variant: assigns positions at the append, like a sequence, instead of at the commit."""

    class Changes(fake_events._AppendedEvents):
        def append(self, events: Sequence[StoredEvent]) -> None:
            super().append([replace(e, position=self._log.draw_position()) for e in events])

        def apply(self) -> int | None:
            self._log.add(self._events)
            self._log.events.sort(key=lambda e: e.position or 0)
            return self._log.latest

        def discard(self) -> None:
            pass

    def bind(self, uow: UnitOfWork) -> PositionsAtAppend:
        bound = PositionsAtAppend()
        bound._log, bound._uow = self._log, uow
        return bound

    def _get_changes(self, uow: InMemoryTransaction) -> fake_events._AppendedEvents:
        return uow.change_set(self._log, lambda: self.Changes(self._log))


class WaitsAtGaps(InMemoryEventStore):
    """Wrong variant: waits at a gap between positions, as if a transaction were still running."""

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for event in await super().get_events_after(position, limit):
            if event.position != position + 1:
                break
            found.append(event)
            position += 1
        return found


class BatchInPieces(InMemoryEventStore):
    """Wrong variant: appends each event of a batch in its own transaction."""

    async def append_batch(self, events: list[StoredEvent]) -> None:
        for event in events:
            await super().append_batch([event])


class ExpectsNothing(InMemoryEventStore):
    """Wrong variant: ignores the expected version."""

    async def append_to_stream(
        self,
        stream: StreamId,
        events: Sequence[StoredEvent],
        *,
        expected_version: ExpectedVersion | int = ExpectedVersion.ANY,
    ) -> AppendResult:
        return await super().append_to_stream(stream, events)


class OneKindOfConflict(InMemoryEventStore):
    """Wrong variant: reports a repeated event id as a version conflict, which callers retry."""

    async def append(self, stored_event: StoredEvent) -> None:
        try:
            await super().append(stored_event)
        except Exception as error:
            raise OptimisticConcurrencyError(str(error)) from error


class AppendsOutsideTheTransaction(InMemoryEventStore):
    """Wrong variant: appends outside of the unit of work."""

    def bind(self, uow: UnitOfWork) -> InMemoryEventStore:
        return self

    async def append_batch(self, events: list[StoredEvent]) -> None:
        async with InMemoryUnitOfWork() as own:
            self._get_changes(own).append(events)


class FirstIdWins(InMemoryEventStore):
    """Wrong variant: identifies a stream by its id, without the aggregate type."""

    async def get_events(self, aggregate_id: str, **part: Any) -> list[StoredEvent]:
        kinds = self._log.types.get(("", aggregate_id), {"none"})
        return await super().get_events(aggregate_id, **{**part, "aggregate_type": min(kinds)})


class ChecksEachVersionAlone(InMemoryEventStore):
    """Wrong variant: rejects only a version that is stored, as a unique key does."""

    def _get_changes(self, uow: InMemoryTransaction) -> fake_events._AppendedEvents:
        changes = super()._get_changes(uow)

        def ensure_free(event: StoredEvent, actual: int) -> None:
            stored = [e for e in self._log.events if e.stream == event.stream]
            if event.version in {e.version for e in stored}:
                raise OptimisticConcurrencyError.version_taken(
                    str(event.stream), event.version, actual
                )

        changes._ensure_later = ensure_free  # type: ignore[method-assign]
        return changes


class ReadsTheWholeStream(InMemoryEventStore):
    """Wrong variant: ignores the bounds of a read."""

    async def get_events(self, aggregate_id: str, **part: Any) -> list[StoredEvent]:
        return await super().get_events(aggregate_id, aggregate_type=part.get("aggregate_type"))


class KeepsReferences(InMemoryRepository[Parcel, str]):
    """Wrong variant: returns the stored object itself."""

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        row = self._rows.get(entity_id)
        return None if row is None else row.state


class LastWriterWins(InMemoryRepository[Parcel, str]):
    """Wrong variant: saves an aggregate without a check of its version."""

    class Changes(fake_rows._Changes[Parcel, str]):
        def write(self, entity_id: str, entity: Parcel) -> None:
            current = self.read(entity_id)
            entity.mark_persisted(current.version if current else 0)
            super().write(entity_id, entity)

        def check(self) -> None:
            pass

    def _get_changes(self, uow: InMemoryTransaction) -> fake_rows._Changes[Parcel, str]:
        return uow.change_set(self, lambda: self.Changes(self._rows, uow.aggregates))


class ChecksWhenAddedOnly(InMemoryRepository[Parcel, str]):
    """Wrong variant: checks the version when the aggregate is added, and not when it is written."""

    class Changes(fake_rows._Changes[Parcel, str]):
        def check(self) -> None:
            pass

    def _get_changes(self, uow: InMemoryTransaction) -> fake_rows._Changes[Parcel, str]:
        return uow.change_set(self, lambda: self.Changes(self._rows, uow.aggregates))


class TakesAnIdForARace(InMemoryRepository[Parcel, str]):
    """Wrong variant: reports a taken id as a conflict, which is retried in vain."""

    async def add(self, entity: Parcel, uow: UnitOfWork | None = None) -> str:
        try:
            return await super().add(entity, uow)
        except AlreadyExistsError as error:
            raise OptimisticConcurrencyError(str(error), expected=0, actual=1) from error


class ForgetsWhatWasAbsent(InMemoryRepository[Parcel, str]):
    """Wrong variant: reports a race for an id as a taken id, which is not retried."""

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        found = await self.list_all([entity_id], uow)
        return found[0] if found else None

    async def list_all(
        self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
    ) -> list[Parcel]:
        found = await super().list_all(entity_ids, uow)
        if uow is not None:
            uow.aggregates.was_absent = lambda entity_id: False  # type: ignore[method-assign]
        return found


class KeepsPrivateAttributes(InMemoryRepository[Parcel, str]):
    """Wrong variant: loads a copy of the whole object, with what a table does not keep."""

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        found = await super().get(entity_id, uow)
        if found is not None:
            found.scan()
        return found


class IgnoresTheUnitOfWork(InMemoryRepository[Parcel, str]):
    """Wrong variant: writes in its own transaction."""

    async def add(self, entity: Parcel, uow: UnitOfWork | None = None) -> str:
        async with InMemoryUnitOfWork() as own:
            return await super().add(entity, own)


class GetsNone(InMemoryRepository[Parcel, str]):
    """Repository whose ``get_one`` returns whatever ``get`` returns."""

    async def get_one(self, entity_id: str, uow: UnitOfWork | None = None) -> Any:
        return await self.get(entity_id, uow)


class SavesOneByOne(InMemoryRepository[Parcel, str]):
    """Wrong variant: saves each aggregate of a batch separately."""

    async def add_many(
        self, entities: Sequence[Parcel], uow: UnitOfWork | None = None
    ) -> list[str]:
        return [await self.add(entity, uow) for entity in entities]


class ReadsTwice(InMemoryRepository[Parcel, str]):
    """Wrong variant: reads the aggregates once to check them, and again to save them."""

    async def add_many(
        self, entities: Sequence[Parcel], uow: UnitOfWork | None = None
    ) -> list[str]:
        assert all(isinstance(entity, Parcel) for entity in entities)
        return await super().add_many(list(entities), uow)


class WrapsTheSearch(InMemoryRepository[Parcel, str]):
    """Builds its search result from another one."""

    async def search(self, criteria: Any, uow: UnitOfWork | None = None) -> SearchResult[Parcel]:
        return self.wrap(await super().search(criteria, uow), criteria)

    def wrap(self, found: SearchResult[Parcel], criteria: Any) -> SearchResult[Parcel]:
        raise NotImplementedError


class CountsThePage(WrapsTheSearch):
    """Counts the items that it would return."""

    def wrap(self, found: SearchResult[Parcel], criteria: Any) -> SearchResult[Parcel]:
        return SearchResult(found.all, found.stream, take=found.take)


class TakesBeyondThePage(InMemoryRepository[Parcel, str]):
    """Replaces the limit of the page, as ``LIMIT 2`` in place of ``LIMIT 1`` does."""

    async def search(self, criteria: Any, uow: UnitOfWork | None = None) -> SearchResult[Parcel]:
        found = await super().search(criteria, uow)
        search = super().search

        async def take(count: int) -> list[Parcel]:
            is_page = isinstance(criteria, QueryOptions)
            return await (
                await search(replace(criteria, limit=count) if is_page else criteria, uow)
            )

        return SearchResult(found.all, found.stream, take=take, count=found.count)


class TakesTheLast(WrapsTheSearch):
    """Takes from another order than the one it awaits in."""

    def wrap(self, found: SearchResult[Parcel], criteria: Any) -> SearchResult[Parcel]:
        async def take(count: int) -> list[Parcel]:
            return (await found)[-count:]

        return SearchResult(found.all, found.stream, take=take, count=found.count)


class TakesCopies(WrapsTheSearch):
    """Takes items that the unit of work does not know."""

    def wrap(self, found: SearchResult[Parcel], criteria: Any) -> SearchResult[Parcel]:
        async def take(count: int) -> list[Parcel]:
            return [each.model_copy() for each in await found.take(count)]

        return SearchResult(found.all, found.stream, take=take, count=found.count)


class RollsBackOnErrorsOnly(InMemoryUnitOfWork):
    """Wrong variant: rolls back after an ``Exception``, which a cancellation is not."""

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        seen = error if isinstance(error, Exception) else None
        await super().__aexit__(type(seen) if seen else None, seen, traceback)


class SwallowsCancellation(InMemoryUnitOfWork):
    """Wrong variant: rolls back after a cancellation and suppresses it."""

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> Any:
        await super().__aexit__(kind, error, traceback)
        return isinstance(error, asyncio.CancelledError)


class CommitsInTheCallersTask(InMemoryUnitOfWork):
    """Wrong variant: a cancellation interrupts the commit."""

    commits_in_task: ClassVar[bool] = False

    async def commit(self) -> None:
        for changes in self._changes.values():
            for entity_id, row in changes._written.items():
                changes._rows[entity_id] = row
                await asyncio.sleep(0)


class StopsAtAFailingHook(InMemoryUnitOfWork):
    """Wrong variant: skips the remaining hooks after a hook has failed."""

    async def trigger_commit_hooks(self) -> None:
        while self._on_commit_hooks:
            await self._on_commit_hooks.popleft()()


class RunsHooksBeforeTheCommit(InMemoryUnitOfWork):
    """Wrong variant: runs the commit hooks before the commit."""

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        while self._on_commit_hooks:
            await self._on_commit_hooks.popleft()()
        await super().__aexit__(kind, error, traceback)


class AllowsConcurrentUse(InMemoryUnitOfWork):
    """Wrong variant: lets two tasks use one unit of work at the same time."""

    @contextmanager
    def guard_exclusive(self, operation: str) -> Iterator[None]:
        self.ensure_open(operation)
        yield


class StaysOpen(InMemoryUnitOfWork):
    """Wrong variant: accepts work after its commit or rollback."""

    def ensure_open(self, purpose: str) -> None:
        pass


class CommitsUnsavedEvents(InMemoryUnitOfWork):
    """Wrong variant: commits although an aggregate has unsaved events."""

    def __init__(self, event_store: InMemoryEventStore | None = None) -> None:
        super().__init__(event_store)
        self.aggregates.ensure_all_saved = lambda: None  # type: ignore[method-assign]


class ReleasesWithoutToken(InMemoryLockStrategy):
    """Wrong variant: releases a lock without a check of the token."""

    async def release(self, resource: str) -> None:
        if name_lock(resource) in self._queue.current:
            self._queue.leave(name_lock(resource))


class NeverExpires(InMemoryLockStrategy):
    """Wrong variant: never expires the lock of a dead holder."""

    def _find_holder(self, name: LockName) -> Any:
        return self._queue.current.get(name)


class SameToken(InMemoryLockStrategy):
    """Wrong variant: gives every holder the same fencing token."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens = repeat(1)  # type: ignore[assignment]


class KeepsCancelledWaiters(InMemoryLockStrategy):
    """Wrong variant: keeps a cancelled waiter in the queue."""

    async def acquire(self, resource: str, *, timeout: float = 10.0, ttl: float = 30.0) -> bool:
        return await asyncio.shield(super().acquire(resource, timeout=timeout, ttl=ttl))


class LastFirstQueue(KeyedQueue[Any]):
    def leave(self, key: Hashable) -> None:
        self._waiting.get(key, deque()).rotate()
        super().leave(key)


class LastInFirstOut(InMemoryLockStrategy):
    """Wrong variant: serves the waiter that arrived last."""

    def __init__(self) -> None:
        super().__init__()
        self._queue = LastFirstQueue(self._start)


class NeverRenews(InMemoryLockStrategy):
    """Wrong variant: does not renew the lock during a hold block."""

    @asynccontextmanager
    async def hold(
        self,
        resource: str,
        *,
        timeout: float = 10.0,
        ttl: float = 30.0,
        cancel_on_loss: bool = True,
    ) -> AsyncIterator[Any]:
        assert await self.acquire(resource, timeout=timeout, ttl=ttl)
        try:
            yield SimpleNamespace(resource=resource, fencing_token=1, check=lambda: None)
        finally:
            with suppress(LeaseLostError):
                await self.release(resource)


class NeverReportsTheLoss(InMemoryLockStrategy):
    """Wrong variant: never sets the event of a lost lease."""

    @asynccontextmanager
    async def hold(self, resource: str, **how: Any) -> AsyncIterator[Any]:
        async with super().hold(resource, **how) as lease:
            yield SimpleNamespace(resource=resource, check=lease.check, lost=asyncio.Event())


class CancelsAnyway(InMemoryLockStrategy):
    """Wrong variant: ignores ``cancel_on_loss``."""

    @asynccontextmanager
    async def hold(
        self, resource: str, *, cancel_on_loss: bool = True, **how: Any
    ) -> AsyncIterator[Any]:
        async with super().hold(resource, **how) as lease:
            yield lease


class ReleasesByName(NeverRenews):
    """Wrong variant: releases the lock after the block even if another holder has it."""


class NoLeaseCheck(InMemoryOutboxStorage):
    """Wrong variant: marks messages without a check of the lease epoch."""

    def _get_leased_key(self, lease: OutboxLease, tenant_id: str | None) -> Any:
        return self._keys.get((lease.tenant_id, lease.key)) or fake_outbox._Key()


class HandsOutItsEvents(InMemoryEventStore):
    """Wrong variant: readers get the objects that the store keeps."""

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        return [event for event in self._log.events if (event.position or 0) > position][:limit]


class KeepsTheCallersMessages(InMemoryOutboxStorage):
    """Wrong variant: keeps the payloads of the caller, as a copy of the message alone does."""

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        async with join_transaction(uow, "save messages", writes=True) as active:
            self._get_changes(active).save([replace(message) for message in messages])


class HandsOutItsMessages(InMemoryOutboxStorage):
    """Wrong variant: relays get the objects that the outbox keeps."""

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        leases = await super().claim(relay_id, limit=limit, lease=lease)
        return [
            replace(each, messages=[self._messages["", m.message_id] for m in each.messages])
            for each in leases
        ]


class HandsOutItsOutcomes(InMemoryInbox):
    """Wrong variant: callers get the outcome that the inbox keeps."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        known = await super().register(consumer, message_id, fingerprint, uow)
        return known and self._rows["", consumer, message_id][0]


def _read_as_doubles(value: Any) -> Any:
    return json.loads(json.dumps(value), parse_int=float)


class EventsWithDoubles(InMemoryEventStore):
    """Wrong variant: reads each number as a double, as some JSON libraries do."""

    async def append_batch(self, events: list[StoredEvent]) -> None:
        await super().append_batch(
            [replace(each, payload=_read_as_doubles(each.payload)) for each in events]
        )


class MessagesWithDoubles(InMemoryOutboxStorage):
    """Wrong variant: reads each number as a double, as some JSON libraries do."""

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        changed = [replace(each, metadata=_read_as_doubles(each.metadata)) for each in messages]
        await super().save_messages(changed, uow)


class OutcomesWithDoubles(InMemoryInbox):
    """Wrong variant: reads each number as a double, as some JSON libraries do."""

    async def store_outcome(
        self, consumer: str, message_id: str, outcome: object, uow: UnitOfWork | None = None
    ) -> None:
        await super().store_outcome(consumer, message_id, _read_as_doubles(outcome), uow)


class CacheWithDoubles(InMemoryCacheService):
    """Wrong variant: reads each number as a double, as some JSON libraries do."""

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await super().set(key, _read_as_doubles(value), ttl)


class DeliversOneObject(InMemoryMessageBus):
    """Wrong variant: all subscribers get the same payload."""

    async def deliver(self) -> None:
        while self._queue:
            handler, message = self._queue[0]
            await handler(message)
            self._queue.popleft()


class ClaimsRows(InMemoryOutboxStorage):
    """Wrong variant: claims single rows, so that two relays share one partition key."""

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        leases = await super().claim(relay_id, limit=limit, lease=lease)
        for key in self._keys.values():
            key.leased_until = 0.0
        return leases


class SavesOutsideTheTransaction(InMemoryOutboxStorage):
    """Wrong variant: saves messages in its own transaction, so that they survive a rollback."""

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        async with InMemoryUnitOfWork() as own:
            await super().save_messages(messages, own)


class SkipsPoison(InMemoryOutboxStorage):
    """Wrong variant: publishes later messages of a partition before a failed one is resolved."""

    async def fail(
        self, lease: OutboxLease, message_id: str, error: str, *, retry_at: datetime | None
    ) -> None:
        self._get_leased_key(lease, None)
        await self.mark_published([message_id])
        await self.release(lease)


class ReleasesAtOnce(InMemoryOutboxStorage):
    """Wrong variant: ignores the time until which a released key has to wait."""

    async def release(self, lease: OutboxLease, *, retry_at: datetime | None = None) -> None:
        await super().release(lease)


class CountsPendingMessages(InMemoryOutboxStorage):
    """Wrong variant: counts pending messages, so that messages behind a dead letter are missing."""

    async def get_backlog(self) -> OutboxBacklog:
        pending, dead_letters = await self.get_pending(), await self.list_dead_letters()
        return OutboxBacklog(
            waiting=len(pending),
            blocked=0,
            dead_letters=len(dead_letters),
            oldest_at=min((each.created_at for each in pending), default=None),
        )


class OneHeartbeatPerService(InMemoryHeartbeatStore):
    """Wrong variant: keeps one heartbeat for each service, so that processes replace each other."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        services = {each.service for each in heartbeats}
        self._delete([key for key in self._heartbeats if key[0] in services])
        await super().beat(heartbeats)


class TrustsTheClockOfTheHost(InMemoryHeartbeatStore):
    """Wrong variant: measures ages by times of the caller, whose clock may be wrong."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        await super().beat(heartbeats)
        for each in heartbeats:
            self._heartbeats[each.service, each.instance_id] = each, each.started_at


class PurgesEverything(InMemoryOutboxStorage):
    """Wrong variant: deletes by age, including unpublished messages."""

    async def purge(self, published_before: datetime, *, limit: int = 1000) -> int:
        await self.mark_published([message_id for _, message_id in self._waiting])
        return await super().purge(published_before, limit=limit)


class PurgesHandledMessages(InMemoryInbox):
    """Wrong variant: a purge deletes messages that a sender may still repeat."""

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        return await super().purge(registered_before + timedelta(days=1), limit=limit)


class ReportsIdsFirst(InMemoryEventStore):
    """Wrong variant: a conflict is reported as a reused id, which no retry resolves."""

    async def append_batch(self, events: list[StoredEvent]) -> None:
        known = {each.event_id for each in await self.get_events_after(0)}
        for each in events:
            if each.event_id in known:
                raise DuplicateEventError.already_stored(each.event_type, each.event_id)
        await super().append_batch(events)


class PurgesOpenTransactions(InMemoryInbox):
    """Wrong variant: a purge deletes messages that no transaction has committed."""

    def __init__(self) -> None:
        super().__init__()
        self._open_changes: list[Any] = []

    def _get_changes(self, uow: InMemoryTransaction) -> Any:
        changes = super()._get_changes(uow)
        self._open_changes.append(changes)
        return changes

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        found = sum(len(changes.rows) for changes in self._open_changes)
        for changes in self._open_changes:
            changes.discard()
            changes.rows.clear()
        return found + await super().purge(registered_before, limit=limit)


class CountsNoPurgedMessages(InMemoryInbox):
    """Wrong variant: a purge returns 0."""

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        await super().purge(registered_before, limit=limit)
        return 0


class PurgesInOneBatch(InMemoryInbox):
    """Wrong variant: ignores the limit of a batch."""

    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        return await super().purge(registered_before, limit=sys.maxsize)


class FillsAnyway(InMemoryCacheService):
    """Wrong variant: accepts a value that was loaded before a change."""

    async def fill(self, key: str, value: Any, lease: str, ttl: float | None = None) -> bool:
        await self.set(key, value, ttl)
        return True


class GrantsEveryLease(InMemoryCacheService):
    """Wrong variant: grants a fill lease at each miss."""

    async def lease_fill(self, key: str, ttl: float) -> str | None:
        await asyncio.sleep(0)
        return str(next(self._tokens))


class NeverExpiresValues(InMemoryCacheService):
    """Wrong variant: ignores the ttl."""

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        await super().set(key, value)


class KeepsTheObject(InMemoryCacheService):
    """Wrong variant: returns the cached object itself."""

    def __init__(self) -> None:
        super().__init__()
        self._objects: dict[str, Any] = {}

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        self._objects[key] = value

    async def get(self, key: str) -> Any | None:
        return self._objects.get(key)


class KeepsOneSubscriber(InMemoryMessageBus):
    """Wrong variant: keeps one subscriber per topic."""

    async def subscribe(self, topic: str, handler: Any) -> None:
        self._handlers[topic] = [handler]


class AcknowledgesFirst(InMemoryMessageBus):
    """Wrong variant: removes a message before it is handled."""

    async def deliver(self) -> None:
        while self._queue:
            handler, message = self._queue.popleft()
            await handler(message)


class ChecksBeforeRegistering(InMemoryInbox):
    """Wrong variant: checks whether the message is known, without a unique key."""

    class Blind(dict[Any, Any]):
        def __contains__(self, place: object) -> bool:
            return False

    def __init__(self) -> None:
        super().__init__()
        self._open = self.Blind()


class RegistersOutsideTheTransaction(InMemoryInbox):
    """Wrong variant: registers the message id in another transaction than the effect."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        async with InMemoryUnitOfWork() as own:
            return await super().register(consumer, message_id, fingerprint, own)


class OneConsumer(InMemoryInbox):
    """Wrong variant: shares the message ids between all consumers."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        return await super().register("all", message_id, fingerprint, uow)


class IgnoresContent(InMemoryInbox):
    """Wrong variant: treats a different message with a known id as a redelivery."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        return await super().register(consumer, message_id, "same", uow)


class IgnoresReadOnly(InMemoryUnitOfWork):
    """Wrong variant: takes ``read_only`` as a comment."""

    def ensure_writable(self, operation: str) -> None:
        pass


class CommitsWhenReadOnly(InMemoryUnitOfWork):
    """Wrong variant: rejects writes, but ends like any other unit of work."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None and self.is_open:
            await self.commit()
        await super().__aexit__(kind, error, traceback)


class ContinuesAfterARejectedWrite(InMemoryUnitOfWork):
    """Wrong variant: works on after a rejected write, which no database does."""

    def ensure_open(self, purpose: str) -> None:
        self._failure = None
        super().ensure_open(purpose)


class ReadsASnapshot(InMemoryRepository[Parcel, str]):
    """Wrong variant: a unit of work sees the rows of its first read."""

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        found = await super().get(entity_id, uow)
        if not isinstance(uow, InMemoryTransaction):
            return found
        seen: dict[str, Parcel | None] = uow.__dict__.setdefault("seen", {})
        return seen.setdefault(entity_id, found)


@dataclass(frozen=True)
class Breaks:
    """A naive implementation and the contract test that must fail on it."""

    mutant: type[Any]
    test: Callable[..., Awaitable[None]]
    error: type[BaseException] = AssertionError


BROKER = MessagingContract()
CACHE = CacheContract()
EVENTS = EventStoreContract()
INBOX = InboxContract()
LOCKS = LockContract()
HEARTBEATS = HeartbeatStoreContract()
OUTBOX = OutboxContract()
ORDER = FifoLockContract()
ROWS = RepositoryContract()
MANY = BulkRepositoryContract()
WORK = UnitOfWorkContract()
READING = ReadOnlyUnitOfWorkContract()
STORES = ReadOnlyStoresContract()

MUTANTS: Collection[Breaks] = (
    Breaks(
        PositionsAtAppend, EVENTS.test_reader_of_all_events_never_skips_events_of_a_slow_transaction
    ),
    Breaks(
        PositionsAtAppend,
        EVENTS.test_reader_sees_exactly_the_events_that_concurrent_writers_committed,
    ),
    Breaks(WaitsAtGaps, EVENTS.test_reader_of_all_events_does_not_wait_for_rolled_back_events),
    Breaks(BatchInPieces, EVENTS.test_event_store_rejects_the_whole_batch_if_one_version_is_stored),
    Breaks(BatchInPieces, EVENTS.test_event_store_rejects_the_whole_batch_if_one_event_is_not_json),
    Breaks(ExpectsNothing, EVENTS.test_event_store_enforces_each_kind_of_expected_version),
    Breaks(
        OneKindOfConflict,
        EVENTS.test_reused_event_id_raises_duplicate_event_error,
        OptimisticConcurrencyError,
    ),
    Breaks(
        AppendsOutsideTheTransaction,
        EVENTS.test_uncommitted_events_are_visible_only_in_their_own_unit_of_work,
    ),
    Breaks(
        AppendsOutsideTheTransaction,
        EVENTS.test_rolled_back_events_leave_no_trace_in_the_event_store,
        Exception,
    ),
    Breaks(
        AppendsOutsideTheTransaction, EVENTS.test_event_payload_and_metadata_are_returned_as_json
    ),
    Breaks(EventsWithDoubles, EVENTS.test_event_store_returns_json_unchanged),
    Breaks(MessagesWithDoubles, OUTBOX.test_outbox_returns_json_unchanged),
    Breaks(OutcomesWithDoubles, INBOX.test_inbox_returns_the_outcome_of_a_message_unchanged),
    Breaks(CacheWithDoubles, CACHE.test_cache_returns_json_unchanged),
    Breaks(FirstIdWins, EVENTS.test_aggregate_types_that_share_an_id_have_separate_streams),
    Breaks(ChecksEachVersionAlone, EVENTS.test_event_versions_of_a_stream_ascend),
    Breaks(ReadsTheWholeStream, EVENTS.test_part_of_an_event_stream_can_be_read),
    Breaks(
        PositionsAtAppend,
        EVENTS.test_append_to_a_stream_returns_the_position_once_it_is_committed,
    ),
    Breaks(KeepsReferences, ROWS.test_repository_returns_an_independent_copy_of_the_aggregate),
    Breaks(CountsThePage, ROWS.test_count_of_a_search_includes_every_page_and_own_changes),
    Breaks(GetsNone, MANY.test_get_one_returns_the_aggregate_and_rejects_an_absent_id),
    Breaks(
        TakesBeyondThePage,
        ROWS.test_only_result_rejects_an_empty_page_and_a_second_item_on_it,
        MultipleResultsError,
    ),
    Breaks(TakesTheLast, ROWS.test_first_result_is_the_first_of_the_page_or_none),
    Breaks(TakesCopies, ROWS.test_first_result_in_a_unit_of_work_can_be_changed_and_saved),
    Breaks(LastWriterWins, ROWS.test_second_writer_of_an_aggregate_conflicts_and_keeps_its_events),
    Breaks(
        LastWriterWins, ROWS.test_new_aggregate_with_the_id_of_a_stored_aggregate_already_exists
    ),
    Breaks(
        TakesAnIdForARace,
        ROWS.test_new_aggregate_with_the_id_of_a_stored_aggregate_already_exists,
        OptimisticConcurrencyError,
    ),
    Breaks(
        ForgetsWhatWasAbsent,
        ROWS.test_id_that_another_writer_takes_after_it_was_looked_up_conflicts,
    ),
    Breaks(
        ForgetsWhatWasAbsent,
        ROWS.test_id_that_another_writer_takes_after_a_list_without_it_conflicts,
    ),
    Breaks(
        KeepsPrivateAttributes,
        ROWS.test_loaded_aggregate_has_the_defaults_of_its_private_attributes,
    ),
    Breaks(
        ChecksWhenAddedOnly,
        ROWS.test_no_update_of_an_aggregate_is_lost_with_many_concurrent_writers,
    ),
    Breaks(
        IgnoresTheUnitOfWork,
        ROWS.test_uncommitted_aggregate_is_visible_only_in_its_own_unit_of_work,
    ),
    Breaks(
        IgnoresTheUnitOfWork,
        ROWS.test_rollback_leaves_the_repository_and_the_aggregate_unchanged,
    ),
    Breaks(
        SavesOneByOne,
        MANY.test_add_many_with_the_id_of_a_stored_aggregate_saves_nothing_and_names_it,
    ),
    Breaks(SavesOneByOne, MANY.test_add_many_with_a_repeated_id_raises_and_saves_nothing),
    Breaks(ReadsTwice, MANY.test_add_many_rejects_a_generator_instead_of_saving_a_part_of_it),
    Breaks(RollsBackOnErrorsOnly, WORK.test_cancelled_unit_of_work_rolls_back),
    Breaks(
        SwallowsCancellation,
        WORK.test_unit_of_work_cancelled_at_any_point_stores_everything_or_nothing,
    ),
    Breaks(
        CommitsInTheCallersTask,
        WORK.test_unit_of_work_cancelled_at_any_point_stores_everything_or_nothing,
    ),
    Breaks(
        StopsAtAFailingHook,
        WORK.test_failing_commit_hook_affects_neither_the_commit_nor_other_hooks,
    ),
    Breaks(RunsHooksBeforeTheCommit, WORK.test_commit_hooks_do_not_run_after_a_rollback),
    Breaks(RunsHooksBeforeTheCommit, WORK.test_commit_hooks_run_in_order_after_the_commit),
    Breaks(AllowsConcurrentUse, WORK.test_unit_of_work_rejects_concurrent_use_by_two_tasks),
    Breaks(StaysOpen, WORK.test_finished_unit_of_work_rejects_further_work),
    Breaks(IgnoresReadOnly, READING.test_read_only_unit_of_work_rejects_a_save_and_a_deletion),
    Breaks(IgnoresReadOnly, READING.test_read_only_unit_of_work_rejects_commit_hooks),
    Breaks(
        IgnoresReadOnly,
        STORES.test_stores_of_a_read_only_unit_of_work_reject_every_write,
    ),
    Breaks(
        CommitsWhenReadOnly,
        READING.test_read_only_unit_of_work_reads_stored_aggregates_and_then_rolls_back,
    ),
    Breaks(
        ContinuesAfterARejectedWrite,
        READING.test_read_only_unit_of_work_can_only_be_rolled_back_after_a_write,
    ),
    Breaks(
        ReadsASnapshot,
        READING.test_read_only_unit_of_work_sees_what_others_commit_between_two_reads,
    ),
    Breaks(
        HandsOutItsEvents,
        EVENTS.test_change_to_an_event_that_was_read_does_not_reach_the_event_store,
    ),
    Breaks(
        KeepsTheCallersMessages,
        OUTBOX.test_change_to_a_message_after_its_save_does_not_reach_the_outbox,
    ),
    Breaks(
        HandsOutItsMessages,
        OUTBOX.test_change_to_a_message_that_was_read_does_not_reach_the_outbox,
    ),
    Breaks(HandsOutItsOutcomes, INBOX.test_change_to_an_outcome_does_not_reach_the_inbox),
    Breaks(DeliversOneObject, BROKER.test_each_delivery_of_a_message_has_content_of_its_own),
    Breaks(NoLeaseCheck, OUTBOX.test_relay_with_a_lost_lease_cannot_complete_or_fail_messages),
    Breaks(
        ClaimsRows, OUTBOX.test_claim_leases_a_partition_key_to_one_relay_with_its_messages_in_order
    ),
    Breaks(
        ClaimsRows, OUTBOX.test_relays_that_claim_concurrently_never_lease_the_same_partition_key
    ),
    Breaks(
        SavesOutsideTheTransaction,
        OUTBOX.test_outbox_message_is_visible_only_after_its_transaction_commits,
    ),
    Breaks(
        SkipsPoison, OUTBOX.test_failed_message_blocks_only_its_own_partition_key_until_its_retry
    ),
    Breaks(SkipsPoison, OUTBOX.test_messages_without_a_partition_key_do_not_block_each_other),
    Breaks(
        OneHeartbeatPerService,
        HEARTBEATS.test_heartbeat_replaces_the_last_one_of_its_service_and_instance,
    ),
    Breaks(
        TrustsTheClockOfTheHost,
        HEARTBEATS.test_age_of_a_heartbeat_is_measured_by_the_clock_of_the_store,
    ),
    Breaks(
        TrustsTheClockOfTheHost,
        HEARTBEATS.test_purge_of_heartbeats_deletes_those_of_an_age_only,
    ),
    Breaks(ReleasesAtOnce, OUTBOX.test_key_released_with_a_retry_time_is_blocked_and_counts_no_try),
    Breaks(CountsPendingMessages, OUTBOX.test_backlog_counts_each_unpublished_message_once),
    Breaks(
        CountsPendingMessages,
        OUTBOX.test_backlog_is_as_old_as_its_oldest_message_that_is_not_a_dead_letter,
    ),
    Breaks(
        PurgesEverything, OUTBOX.test_outbox_purge_deletes_only_messages_published_before_a_time
    ),
    Breaks(
        PurgesHandledMessages,
        INBOX.test_inbox_purge_deletes_only_messages_registered_before_a_time,
    ),
    Breaks(
        ReportsIdsFirst,
        EVENTS.test_batch_with_a_reused_id_and_a_taken_version_is_a_conflict,
        DuplicateEventError,
    ),
    Breaks(PurgesOpenTransactions, INBOX.test_inbox_purge_keeps_a_message_of_an_open_transaction),
    Breaks(
        CountsNoPurgedMessages,
        INBOX.test_purge_of_the_inbox_and_redeliveries_run_at_the_same_time,
    ),
    Breaks(PurgesInOneBatch, INBOX.test_inbox_purge_deletes_only_messages_registered_before_a_time),
    Breaks(FillsAnyway, CACHE.test_cache_drops_a_fill_that_raced_a_write_or_an_invalidation),
    Breaks(GrantsEveryLease, CACHE.test_cache_grants_one_fill_lease_per_key_at_a_time),
    Breaks(NeverExpiresValues, CACHE.test_cached_value_expires_after_its_ttl),
    Breaks(KeepsTheObject, CACHE.test_cache_returns_a_value_as_an_independent_json_copy),
    Breaks(
        KeepsOneSubscriber,
        BROKER.test_broker_delivers_the_whole_message_to_every_subscriber_of_its_topic,
    ),
    Breaks(AcknowledgesFirst, BROKER.test_broker_redelivers_a_message_after_its_handler_failed),
    Breaks(
        ChecksBeforeRegistering, INBOX.test_exactly_one_of_many_concurrent_deliveries_is_processed
    ),
    Breaks(
        RegistersOutsideTheTransaction,
        INBOX.test_message_of_a_rolled_back_delivery_is_not_registered_in_the_inbox,
        DuplicateCommandError,
    ),
    Breaks(
        RegistersOutsideTheTransaction,
        INBOX.test_redelivered_message_waits_until_the_first_delivery_commits,
    ),
    Breaks(OneConsumer, INBOX.test_inbox_consumers_register_the_same_message_independently),
    Breaks(IgnoresContent, INBOX.test_inbox_rejects_a_known_message_id_with_different_content),
    Breaks(ReleasesWithoutToken, LOCKS.test_only_its_holder_can_release_or_extend_a_lock),
    Breaks(NeverExpires, LOCKS.test_acquired_lock_expires_after_its_ttl),
    Breaks(SameToken, LOCKS.test_fencing_token_increases_with_each_holder),
    Breaks(KeepsCancelledWaiters, LOCKS.test_cancelled_waiter_never_holds_the_lock),
    Breaks(LastInFirstOut, ORDER.test_fifo_lock_serves_waiters_in_order_of_arrival),
    Breaks(NeverRenews, LOCKS.test_hold_keeps_the_lock_beyond_its_ttl),
    Breaks(NeverReportsTheLoss, LOCKS.test_lease_is_marked_lost_before_its_block_is_cancelled),
    Breaks(
        CancelsAnyway,
        LOCKS.test_hold_block_without_cancel_on_loss_keeps_running_and_can_see_the_loss,
    ),
    Breaks(
        ReleasesByName,
        LOCKS.test_hold_block_that_releases_its_lock_fails_and_the_next_holder_keeps_it,
    ),
    Breaks(
        KeepsCancelledWaiters,
        LOCKS.test_waiter_cancelled_at_any_point_never_holds_the_lock,
    ),
    Breaks(
        CommitsUnsavedEvents,
        WORK.test_commit_rejects_events_recorded_after_the_last_save,
    ),
)


@pytest.mark.parametrize(
    "breaks", MUTANTS, ids=lambda b: f"{b.mutant.__name__}-{b.test.__name__[5:45]}"
)
async def test_port_contract_catches_each_wrong_implementation(breaks: Breaks) -> None:
    store = breaks.mutant() if issubclass(breaks.mutant, InMemoryEventStore) else None
    rows = breaks.mutant(Parcel) if issubclass(breaks.mutant, InMemoryRepository) else None
    is_uow = issubclass(breaks.mutant, UnitOfWork)
    event_store = store or InMemoryEventStore()
    lock = breaks.mutant() if issubclass(breaks.mutant, InMemoryLockStrategy) else None
    outbox = breaks.mutant() if issubclass(breaks.mutant, InMemoryOutboxStorage) else None
    heartbeats = breaks.mutant() if issubclass(breaks.mutant, InMemoryHeartbeatStore) else None
    inbox = breaks.mutant() if issubclass(breaks.mutant, InMemoryInbox) else None
    cache = breaks.mutant() if issubclass(breaks.mutant, InMemoryCacheService) else None
    broker = (
        breaks.mutant() if issubclass(breaks.mutant, InMemoryMessageBus) else InMemoryMessageBus()
    )
    fixtures = {
        "cache": cache,
        "broker": broker,
        "deliver": broker.deliver,
        "heartbeats": heartbeats,
        "outbox": outbox,
        "inbox": inbox,
        "lock": lock,
        "other_lock": lock,
        "event_store": event_store,
        "parcels": rows or InMemoryRepository[Parcel, str](Parcel),
        "new_uow": lambda: (breaks.mutant if is_uow else InMemoryUnitOfWork)(event_store),
        "where": lambda attribute, operator, value: Equals(attribute, value),
        "options": QueryOptions,
        "new_read_only_uow": lambda: (breaks.mutant if is_uow else InMemoryUnitOfWork)(
            event_store, InMemoryOutboxStorage(), InMemoryInbox(), read_only=True
        ),
    }
    wanted = inspect.signature(breaks.test).parameters

    with pytest.raises(breaks.error):
        await breaks.test(**{name: fixtures[name] for name in wanted})


@pytest.mark.parametrize(
    ("test", "store"),
    [
        (EVENTS.test_event_store_rejects_ids_that_some_databases_cannot_store, InMemoryEventStore),
        (OUTBOX.test_outbox_rejects_ids_that_some_databases_cannot_store, InMemoryOutboxStorage),
        (INBOX.test_inbox_rejects_ids_that_some_databases_cannot_store, InMemoryInbox),
    ],
)
async def test_store_contract_catches_a_store_that_accepts_every_id(
    test: Callable[[Any], Awaitable[None]],
    store: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storable, "is_storable", lambda text: True)

    with pytest.raises((AssertionError, OptimisticConcurrencyError)):
        await test(store())
