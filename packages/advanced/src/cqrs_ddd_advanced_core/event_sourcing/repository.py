"""Repository that keeps aggregates as their events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, NoReturn, get_args, get_origin

from cqrs_ddd_core import ID, AggregateRoot, DomainEvent, EventTypeRegistry, get_current_uow
from cqrs_ddd_core.ports import IBulkRepository, IEventStore, IEventStoreProvider, UnitOfWork
from cqrs_ddd_core.ports.event_store import StoredEvent
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.spi.checks import ensure_distinct, ensure_entity_type

from ..exceptions import PastStateError
from ..ports.persistence import IOperationPersistence, IRetrievalPersistence, T
from ..ports.snapshots import ISnapshotStore
from ..snapshots import AggregateSnapshots, SnapshotStrategy
from .loader import EventSourcedLoader


class EventSourcedRepository(
    IBulkRepository[T, ID],
    IOperationPersistence[T, ID],
    IRetrievalPersistence[T, ID],
    Generic[T, ID],
):
    """Repository that keeps events: ``class Orders(EventSourcedRepository[Order, str])``.

    Saving appends the events that were recorded since the loaded version, in the unit of work. An
    aggregate without new events is not written; a new aggregate without events is an error.
    Searching, deleting, and listing without ids raise ``InvalidOperationError``.

    Args:
        entity_type: class of the aggregates; by default the class in the brackets.
        event_store: by default the event store of the unit of work.
        loader: loads the aggregates, with its own snapshots and event registry.
        snapshot_store: store of the snapshots; by default no snapshots are taken.
        strategy: decides after a load whether a snapshot is taken; by default every 100 events.
        registry: event registry of the stored events; by default ``event_registry`` of the class.

    Raises:
        ConfigError: two arguments exclude each other, an argument is a class instead of an object,
            or the class cannot have snapshots.

    Example:
        ```python
        from cqrs_ddd_advanced_core import EventSourcedRepository
        from cqrs_ddd_core import AggregateRoot, DomainEvent, InMemoryBackend

        class Deposited(DomainEvent):
            cents: int

        class Account(AggregateRoot[str]):
            cents: int = 0

            def deposit(self, cents: int) -> None:
                self.add_event(Deposited(cents=cents))

            def apply_Deposited(self, event: Deposited) -> None:
                self.cents += event.cents

        accounts = EventSourcedRepository(Account)
        async with InMemoryBackend().unit_of_work():
            account = Account(id="a-1")
            account.deposit(250)
            await accounts.add(account)
            assert (await accounts.get("a-1")).cents == 250
        ```
    """

    def __init__(
        self,
        entity_type: type[T] | None = None,
        *,
        event_store: IEventStore | None = None,
        loader: EventSourcedLoader[T] | None = None,
        snapshot_store: ISnapshotStore | None = None,
        strategy: SnapshotStrategy | None = None,
        registry: EventTypeRegistry | None = None,
    ) -> None:
        super().__init__()
        check = errors.arguments
        if entity_type is not None:
            check.ensure_class(entity_type, AggregateRoot, "entity_type")
        if event_store is not None:
            check.ensure_instance(event_store, IEventStore, "event_store")
        if strategy is not None:
            check.ensure_instance(strategy, SnapshotStrategy, "strategy")
        own_settings = (snapshot_store, strategy, registry)
        if loader is not None and any(each is not None for each in own_settings):
            raise errors.ConfigError(
                "a loader has its own snapshots and registry; pass them to the loader only"
            )
        if strategy is not None and snapshot_store is None:
            raise errors.ConfigError("a snapshot strategy needs a store; pass snapshot_store=, too")
        self._given_type = entity_type
        self._event_store = event_store
        self._given_loader = loader
        self._snapshot_store = snapshot_store
        self._strategy = strategy
        self._registry = registry
        if snapshot_store is not None and (entity_type or _read_type_argument(self)) is not None:
            _ = self.loader  # Raise now for a class that cannot have snapshots.

    @cached_property
    def entity_type(self) -> type[T]:
        """Class of the aggregates: the argument, or the class in the brackets."""
        if self._given_type is not None:
            return self._given_type
        if self._given_loader is not None:
            return self._given_loader.entity_type
        found: type[T] | None = _read_type_argument(self)
        if found is None:
            name = type(self).__name__
            raise errors.ConfigError(
                f"{name} does not name the class of its aggregates; write class {name}"
                "(EventSourcedRepository[Order, str]), or pass entity_type="
            )
        return found

    @cached_property
    def loader(self) -> EventSourcedLoader[T]:
        """Loader that the repository was given, or one for its snapshots and event registry."""
        if self._given_loader is not None:
            return self._given_loader
        snapshots = None
        if self._snapshot_store is not None:
            snapshots = AggregateSnapshots(self.entity_type, self._snapshot_store, self._strategy)
        return EventSourcedLoader(self.entity_type, registry=self._registry, snapshots=snapshots)

    async def add(self, entity: T, uow: UnitOfWork | None = None) -> ID:
        """Append the new events, expecting the loaded version; return the id.

        Raises:
            AlreadyExistsError: the aggregate is new, and its id has events.
            OptimisticConcurrencyError: the stream has another version.
        """
        return (await self._save([entity], uow))[0]

    async def add_many(self, entities: Sequence[T], uow: UnitOfWork | None = None) -> list[ID]:
        """Append the new events of all aggregates by one call; return the ids."""
        return await self._save(entities, uow)

    async def get(self, entity_id: ID, uow: UnitOfWork | None = None) -> T | None:
        """Return the aggregate with its present state, or None if it has no events."""
        return next(iter(await self._load([entity_id], uow)), None)

    async def load(
        self,
        entity_id: ID,
        uow: UnitOfWork | None = None,
        *,
        version: int | None = None,
        at: datetime | None = None,
    ) -> T | None:
        """Return the present state, or a past state, which cannot be saved.

        Args:
            entity_id: id of the aggregate.
            uow: unit of work to read in.
            version: version of a past state, from 1 on.
            at: time of a past state, with a zone.
        """
        if version is None and at is None:
            return await self.get(entity_id, uow)
        store, _ = self._find_store(uow)
        return await self.loader.load_past(entity_id, store, version=version, at=at)

    async def list_all(
        self, entity_ids: list[ID] | None = None, uow: UnitOfWork | None = None
    ) -> list[T]:
        """Return the aggregates of the ids; raise ``InvalidOperationError`` without ids."""
        if entity_ids is None:
            self._raise_unsupported("list all without ids")
        return await self._load(entity_ids, uow)

    async def persist(
        self, entity: T, uow: UnitOfWork, events: Sequence[object] | None = None
    ) -> ID:
        """Append new events that the caller may have collected already; return the id.

        Args:
            entity: the aggregate.
            uow: unit of work to write in.
            events: result of ``collect_events`` if the caller has called it; by default the pending
                events.
        """
        return (await self._save([entity], uow, events))[0]

    async def retrieve(self, ids: Sequence[ID], uow: UnitOfWork) -> list[T]:
        """Return the aggregates that have events."""
        return await self._load(ids, uow)

    async def delete(self, entity_id: ID, uow: UnitOfWork | None = None) -> ID:
        """Raise ``InvalidOperationError``: events are never deleted."""
        self._raise_unsupported(
            f"delete {entity_id}", "record an event for the end, such as OrderClosed"
        )

    async def search(self, criteria: object, uow: UnitOfWork | None = None) -> NoReturn:
        """Raise ``InvalidOperationError``: events have no attributes to search by."""
        self._raise_unsupported("search")

    async def _load(self, ids: Sequence[ID], uow: UnitOfWork | None) -> list[T]:
        store, active = self._find_store(uow)
        found = await self.loader.load(ids, store, active)
        if active is not None:
            for aggregate in found:
                active.aggregates.track(aggregate)
            active.aggregates.mark_absent(ids, found)
        return found

    async def _save(
        self, entities: Sequence[T], uow: UnitOfWork | None, given: Sequence[object] | None = None
    ) -> list[ID]:
        for entity in entities:
            self._ensure_entity_type(entity)
        ensure_distinct(entities)
        store, active = self._find_store(uow)
        new = [_collect_recorded_events(entity, active, given) for entity in entities]
        stored = [self.loader.to_stored(event) for events in new for event in events]
        if stored:
            await _append(stored, store, entities, active)
        for entity, events in zip(entities, new, strict=True):
            if active is None:
                entity.mark_persisted(entity.version + entity.uncommitted_event_count)
            else:
                active.aggregates.mark_appended(entity, events)
            if active is not None and given is not None:
                # These events are no longer pending, so the mediator would not find them.
                active.aggregates.add_events(events)
        return [entity.id for entity in entities]

    def _find_store(self, uow: UnitOfWork | None) -> tuple[IEventStore, UnitOfWork | None]:
        name, current = type(self).__name__, get_current_uow()
        active = uow or current
        if self._event_store is not None:
            if uow is not None and uow is not current:
                uow.ensure_open(f"use {name} in it")
                raise errors.InvalidOperationError(
                    f"{name} has its own event store, which works in the unit of work that was "
                    "entered last, not in the given one; enter that one with async with, or "
                    "leave event_store= out"
                )
            return self._event_store, active
        carrier: object = active
        if active is None:
            raise errors.InvalidOperationError(
                f"{name} has no event store: no unit of work is given or open; pass uow, or create "
                "the repository with event_store="
            )
        if not isinstance(carrier, IEventStoreProvider):
            raise errors.InvalidOperationError(
                f"{name} has no event store: {type(active).__name__} carries none; use a unit of "
                "work with one, or create the repository with event_store="
            )
        return carrier.event_store, active

    def _ensure_entity_type(self, entity: T) -> None:
        ensure_entity_type(entity, self.entity_type)
        ours = self.entity_type.aggregate_type
        if entity.aggregate_type != ours:
            raise errors.InvalidOperationError(
                f"{type(self).__name__} keeps streams of {ours} and cannot save {entity.id}, a "
                f"{entity.aggregate_type}, which it could never load; use a repository of that "
                "class"
            )

    def _raise_unsupported(self, operation: str, instead: str = "") -> NoReturn:
        raise errors.InvalidOperationError(
            f"{type(self).__name__} keeps events, so it cannot {operation}; "
            f"{instead or 'search a projection, and load by the ids that it returns'}"
        )


async def _append(
    events: list[StoredEvent],
    store: IEventStore,
    entities: Sequence[AggregateRoot],
    uow: UnitOfWork | None,
) -> None:
    try:
        await store.append_batch(events)
    except errors.OptimisticConcurrencyError as error:
        for entity in entities:
            subject = f"{entity.aggregate_type} {entity.id}"
            if not entity.version and error.subject == subject:
                was_absent = uow is not None and uow.aggregates.was_absent(entity.id)
                raise errors.OptimisticConcurrencyError.stale_version(
                    subject, 0, error.actual, was_absent=was_absent
                ) from error
        raise


def _collect_recorded_events(
    entity: AggregateRoot, uow: UnitOfWork | None, given: Sequence[object] | None
) -> list[DomainEvent]:
    """Return the events to append, by version, from ``given`` or else the pending events.

    Raises:
        PastStateError: the aggregate is a past state, or a copy of one.
        InvalidOperationError: events are missing, or if a new aggregate has none.
    """
    if entity.is_historical:
        raise PastStateError.of_aggregate(entity.aggregate_type, entity.id, entity.version)
    new = _select_new_events(entity, entity.pending_events if given is None else given)
    versions = [event.aggregate_version for event in new]
    recorded = entity.uncommitted_event_count
    if versions != list(range(entity.version + 1, entity.version + recorded + 1)):
        raise errors.InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} recorded {recorded} event(s) after version "
            f"{entity.version}, but the given events have the versions {versions}; pass all "
            "collected events: persist(entity, uow, events=collected)"
        )
    if not entity.version and not new:
        raise errors.InvalidOperationError(
            f"{entity.aggregate_type} {entity.id} is new and has recorded no event, so it cannot "
            "be saved; record an event when it is created"
        )
    return new if uow is None else uow.aggregates.exclude_appended(new)


def _select_new_events(entity: AggregateRoot, events: Sequence[object]) -> list[DomainEvent]:
    own_stream = (entity.aggregate_type, str(entity.id))
    new: list[DomainEvent] = []
    for event in events:
        if not isinstance(event, DomainEvent) or event.aggregate_version is None:
            raise errors.InvalidOperationError(
                f"{entity.aggregate_type} {entity.id} cannot be saved with a "
                f"{type(event).__name__} that it has "
                "not recorded; record it with aggregate.add_event"
            )
        is_own = (event.aggregate_type, event.aggregate_id) == own_stream
        if is_own and event.aggregate_version > entity.version:
            new.append(event)
    return new


def _read_type_argument(repository: object) -> type[Any] | None:
    """Return ``Order`` for a subclass or an instance of ``EventSourcedRepository[Order, str]``."""
    given = getattr(repository, "__orig_class__", None)  # Set by typing.
    owners = type(repository).__mro__
    bases = [base for owner in owners for base in owner.__dict__.get("__orig_bases__", ())]
    for base in [given, *bases]:
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, EventSourcedRepository):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, AggregateRoot):
                    return argument
    return None
