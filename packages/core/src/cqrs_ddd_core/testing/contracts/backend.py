"""Contract of backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Protocol, runtime_checkable

from ...cqrs import HandlerRegistry, Mediator
from ...messages import Command
from ...middleware import IdempotencyMiddleware
from ...ports import (
    IBackend,
    IEventStore,
    IOutboxStorage,
    IRepository,
    OutboxMessage,
    StoredEvent,
    UnitOfWork,
)
from ...ports.event_store import EVENTS_CHANNEL, IEventStoreProvider
from ...ports.inbox import IInboxProvider
from ...ports.outbox import IOutboxProvider
from ...primitives.exceptions import ConfigError, ReadOnlyError, UnsavedChangesError
from ..assertions import raises
from .parcel import Parcel, ParcelRegistered, make_parcel, new_parcel_id

NewBackend = Callable[[], IBackend]


class BackendContract:
    """Contract of ``IBackend``.

    Fixtures:
        backend: The backend under test, open and empty.
        new_backend: Returns a backend that is not open, on a new database without tables.
        parcel_model: Model of ``Parcel`` for ``repository``, or None if the backend needs none.
    """

    async def test_unit_of_work_commits_the_changes_to_all_stores_of_the_backend(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        change = _Change(backend, parcel_model)

        async with backend.unit_of_work() as uow:
            await change.make(uow)

        assert await change.find() == ALL

    async def test_rollback_leaves_no_change_in_any_store_of_the_backend(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        change = _Change(backend, parcel_model)

        async with backend.unit_of_work() as uow:
            await change.make(uow)
            await uow.rollback()

        assert await change.find() == set()

    async def test_read_only_unit_of_work_of_the_backend_reads_and_rejects_changes(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        parcels = _get_parcels(backend, parcel_model)
        stored = make_parcel()
        await parcels.add(stored)

        with raises(ReadOnlyError):
            async with backend.unit_of_work(read_only=True) as uow:
                assert await parcels.get(stored.id, uow) is not None
                await parcels.add(make_parcel(), uow)

    async def test_stores_of_the_backend_join_the_current_unit_of_work(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        change = _Change(backend, parcel_model)

        async with backend.unit_of_work() as uow:
            await change.parcels.add(change.parcel)
            await backend.event_store.append(change.event)
            await backend.outbox.save_messages([change.message])
            await backend.inbox.register("billing", change.key, "print")
            await uow.rollback()

        assert await change.find() == set()

    async def test_repositories_of_one_entity_type_have_the_same_data(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        parcel = make_parcel()

        await _get_parcels(backend, parcel_model).add(parcel)

        assert await _get_parcels(backend, parcel_model).get(parcel.id) is not None

    async def test_backend_for_background_work_has_the_same_data_and_accepts_the_same_stores(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        change = _Change(backend, parcel_model)

        async with backend.background.unit_of_work() as uow:
            await change.make(uow)

        assert await change.find() == ALL
        seen = _Change(backend.background, parcel_model, like=change)
        assert await seen.find() == ALL

    async def test_command_that_creates_an_aggregate_and_does_not_add_it_fails(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        post = _Post(backend, parcel_model)

        with raises(UnsavedChangesError) as forgotten:
            await post.mediator.send(RegisterParcel(forgets_another=True))
        kept = await post.mediator.send(RegisterParcel(discards_another=True))

        assert forgotten.error.aggregate_id == post.forgotten
        assert await post.parcels.get(post.kept[0]) is None
        assert await post.parcels.get(kept.result) is not None

    async def test_aggregate_that_an_event_handler_creates_and_does_not_add_fails_the_command(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        post = _Post(backend, parcel_model)
        post.handlers.register_event_handler(ParcelRegistered, post.forget_another)

        with raises(UnsavedChangesError):
            await post.mediator.send(RegisterParcel())

        assert await post.parcels.get(post.kept[0]) is None

    async def test_nested_command_with_a_known_id_is_answered_with_the_stored_result(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        post = _Post(backend, parcel_model)
        register = RegisterParcel(command_id=new_parcel_id())

        twice = await post.mediator.send(SendTwice(inner=register))
        again = await post.mediator.send(SendTwice(inner=register))

        assert post.kept == [twice.result] == [again.result]
        assert [type(event) for event in twice.events] == [ParcelRegistered]
        assert again.events == ()

    async def test_committed_events_wake_waiters_of_each_signal_of_the_backend(
        self, backend: IBackend, parcel_model: object
    ) -> None:
        signals = [each.signal for each in (backend, backend.background) if each.signal is not None]
        waiting = {asyncio.ensure_future(each.wait(EVENTS_CHANNEL, 30)) for each in signals}

        pending = set(waiting)
        while pending:
            # Commit again, since a waiter may not have listened yet.
            async with backend.unit_of_work() as uow:
                await _Change(backend, parcel_model).make(uow)
            _, pending = await asyncio.wait(pending, timeout=0.1)

        assert all(each.result() for each in waiting)

    async def test_missing_tables_fail_the_check_until_the_schema_is_created(
        self, new_backend: NewBackend, parcel_model: object
    ) -> None:
        backend = new_backend()
        parcels = _get_parcels(backend, parcel_model)
        has_tables = await _lacks_tables(backend)
        try:
            if has_tables:
                with raises(ConfigError) as caught:
                    await backend.open()
                assert "create_schema" in str(caught.error)
            await backend.create_schema()
            await backend.create_schema()
            await backend.check_schema()
            await backend.open()
            parcel = make_parcel()
            await parcels.add(parcel)
            assert await parcels.get(parcel.id) is not None
        finally:
            await backend.close()

    async def test_backend_can_be_closed_twice_and_opened_again(
        self, new_backend: NewBackend, parcel_model: object
    ) -> None:
        backend = new_backend()
        for _ in range(2):
            change = _Change(backend, parcel_model)
            await backend.create_schema()
            await backend.open()
            await backend.open()
            async with backend.unit_of_work() as uow:
                await change.make(uow)
            assert await change.find() == ALL
            await backend.close()
            await backend.close()

    async def test_backends_on_different_databases_share_no_data(
        self, backend: IBackend, new_backend: NewBackend, parcel_model: object
    ) -> None:
        other = new_backend()
        change = _Change(backend, parcel_model)
        elsewhere = _Change(other, parcel_model, like=change)
        await other.create_schema()

        async with backend.unit_of_work() as uow:
            await change.make(uow)

        async with other:
            assert await elsewhere.find() == set()


class RegisterParcel(Command[str]):
    """Command for a new parcel; its result is the id."""

    forgets_another: bool = False
    discards_another: bool = False


class SendTwice(Command[str]):
    """Command whose handler sends another one twice."""

    inner: RegisterParcel


class _Post:
    """Mediator with handlers of parcels.

    Args:
        backend: backend of the units of work.
        model: model of ``Parcel``.
    """

    def __init__(self, backend: IBackend, model: object) -> None:
        self.parcels = _get_parcels(backend, model)
        self.handlers = HandlerRegistry()
        self.handlers.register_command_handler(RegisterParcel, self.register)
        self.handlers.register_command_handler(SendTwice, self.send_twice)
        self.mediator = Mediator(
            self.handlers,
            uow_factory=backend.unit_of_work,
            middlewares=[IdempotencyMiddleware()],
        )
        self.kept: list[str] = []
        self.forgotten = ""

    async def register(self, command: RegisterParcel) -> str:
        if command.discards_another:
            make_parcel().collect_events()
        parcel = make_parcel()
        self.kept.append(await self.parcels.add(parcel))
        if command.forgets_another:
            self.forgotten = make_parcel().id
        return parcel.id

    async def send_twice(self, command: SendTwice) -> str:
        first = await self.mediator.send(command.inner)
        second = await self.mediator.send(command.inner)
        assert first.result == second.result
        return second.result

    async def forget_another(self, event: ParcelRegistered) -> None:
        make_parcel()


ALL = {"parcel", "event", "message", "entry"}
_numbers = count(1)


class _Change:
    """Rows that one unit of work writes to all stores of a backend.

    Args:
        backend: backend that is read by ``find``.
        model: model of ``Parcel``.
        like: change with the same rows, made through another backend.
    """

    def __init__(self, backend: IBackend, model: object, like: _Change | None = None) -> None:
        self.backend = backend
        self.parcels = _get_parcels(backend, model)
        self.key: str = like.key if like else f"backend-{next(_numbers)}"
        self.parcel: Parcel = like.parcel if like else make_parcel()
        self.event = StoredEvent(
            event_id=self.key,
            event_type="ParcelRegistered",
            aggregate_id=self.key,
            aggregate_type="Parcel",
            version=1,
            payload={"owner": "anna"},
        )
        self.message = OutboxMessage(
            message_id=self.key, event_type="ParcelRegistered", payload={}, correlation_id="c"
        )

    async def make(self, uow: UnitOfWork) -> None:
        """Write the rows in the unit of work, through the stores that it carries."""
        stores = _get_stores(uow)
        await self.parcels.add(self.parcel, uow)
        await stores.event_store.append(self.event)
        await stores.outbox.save_messages([self.message], uow)
        await stores.inbox.register("billing", self.key, "print", uow)

    async def find(self) -> set[str]:
        """Return the kinds of rows that are stored, read in a unit of work and without one."""
        found = await self._read(self.backend.event_store, self.backend.outbox)
        async with self.backend.unit_of_work() as uow:
            stores = _get_stores(uow)
            assert await self._read(stores.event_store, stores.outbox) == found
            if await stores.inbox.register("billing", self.key, "print", uow) is not None:
                found.add("entry")
            await uow.rollback()
        return found

    async def _read(self, events: IEventStore, outbox: IOutboxStorage) -> set[str]:
        found: set[str] = set()
        if await self.parcels.get(self.parcel.id) is not None:
            found.add("parcel")
        if await events.get_events(self.key):
            found.add("event")
        if self.key in [each.message_id for each in await outbox.get_pending()]:
            found.add("message")
        return found


@runtime_checkable
class _Stores(IEventStoreProvider, IOutboxProvider, IInboxProvider, Protocol):
    """Stores that each unit of work of a backend carries."""


def _get_stores(uow: UnitOfWork) -> _Stores:
    assert isinstance(uow, _Stores), "the unit of work lacks an event store, outbox or inbox"
    return uow


def _get_parcels(backend: IBackend, model: object) -> IRepository[Parcel, str]:
    return backend.repository(Parcel, model)


async def _lacks_tables(backend: IBackend) -> bool:
    try:
        await backend.check_schema()
    except ConfigError:
        return True
    return False
