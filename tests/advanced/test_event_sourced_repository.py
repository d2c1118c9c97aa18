"""Tests of the event-sourced repository: its construction, its limits and its errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from pydantic import Field

from cqrs_ddd_advanced_core.adapters.memory import InMemorySnapshotStore
from cqrs_ddd_advanced_core.event_sourcing import (
    EventSourcedLoader,
    EventSourcedMediator,
    EventSourcedRepository,
)
from cqrs_ddd_advanced_core.exceptions import PastStateError
from cqrs_ddd_advanced_core.persistence import PersistenceDispatcher, PersistenceRegistry
from cqrs_ddd_advanced_core.ports.persistence import IOperationPersistence, IRetrievalPersistence
from cqrs_ddd_advanced_core.snapshots import EveryNEventsStrategy
from cqrs_ddd_advanced_core.upcasting import add_upcasting
from cqrs_ddd_core import (
    AggregateRoot,
    Command,
    CommandHandler,
    DomainEvent,
    EventTypeRegistry,
    HandlerRegistry,
    IRepository,
    StoredEvent,
    StreamId,
)
from cqrs_ddd_core.adapters.memory import (
    InMemoryEventStore,
    InMemoryOutboxStorage,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.middleware import OutboxMiddleware
from cqrs_ddd_core.ports import IEventStore
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    InvalidOperationError,
    NaiveDatetimeError,
    UnknownTypeError,
)
from tests.advanced.accounts import Account, SourcedAccountOpened, SourcedPaidIn, new_account_id

T = TypeVar("T", bound=AggregateRoot[Any])
EventSourced = EventSourcedRepository


class Accounts(EventSourcedRepository[Account, str]):
    pass


class GenericAccounts(EventSourcedRepository[T, str]):
    pass


class IndirectAccounts(GenericAccounts[Account]):
    pass


@pytest.fixture
def events() -> InMemoryEventStore:
    return InMemoryEventStore()


@pytest.fixture
def accounts(events: InMemoryEventStore) -> Accounts:
    return Accounts(event_store=events)


@pytest.mark.parametrize(
    "make",
    [
        Accounts,
        IndirectAccounts,
        EventSourcedRepository[Account, str],
        lambda: EventSourced(Account),
        lambda: EventSourced(loader=EventSourcedLoader(Account)),
    ],
)
async def test_event_sourced_repository_finds_its_type_in_brackets_or_arguments(
    make: Any, events: InMemoryEventStore
) -> None:
    repository = make()
    account = Account.open(new_account_id())

    async with InMemoryUnitOfWork(event_store=events):
        await repository.add(account)
        found = await repository.get(account.id)

    assert repository.entity_type is Account
    assert found == account


def test_event_sourced_repository_has_the_repository_and_the_dispatcher_roles() -> None:
    assert isinstance(Accounts(), IRepository)
    assert isinstance(Accounts(), IOperationPersistence)
    assert isinstance(Accounts(), IRetrievalPersistence)


async def test_event_sourced_repository_without_an_aggregate_type_is_an_error() -> None:
    class Untyped(EventSourcedRepository[T, str]):
        pass

    with pytest.raises(ConfigError, match="Untyped does not name the class of its aggregates"):
        await Untyped(event_store=InMemoryEventStore()).get("a")


def test_repository_rejects_arguments_that_its_loader_would_ignore() -> None:
    snapshots = InMemorySnapshotStore()

    with pytest.raises(ConfigError, match="a loader has its own snapshots"):
        Accounts(loader=EventSourcedLoader(Account), snapshot_store=snapshots)
    with pytest.raises(ConfigError, match="strategy needs a store"):
        Accounts(strategy=EveryNEventsStrategy(2))


async def test_event_sourced_repository_without_an_event_store_names_the_remedy() -> None:
    with pytest.raises(InvalidOperationError, match="no unit of work is given or open"):
        await Accounts().get("a")
    with pytest.raises(InvalidOperationError, match="has no event store"):
        async with InMemoryUnitOfWork() as uow:
            await Accounts().get("a", uow)


async def test_repository_with_its_own_event_store_joins_the_entered_unit_of_work(
    accounts: Accounts, events: InMemoryEventStore
) -> None:
    account, other = Account.open(new_account_id()), InMemoryUnitOfWork(event_store=events)

    async with InMemoryUnitOfWork() as uow:
        await accounts.add(account, uow)
        with pytest.raises(InvalidOperationError, match="not in the given one"):
            await accounts.add(account, other)
        await uow.rollback()
    with pytest.raises(InvalidOperationError, match="the unit of work is rolled back"):
        await accounts.add(account, uow)

    assert await events.get_events(account.id) == []
    await accounts.add(account)
    assert account.version == 1


async def test_event_sourced_repository_works_with_the_small_event_store_port(
    events: InMemoryEventStore,
) -> None:
    class SmallEventStore:
        def __init__(self) -> None:
            self.append, self.append_batch = events.append, events.append_batch
            self.get_events_after = events.get_events_after

        async def get_events(
            self, aggregate_id: str, *, after_version: int = 0
        ) -> list[StoredEvent]:
            return await events.get_events(aggregate_id, after_version=after_version)

    store: IEventStore = SmallEventStore()
    accounts, many = Accounts(event_store=store), [Account.open(new_account_id()) for _ in "ab"]

    await accounts.add_many(many)

    assert await accounts.list_all([account.id for account in many]) == many


async def test_event_sourced_repository_rejects_search_delete_and_list_without_ids(
    accounts: Accounts,
) -> None:
    with pytest.raises(InvalidOperationError, match="Accounts keeps events, so it cannot search"):
        await accounts.search(object())
    with pytest.raises(InvalidOperationError, match="cannot delete a-1; record an event"):
        await accounts.delete("a-1")
    with pytest.raises(
        InvalidOperationError, match="cannot list all without ids; search a projection"
    ):
        await accounts.list_all()


async def test_new_aggregate_without_events_is_rejected_and_a_stored_one_is_unchanged(
    accounts: Accounts, events: InMemoryEventStore
) -> None:
    with pytest.raises(InvalidOperationError, match="is new and has recorded no event"):
        await accounts.add(Account(id=new_account_id(), owner="ada"))
    account = Account.open(new_account_id())
    await accounts.add(account)

    await accounts.add(account)

    assert account.version == 1
    assert len(await events.get_events(account.id)) == 1


async def test_persist_needs_all_events_that_were_collected_from_the_aggregate(
    accounts: Accounts, events: InMemoryEventStore
) -> None:
    account = Account.open(new_account_id())
    account.pay_in(1)
    collected = account.collect_events()
    account.pay_in(2)

    async with InMemoryUnitOfWork(event_store=events) as uow:
        with pytest.raises(InvalidOperationError, match=r"given events have the versions \[3\]"):
            await accounts.persist(account, uow)
        with pytest.raises(InvalidOperationError, match=r"given events have the versions \[1, 2\]"):
            await accounts.persist(account, uow, collected)
        answer = await accounts.persist(account, uow, [*collected, *account.collect_events()])
        assert [event.aggregate_version for event in uow.aggregates.drain_new_events()] == [1, 2, 3]

    assert answer == account.id
    assert account.version == 3
    assert len(await events.get_events(account.id)) == 3


async def test_persist_rejects_an_event_that_the_aggregate_has_not_recorded(
    accounts: Accounts,
) -> None:
    account = Account.open(new_account_id())

    async with InMemoryUnitOfWork() as uow:
        with pytest.raises(InvalidOperationError, match="that it has not recorded"):
            await accounts.persist(account, uow, [*account.pending_events, SourcedPaidIn(amount=1)])
        await uow.rollback()


async def test_event_outside_the_given_registry_is_not_written(
    events: InMemoryEventStore,
) -> None:
    table = EventTypeRegistry()
    table.register(SourcedAccountOpened)
    accounts, account = Accounts(event_store=events, registry=table), Account.open("a-closed")
    account.pay_in(1)

    with pytest.raises(UnknownTypeError, match="'SourcedPaidIn'"):
        await accounts.add(account)

    assert await events.get_events(account.id) == []


def test_stored_event_has_the_tenant_of_the_request_context() -> None:
    account = Account.open(new_account_id())
    (event,) = account.pending_events

    with request_context(tenant_id="t-1"):
        stored = EventSourcedLoader(Account).to_stored(event)
    back = add_upcasting(Account.event_registry).decode(stored)

    assert stored.metadata == {"tenant_id": "t-1"}
    assert back.model_dump(exclude={"metadata"}) == event.model_dump(exclude={"metadata"})
    assert back.metadata == {"tenant_id": "t-1"}


async def test_aggregate_ids_that_are_not_text_keep_their_type(events: InMemoryEventStore) -> None:
    class Ticket(AggregateRoot[UUID]):
        event_registry = EventTypeRegistry()
        note: str = ""

        def apply_SourcedAccountOpened(self, event: SourcedAccountOpened) -> None:
            self.note = event.owner

    Ticket.event_registry.register(SourcedAccountOpened)
    tickets = EventSourced[Ticket, UUID](Ticket, event_store=events)
    ticket = Ticket(id=uuid4())
    ticket.add_event(SourcedAccountOpened(owner="ada"))

    await tickets.add(ticket)

    assert await tickets.get(ticket.id) == ticket


async def test_stream_with_a_missing_version_cannot_be_loaded(
    accounts: Accounts, events: InMemoryEventStore
) -> None:
    account = Account.open(new_account_id())
    account.pay_in(1)
    account.pay_in(2)
    first, _, third = map(StoredEvent.from_event, account.pending_events)
    await events.append_batch([first, third])

    with pytest.raises(InvalidOperationError, match="has version 3 where version 2 should be"):
        await accounts.get(account.id)


async def test_past_state_needs_a_positive_version_or_an_aware_time(accounts: Accounts) -> None:
    account = Account.open(new_account_id())
    await accounts.add(account)

    with pytest.raises(InvalidOperationError, match="pass either version=, a number"):
        await accounts.load(account.id, version=1, at=datetime.now().astimezone())
    wrong: Any
    for wrong in (0, "2", True, 1.0):
        with pytest.raises(InvalidOperationError, match=f"got version={wrong!r}, at=None"):
            await accounts.load(account.id, version=wrong)
    for wrong in ("2026-01-01", 3):
        with pytest.raises(InvalidOperationError, match=f"got version=None, at={wrong!r}"):
            await accounts.load(account.id, at=wrong)
    with pytest.raises(NaiveDatetimeError):
        await accounts.load(account.id, at=datetime(2026, 1, 1))
    assert await accounts.load(account.id) == account


@pytest.mark.parametrize(
    "copied",
    [
        lambda past: past,
        copy.copy,
        copy.deepcopy,
        lambda past: past.model_copy(),
        lambda past: past.model_copy(update={"owner": "bob"}, deep=True),
        lambda past: pickle.loads(pickle.dumps(past)),
    ],
)
async def test_past_state_and_copies_of_it_cannot_be_saved(
    accounts: Accounts, copied: Callable[[Account], Account]
) -> None:
    account = Account.open(new_account_id())
    await accounts.add(account)
    past = await accounts.load(account.id, version=1)
    assert past == account
    assert past is not None

    changed = copied(past)
    changed.pay_in(1)

    with pytest.raises(PastStateError) as caught:
        await accounts.add(changed)
    assert (caught.value.aggregate_id, caught.value.version) == (account.id, 1)


async def test_past_state_at_a_time_ends_with_the_last_event_that_had_occurred(
    accounts: Accounts, events: InMemoryEventStore
) -> None:
    account = Account.open(new_account_id())
    for amount in (1, 2, 4):
        account.pay_in(amount)
    noon = datetime(2026, 1, 1, 12).astimezone()
    # The clock of the machine that recorded version 3 was fast.
    minutes = (0, 1, 9, 2)
    for event, minute in zip(account.pending_events, minutes, strict=True):
        event.__dict__["occurred_at"] = noon.replace(minute=minute)
    await accounts.add(account)

    found = [await accounts.load(account.id, at=noon.replace(minute=m)) for m in (0, 1, 2)]

    assert [past and past.balance for past in found] == [0, 1, 7]


async def test_loading_many_ids_is_one_read_of_the_event_store(events: InMemoryEventStore) -> None:
    reads: list[str] = []

    class CountingEventStore(InMemoryEventStore):
        async def get_events(self, *args: Any, **kwargs: Any) -> list[StoredEvent]:
            reads.append("get_events")
            return await super().get_events(*args, **kwargs)

        async def get_streams(self, *args: Any, **kwargs: Any) -> dict[StreamId, list[StoredEvent]]:
            reads.append("get_streams")
            return await super().get_streams(*args, **kwargs)

    accounts = Accounts(event_store=CountingEventStore())
    many = [Account.open(new_account_id()) for _ in range(20)]
    await accounts.add_many(many)

    assert await accounts.list_all([account.id for account in many]) == many
    assert reads == ["get_streams"]


async def test_loading_a_past_version_reads_no_later_events() -> None:
    read: list[StoredEvent] = []

    class RecordingEventStore(InMemoryEventStore):
        async def get_events(self, *args: Any, **kwargs: Any) -> list[StoredEvent]:
            found = await super().get_events(*args, **kwargs)
            read.extend(found)
            return found

    accounts = Accounts(event_store=RecordingEventStore())
    account = Account.open(new_account_id())
    for amount in (1, 2, 4):
        account.pay_in(amount)
    await accounts.add(account)

    past = await accounts.load(account.id, version=2)

    assert past is not None
    assert (past.balance, past.version) == (1, 2)
    assert [event.version for event in read] == [1, 2]
    assert await accounts.load(account.id, version=5) is None


async def test_subclass_with_another_aggregate_type_is_rejected_by_the_repository(
    accounts: Accounts,
) -> None:
    class SavingsAccount(Account):
        pass

    with pytest.raises(InvalidOperationError, match="keeps streams of Account"):
        await accounts.add(SavingsAccount.open(new_account_id()))


async def test_event_sourced_repository_serves_the_persistence_dispatcher(
    events: InMemoryEventStore,
) -> None:
    registry = PersistenceRegistry()
    registry.register_operation(Account, Accounts, priority=1)
    registry.register_operation(Account, IndirectAccounts)
    registry.register_retrieval(Account, Accounts)
    dispatcher = PersistenceDispatcher(
        uow_factories={"default": lambda: InMemoryUnitOfWork(event_store=events)},
        registry=registry,
    )
    account = Account.open(new_account_id())

    answer = await dispatcher.apply(account)
    account.pay_in(3)
    await dispatcher.apply(account, events=account.collect_events())
    found = await dispatcher.fetch_domain(Account, [account.id, "none"])

    assert answer == account.id
    assert found == [account]
    assert found[0].version == account.version == 2


class Open(Command[str]):
    account_id: str


class Visits(AggregateRoot[str]):
    event_registry = EventTypeRegistry()
    total: int = 0


class Visited(DomainEvent):
    pass


class OpenHandler(CommandHandler[str]):
    """Handler that saves one aggregate as events and another one as a row."""

    def __init__(self, visits: InMemoryRepository[Visits, str]) -> None:
        self._visits = visits

    async def handle(self, command: Open) -> str:
        account = Account.open(command.account_id)
        await Accounts().add(account)
        account.pay_in(1)
        await Accounts().add(account)
        visits = Visits(id=command.account_id)
        visits.add_event(Visited())
        await self._visits.add(visits)
        return account.id


async def test_mediator_writes_every_event_once_to_event_store_and_outbox(
    events: InMemoryEventStore,
) -> None:
    outbox, visits = InMemoryOutboxStorage(), InMemoryRepository[Visits, str](Visits)
    handlers = HandlerRegistry()
    handlers.register_command_handler(Open, OpenHandler(visits))
    mediator = EventSourcedMediator(
        handlers,
        uow_factory=lambda: InMemoryUnitOfWork(event_store=events, outbox=outbox),
        outbox=OutboxMiddleware(),
    )

    response = await mediator.send(Open(account_id="a-mixed"))

    event_types = [event.event_type for event in response.events]
    assert sorted(event_types) == ["SourcedAccountOpened", "SourcedPaidIn", "Visited"]
    streams = await events.get_streams(
        [StreamId("Account", "a-mixed"), StreamId("Visits", "a-mixed")]
    )
    assert [len(stream) for stream in streams.values()] == [2, 1]
    assert [message.event_type for message in await outbox.get_pending()] == event_types
    assert mediator.explain(Open).inside == ("OutboxMiddleware", "EventStorePersistenceMiddleware")


async def test_rows_and_events_of_one_aggregate_can_be_saved_in_one_unit_of_work(
    events: InMemoryEventStore,
) -> None:
    rows, accounts = InMemoryRepository[Account, str](Account), Accounts()
    account = Account.open(new_account_id())

    for order in ((rows, accounts), (accounts, rows)):
        account.pay_in(1)
        async with InMemoryUnitOfWork(event_store=events) as uow:
            for repository in order:
                await repository.add(account, uow)

    assert account.version == 3
    assert len(await events.get_events(account.id)) == 3


def test_repository_rejects_snapshots_of_a_type_whose_json_loses_fields() -> None:
    class Hidden(AggregateRoot[str]):
        secret: str = Field(default="", exclude=True)

    class Hiding(EventSourcedRepository[Hidden, str]):
        pass

    with pytest.raises(ConfigError, match="Hidden cannot have snapshots"):
        Hiding(snapshot_store=InMemorySnapshotStore())
    with pytest.raises(ConfigError, match="Hidden cannot have snapshots"):
        EventSourced(Hidden, snapshot_store=InMemorySnapshotStore())
    Hiding()
