"""Wrong adapters, and the contract test that each of them fails on a database."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cqrs_ddd_core import get_current_uow
from cqrs_ddd_core.ports import (
    Heartbeat,
    InboxEntry,
    OutboxBacklog,
    OutboxLease,
    OutboxMessage,
    StoredEvent,
    UnitOfWork,
)
from cqrs_ddd_core.primitives.exceptions import OptimisticConcurrencyError, PersistenceError
from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.event_store import EventStoreContract
from cqrs_ddd_core.testing.contracts.heartbeats import HeartbeatStoreContract
from cqrs_ddd_core.testing.contracts.inbox import InboxContract
from cqrs_ddd_core.testing.contracts.outbox import OutboxContract
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract
from cqrs_ddd_core.testing.contracts.unit_of_work import (
    ReadOnlyStoresContract,
    ReadOnlyUnitOfWorkContract,
    UnitOfWorkContract,
)
from cqrs_ddd_core.unit_of_work import TrackedAggregates
from cqrs_ddd_persistence_sqlalchemy import (
    SQLAlchemyEventStore,
    SQLAlchemyHeartbeatStore,
    SQLAlchemyInbox,
    SQLAlchemyOutboxStorage,
    SQLAlchemyUnitOfWork,
    Tables,
)
from cqrs_ddd_persistence_sqlalchemy.engine import driver
from cqrs_ddd_persistence_sqlalchemy.engine.sqlite import QUERY_ONLY
from cqrs_ddd_persistence_sqlalchemy.engine.transaction import SQLAlchemyTransaction
from cqrs_ddd_persistence_sqlalchemy.outbox import statements
from cqrs_ddd_persistence_sqlalchemy.repository.statements import KNOWN_VERSION
from tests.persistence_sqlalchemy.conftest import SessionFactory
from tests.persistence_sqlalchemy.parcels import Parcels

POSTGRES = ("postgres",)
SQLITE = ("sqlite",)
BOTH = ("sqlite", "postgres")


class VisiblePositionsStore(SQLAlchemyEventStore):
    """Event store that treats every visible position as the next position."""

    async def _find_end(self, connection: AsyncConnection) -> int:
        return 2**62


class GapWaitingStore(SQLAlchemyEventStore):
    """Event store that waits at every gap as if a transaction were still running."""

    async def get_events_after(self, position: int, limit: int = 1000) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for event in await super().get_events_after(position, limit):
            if event.position != position + 1:
                break
            found.append(event)
            position += 1
        return found


class OneByOneStore(SQLAlchemyEventStore):
    """Event store that appends each event in a transaction of its own."""

    async def append_batch(self, events: list[StoredEvent]) -> None:
        for event in events:
            await super().append_batch([event])


class ErrorIgnoringStore(SQLAlchemyEventStore):
    """Event store that ignores errors of an insert."""

    async def _insert(
        self, uow: SQLAlchemyTransaction, events: Sequence[StoredEvent], rows: list[Any]
    ) -> None:
        try:
            await super()._insert(uow, events, rows)
        except Exception:
            return


class SeparateTransactionStore(SQLAlchemyEventStore):
    """Adapter that ignores the open unit of work and uses a transaction of its own."""

    async def append_batch(self, events: list[StoredEvent]) -> None:
        session_factory = self._connections.session_factory
        own = SQLAlchemyUnitOfWork(session_factory=session_factory, tables=self._tables)
        async with own:
            await SQLAlchemyEventStore(tables=self._tables, uow=own).append_batch(events)


class CallerTaskUnitOfWork(SQLAlchemyUnitOfWork):
    commits_in_task = False


class CommittingRollbackUnitOfWork(SQLAlchemyUnitOfWork):
    """Unit of work that commits, at its rollback, the statements sent before a cancellation."""

    async def rollback(self) -> None:
        if self._connection is not None:
            await self._send_commit()
        await super().rollback()


class UnleasedMarksOutbox(SQLAlchemyOutboxStorage):
    async def _select_held(
        self, connection: AsyncConnection, given: Sequence[OutboxLease]
    ) -> list[int]:
        return [lease.epoch for lease in given]


class ReleasedLeasesOutbox(SQLAlchemyOutboxStorage):
    """Outbox that releases every lease at once."""

    async def claim(
        self, relay_id: str, *, limit: int = 100, lease: float = 30.0
    ) -> list[OutboxLease]:
        leases = await super().claim(relay_id, limit=limit, lease=lease)
        for each in leases:
            await self.release(each)
        return leases


class ClaimBeforeCompleteOutbox(SQLAlchemyOutboxStorage):
    """Outbox that claims the next messages while it still holds the last lease."""

    async def complete_and_claim(
        self,
        published: Sequence[tuple[OutboxLease, Sequence[str]]],
        relay_id: str,
        *,
        limit: int = 100,
        lease: float = 30.0,
    ) -> tuple[list[OutboxLease], list[OutboxLease]]:
        leases = await self.claim(relay_id, limit=limit, lease=lease)
        return await self.complete_batch(published), leases


class SeparateTransactionOutbox(SQLAlchemyOutboxStorage):
    """Adapter that ignores the open unit of work and uses a transaction of its own."""

    async def save_messages(
        self, messages: list[OutboxMessage], uow: UnitOfWork | None = None
    ) -> None:
        async with SQLAlchemyUnitOfWork(session_factory=self._connections.session_factory) as own:
            await super().save_messages(messages, own)


class UncommittedBacklogOutbox(SQLAlchemyOutboxStorage):
    """Outbox that counts messages of the open transaction, which no relay can claim yet."""

    async def get_backlog(self) -> OutboxBacklog:
        async with self._connections.read_connection(None, "count messages") as connection:
            now = driver.get_database_time(connection)
            query = statements.select_backlog(self._tables, now, None)
            return OutboxBacklog(**(await connection.execute(query)).one()._mapping)


class JoiningHeartbeats(SQLAlchemyHeartbeatStore):
    """Store that writes heartbeats in the open unit of work, which may take long or roll back."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        uow = get_current_uow()
        assert isinstance(uow, SQLAlchemyTransaction)
        connection = await uow.connection()
        rows = [{**vars(each), "beat_at": each.started_at} for each in heartbeats]
        await connection.execute(insert(self._table), rows)


class UnconstrainedInbox(SQLAlchemyInbox):
    """Inbox without a unique key: it reads before it inserts."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        inbox = self._tables.inbox
        async with self._connections.join_transaction(uow, "register") as active:
            connection = await active.connection()
            known = await connection.execute(select(inbox).where(inbox.c.message_id == message_id))
            return InboxEntry(consumer, message_id, "print") if known.first() else None


class SeparateTransactionInbox(SQLAlchemyInbox):
    """Adapter that ignores the open unit of work and uses a transaction of its own."""

    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        async with SQLAlchemyUnitOfWork(session_factory=self._connections.session_factory) as own:
            return await super().register(consumer, message_id, fingerprint, own)


class UnversionedParcels(Parcels):
    """Repository that updates by the id alone, without the version."""

    def __init__(self, session_factory: SessionFactory, schema: str | None) -> None:
        super().__init__(session_factory, schema)
        for sql in self._statements.values():
            sql.update = update(self.mapper.table).where(
                sql.is_known_id, literal(-1) < bindparam(KNOWN_VERSION)
            )


class StoredVersionParcels(Parcels):
    """Repository that expects the stored version instead of the loaded one."""

    async def add(self, entity: Parcel, uow: UnitOfWork | None = None) -> str:
        stored = await self.get(entity.id, uow)
        if stored is not None:
            entity.mark_persisted(stored.version)
        return await super().add(entity, uow)


class UntrackedSavesParcels(Parcels):
    """Repository that expects the loaded version even after its own save."""

    async def add(self, entity: Parcel, uow: UnitOfWork | None = None) -> str:
        if uow is not None:
            uow.aggregates = TrackedAggregates()
        return await super().add(entity, uow)


class OneByOneParcels(Parcels):
    """Repository that saves each of many aggregates in a transaction of its own."""

    async def add_many(
        self, entities: Sequence[Parcel], uow: UnitOfWork | None = None
    ) -> list[str]:
        return [await self.add(entity, uow) for entity in entities]


class SeparateTransactionParcels(Parcels):
    """Adapter that ignores the open unit of work and uses a transaction of its own."""

    async def _save(
        self, entities: Sequence[Parcel], uow: UnitOfWork | None, operation: str
    ) -> None:
        async with SQLAlchemyUnitOfWork(session_factory=self._connections.session_factory) as own:
            await super()._save(entities, own, operation)


class UnorderedParcels(Parcels):
    """Repository that lists aggregates by ids in the order of the database."""

    async def list_all(
        self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
    ) -> list[Parcel]:
        found = await super().list_all(entity_ids, uow)
        return sorted(found, key=lambda parcel: parcel.id)


class UnenforcedReadOnlyUnitOfWork(SQLAlchemyUnitOfWork):
    """Unit of work that says read-only, but lets the database write."""

    async def driver_connection(self) -> AsyncConnection:
        only_reads, self.read_only = self.read_only, False
        try:
            return await super().driver_connection()
        finally:
            self.read_only = only_reads


class QueryOnlyLeakUnitOfWork(SQLAlchemyUnitOfWork):
    """Unit of work that leaves ``query_only`` set on the pooled connection."""

    async def driver_connection(self) -> AsyncConnection:
        connection = await super().driver_connection()
        assert connection.sync_connection is not None
        connection.sync_connection.connection.info.pop(QUERY_ONLY, None)
        return connection


@dataclass(frozen=True)
class Mutant:
    """Wrong adapter, the contract test that must fail on it, and the databases."""

    adapter: type[Any]
    test: Callable[..., Awaitable[None]]
    backends: tuple[str, ...] = BOTH
    error: type[BaseException] = AssertionError


EVENTS = EventStoreContract()
INBOX = InboxContract()
HEARTBEATS = HeartbeatStoreContract()
OUTBOX = OutboxContract()
WORK = UnitOfWorkContract()
READING = ReadOnlyUnitOfWorkContract()
STORES = ReadOnlyStoresContract()
ROWS = RepositoryContract()
MANY = BulkRepositoryContract()

MUTANTS: Collection[Mutant] = (
    # SQLite has one writer, so no transaction overtakes another.
    Mutant(
        VisiblePositionsStore,
        EVENTS.test_reader_of_all_events_never_skips_events_of_a_slow_transaction,
        POSTGRES,
    ),
    Mutant(
        GapWaitingStore,
        EVENTS.test_reader_of_all_events_does_not_wait_for_rolled_back_events,
        POSTGRES,
    ),
    Mutant(OneByOneStore, EVENTS.test_event_store_rejects_the_whole_batch_if_one_version_is_stored),
    Mutant(OneByOneStore, EVENTS.test_event_store_rejects_the_whole_batch_if_one_event_is_not_json),
    Mutant(
        ErrorIgnoringStore,
        EVENTS.test_event_store_rejects_the_whole_batch_if_one_version_is_stored,
        error=Exception,
    ),
    Mutant(ErrorIgnoringStore, EVENTS.test_only_one_concurrent_writer_appends_a_given_version),
    Mutant(
        SeparateTransactionStore,
        EVENTS.test_uncommitted_events_are_visible_only_in_their_own_unit_of_work,
    ),
    Mutant(
        SeparateTransactionStore,
        EVENTS.test_rolled_back_events_leave_no_trace_in_the_event_store,
        error=Exception,
    ),
    Mutant(
        CallerTaskUnitOfWork,
        WORK.test_unit_of_work_cancelled_at_any_point_stores_everything_or_nothing,
    ),
    Mutant(CommittingRollbackUnitOfWork, WORK.test_cancelled_unit_of_work_rolls_back),
    Mutant(
        UnenforcedReadOnlyUnitOfWork,
        READING.test_read_only_unit_of_work_rejects_a_save_and_a_deletion,
    ),
    Mutant(
        UnenforcedReadOnlyUnitOfWork,
        READING.test_read_only_unit_of_work_can_only_be_rolled_back_after_a_write,
    ),
    Mutant(
        UnenforcedReadOnlyUnitOfWork,
        STORES.test_stores_of_a_read_only_unit_of_work_reject_every_write,
    ),
    Mutant(
        QueryOnlyLeakUnitOfWork,
        READING.test_writers_are_not_affected_by_a_read_only_unit_of_work_cancelled_at_any_point,
        SQLITE,
        PersistenceError,
    ),
    Mutant(
        UnleasedMarksOutbox, OUTBOX.test_relay_with_a_lost_lease_cannot_complete_or_fail_messages
    ),
    Mutant(
        ReleasedLeasesOutbox,
        OUTBOX.test_claim_leases_a_partition_key_to_one_relay_with_its_messages_in_order,
    ),
    Mutant(
        ClaimBeforeCompleteOutbox,
        OUTBOX.test_complete_and_claim_completes_messages_and_leases_the_next_in_one_call,
    ),
    Mutant(
        SeparateTransactionOutbox,
        OUTBOX.test_outbox_message_is_visible_only_after_its_transaction_commits,
    ),
    Mutant(JoiningHeartbeats, HEARTBEATS.test_heartbeat_is_visible_before_the_unit_of_work_ends),
    Mutant(UncommittedBacklogOutbox, OUTBOX.test_backlog_counts_committed_messages_only),
    Mutant(UnconstrainedInbox, INBOX.test_exactly_one_of_many_concurrent_deliveries_is_processed),
    Mutant(
        SeparateTransactionInbox,
        INBOX.test_message_of_a_rolled_back_delivery_is_not_registered_in_the_inbox,
        error=Exception,
    ),
    Mutant(
        UnversionedParcels,
        ROWS.test_second_writer_of_an_aggregate_conflicts_and_keeps_its_events,
    ),
    Mutant(
        UnversionedParcels,
        ROWS.test_no_update_of_an_aggregate_is_lost_with_many_concurrent_writers,
    ),
    Mutant(
        StoredVersionParcels,
        ROWS.test_new_aggregate_with_the_id_of_a_stored_aggregate_already_exists,
    ),
    Mutant(
        UntrackedSavesParcels,
        ROWS.test_saved_aggregate_can_be_changed_and_saved_again,
        error=OptimisticConcurrencyError,
    ),
    Mutant(
        OneByOneParcels,
        MANY.test_add_many_with_the_id_of_a_stored_aggregate_saves_nothing_and_names_it,
    ),
    Mutant(
        SeparateTransactionParcels,
        ROWS.test_rollback_leaves_the_repository_and_the_aggregate_unchanged,
    ),
    Mutant(
        UnorderedParcels,
        ROWS.test_list_all_returns_requested_ids_in_order_without_duplicates_or_gaps,
    ),
)


@pytest.fixture
async def engine(forgetful_engine: AsyncEngine) -> AsyncEngine:
    return forgetful_engine


@pytest.mark.parametrize(
    ("backend", "mutant"),
    [(backend, mutant) for mutant in MUTANTS for backend in mutant.backends],
    ids=lambda value: (
        value if isinstance(value, str) else f"{value.adapter.__name__}-{value.test.__name__[5:45]}"
    ),
    indirect=["backend"],
)
async def test_port_contract_catches_each_wrong_sqlalchemy_adapter(
    mutant: Mutant, engine: AsyncEngine, session_factory: SessionFactory, tables: Tables
) -> None:
    def create(kind: type[Any]) -> Any:
        chosen = mutant.adapter if issubclass(mutant.adapter, kind) else kind
        return chosen(session_factory=session_factory, tables=tables)

    def new_uow() -> SQLAlchemyUnitOfWork:
        uow: SQLAlchemyUnitOfWork = create(SQLAlchemyUnitOfWork)
        if issubclass(mutant.adapter, SQLAlchemyEventStore):
            # Replaces the event store of the unit of work.
            uow.event_store = mutant.adapter(session_factory, tables=tables, uow=uow)
        return uow

    def new_read_only_uow() -> SQLAlchemyUnitOfWork:
        is_uow = issubclass(mutant.adapter, SQLAlchemyUnitOfWork)
        kind = mutant.adapter if is_uow else SQLAlchemyUnitOfWork
        return kind(session_factory=session_factory, tables=tables, read_only=True)

    kind = mutant.adapter if issubclass(mutant.adapter, Parcels) else Parcels
    parcels = kind(session_factory, tables.schema)
    async with engine.begin() as connection:
        await connection.run_sync(parcels.metadata.create_all)
    fixtures = {
        "event_store": create(SQLAlchemyEventStore),
        "heartbeats": create(SQLAlchemyHeartbeatStore),
        "outbox": create(SQLAlchemyOutboxStorage),
        "inbox": create(SQLAlchemyInbox),
        "parcels": parcels,
        "new_uow": new_uow,
        "new_read_only_uow": new_read_only_uow,
    }
    wanted = inspect.signature(mutant.test).parameters

    with pytest.raises(mutant.error):
        await mutant.test(**{name: fixtures[name] for name in wanted})
