"""Contracts of isolation: two tenants use equal ids in every public call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cqrs_ddd_core.context import system_tenant
from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.primitives.id_generator import uuid4_text
from cqrs_ddd_core.spi.querying import AllOf
from cqrs_ddd_core.testing.assertions import raises
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.contracts.tenancy import TENANTS, assert_rejected, tenant

from ...event_sourcing import EventSourcedRepository
from ...exceptions import UnknownDeadLetterError
from ...persistence import PersistenceDispatcher, PersistenceRegistry
from ...ports.dead_letters import DeadLetter, DeadLetterState, IDeadLetterStore
from ...ports.projections import IProjectionStore
from ...ports.snapshots import ISnapshotStore, Snapshot
from ...snapshots import EveryNEventsStrategy
from .documents import create_collection

NewUnitOfWork = Callable[[], UnitOfWork]

STREAM = StreamId("Parcel", "p-1")


class SnapshotTenancyContract:
    """Sentences of ``SnapshotStoreContract`` about tenants."""

    async def test_tenants_keep_snapshots_of_streams_with_the_same_id_independently(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = StreamId("Parcel", uuid4_text())
        for version, each in enumerate(reversed(TENANTS), 1):
            with tenant(each):
                await snapshots.save(_snapshot(stream, 3 - version, each))
                await snapshots.save_many([_snapshot(stream, 3 - version, each)])

        for each in TENANTS:
            with tenant(each):
                loaded = await snapshots.load([stream, StreamId("Parcel", "another")])
            assert loaded[stream].state == each.encode()
        with tenant(None):
            assert await snapshots.load([stream]) == {}
        with tenant("north"):
            await snapshots.delete(stream)
            assert await snapshots.load([stream]) == {}
        with tenant("south"):
            assert await snapshots.load([stream]) != {}

    async def test_snapshots_are_not_used_inside_the_system_scope(
        self, snapshots: ISnapshotStore
    ) -> None:
        with system_tenant():
            await assert_rejected(
                lambda: snapshots.save(_snapshot(STREAM, 1, "north")),
                lambda: snapshots.save_many([_snapshot(STREAM, 1, "north")]),
                lambda: snapshots.load([STREAM]),
                lambda: snapshots.delete(STREAM),
            )


class ProjectionTenancyContract:
    """Sentences of ``ProjectionStoreContract`` about tenants."""

    async def test_tenants_keep_documents_of_the_same_id_independently(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store, tenant_id=str)
        for each in TENANTS:
            with tenant(each):
                await store.upsert(collection, "1", {"tenant_id": each})
                await store.upsert_batch(collection, {"2": {"tenant_id": each}})

        for owner, own in (*((each, [{"tenant_id": each}] * 2) for each in TENANTS), (None, [])):
            with tenant(owner):
                assert list((await store.get_batch(collection, ["1", "2"])).values()) == own
                assert await store.get(collection, "1") == (own[0] if own else None)
                found = await store.find(collection, AllOf(()))
                assert (await found, await found.count()) == (own, len(own))
                assert [doc async for doc in found.stream(batch_size=1)] == own
                assert await found.take(1) == own[:1]

    async def test_deletions_concern_the_documents_of_the_own_tenant(
        self, store: IProjectionStore
    ) -> None:
        collection = await create_collection(store)
        for each in TENANTS:
            with tenant(each):
                await store.upsert_batch(collection, {"1": {}, "2": {}, "3": {}})

        with tenant("north"):
            await store.delete(collection, "1")
            await store.delete_batch(collection, ["2"])
            assert list(await store.get_batch(collection, ["1", "2", "3"])) == ["3"]
            await store.truncate_collection(collection)
            assert await store.get(collection, "3") is None
        with tenant("south"):
            assert len(await store.get_batch(collection, ["1", "2", "3"])) == 3
        with system_tenant():
            await store.truncate_collection(collection)
        with tenant("south"):
            assert await store.get(collection, "3") is None

    async def test_search_keeps_the_tenant_of_its_call(self, store: IProjectionStore) -> None:
        collection = await create_collection(store)
        for each in TENANTS:
            with tenant(each):
                await store.upsert(collection, "1", {"of": each})
        with tenant("north"):
            found = await store.find(collection, AllOf(()))

        with tenant("south"):
            results = [await found, await found.take(1), [doc async for doc in found.stream()]]
            count = await found.count()

        assert results == [[{"of": "north"}]] * 3
        assert count == 1

    async def test_tenants_lock_documents_of_the_same_id_independently(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        async with new_uow() as uow:
            with tenant("north"):
                await store.lock(collection, ["1"], uow=uow)
            with tenant("south"):
                await store.lock(collection, ["1"], uow=uow)
                await store.upsert(collection, "1", {"of": "south"}, uow=uow)

        with tenant("south"):
            assert await store.get(collection, "1") == {"of": "south"}

    async def test_collection_of_all_tenants_is_not_dropped_or_replaced_by_one_of_them(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection, other = await create_collection(store), await create_collection(store)
        with tenant("south"):
            await store.upsert(collection, "1", {})
        async with new_uow() as uow:
            with tenant("north"):
                await assert_rejected(
                    lambda: store.drop_collection(collection, uow=uow),
                    lambda: store.replace_collection(collection, other, uow=uow),
                )
        with tenant("south"):
            assert await store.get(collection, "1") == {}
        with system_tenant():
            async with new_uow() as uow:
                await store.replace_collection(collection, other, uow=uow)
        with tenant("south"):
            assert await store.get(collection, "1") is None

    async def test_documents_are_not_used_inside_the_system_scope(
        self, store: IProjectionStore, new_uow: NewUnitOfWork
    ) -> None:
        collection = await create_collection(store)
        async with new_uow() as uow:
            with system_tenant():
                await assert_rejected(
                    lambda: store.upsert(collection, "1", {}),
                    lambda: store.upsert_batch(collection, {"1": {}}),
                    lambda: store.get(collection, "1"),
                    lambda: store.get_batch(collection, ["1"]),
                    lambda: store.find(collection, AllOf(())),
                    lambda: store.delete(collection, "1"),
                    lambda: store.delete_batch(collection, ["1"]),
                    lambda: store.lock(collection, ["1"], uow=uow),
                )


class DeadLetterTenancyContract:
    """Sentences of ``DeadLetterStoreContract`` about tenants."""

    async def test_dead_letter_blocks_the_stream_of_its_own_tenant_only(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await _add(dead_letters, new_uow, _letter(1, "north"))

        for owner, blocked in (("north", {STREAM}), ("south", set()), (None, set())):
            with tenant(owner):
                assert await dead_letters.blocked_streams("p", [STREAM]) == blocked
                assert len(await dead_letters.list_dead_letters()) == len(blocked)
                assert len(await dead_letters.count_dead_letters()) == len(blocked)
        with system_tenant():
            await assert_rejected(lambda: dead_letters.blocked_streams("p", [STREAM]))

    async def test_retry_and_discard_concern_the_dead_letters_of_the_own_tenant(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        waiting = DeadLetterState.WAITING
        letters = [_letter(1, "north"), _letter(2, "south"), _letter(3, "south", waiting)]
        await _add(dead_letters, new_uow, *letters)

        with tenant("south"):
            for call in (dead_letters.retry, dead_letters.discard):
                with raises(UnknownDeadLetterError):
                    await call("p", 1)
            async with new_uow() as uow:
                await dead_letters.remove([letters[0]], uow=uow)
        with tenant("north"):
            await dead_letters.retry("p", 1)
            assert [each.position for each in await dead_letters.retryable("p")] == [1]
        with system_tenant():
            assert [each.position for each in await dead_letters.retryable("p")] == [1]
            await dead_letters.discard("p", 2)
            due = await dead_letters.retryable("p")
        assert [(each.position, each.tenant_id) for each in due] == [(1, "north"), (3, "south")]

    async def test_waiting_dead_letter_is_due_unless_its_own_tenant_has_a_failed_one(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await _add(dead_letters, new_uow, _letter(1, "north"))

        await _add(dead_letters, new_uow, _letter(2, "south", DeadLetterState.WAITING))

        with system_tenant():
            counts = await dead_letters.count_dead_letters()
            assert (counts["p"].dead_letters, counts["p"].blocked_streams) == (2, 2)
            assert [each.position for each in await dead_letters.retryable("p")] == [2]

    async def test_replacement_moves_the_dead_letters_of_all_tenants_inside_the_system_scope(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        await _add(dead_letters, new_uow, _letter(1, "north"), _letter(2, "south"))
        with tenant("north"):
            async with new_uow() as uow:
                await dead_letters.replace("q", "p", uow=uow)
        with system_tenant():
            assert [e.position for e in await dead_letters.list_dead_letters("q")] == [1]
            async with new_uow() as uow:
                await dead_letters.replace("r", "p", uow=uow)
            assert [e.position for e in await dead_letters.list_dead_letters("r")] == [2]

    async def test_dead_letter_of_another_tenant_is_not_added(
        self, dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork
    ) -> None:
        for owner in ("south", None):
            with tenant(owner):
                async with new_uow() as uow:
                    with raises(InvalidOperationError):
                        await dead_letters.add([_letter(1, "north")], uow=uow)


def _snapshot(stream: StreamId, version: int, owner: str) -> Snapshot:
    return Snapshot(stream=stream, version=version, schema_hash="hash", state=owner.encode())


def _letter(
    position: int, owner: str, state: DeadLetterState = DeadLetterState.POISON, **fields: Any
) -> DeadLetter:
    return DeadLetter(
        projection="p",
        position=position,
        stream=STREAM,
        event_id=f"event-{position}",
        event_type="ParcelWeighed",
        state=state,
        tenant_id=owner,
        **fields,
    )


async def _add(
    dead_letters: IDeadLetterStore, new_uow: NewUnitOfWork, *letters: DeadLetter
) -> None:
    """Add the dead letters of any tenants, as a worker does."""
    with system_tenant():
        async with new_uow() as uow:
            await dead_letters.add(letters, uow=uow)


class EventSourcingTenancyContract:
    """Isolation of event-sourced aggregates, by repository and by dispatcher.

    Your test class provides two fixtures: ``new_uow``, a callable that returns a new unit of work
    with an event store, and ``snapshots``, a snapshot store.
    """

    async def test_tenants_keep_event_sourced_aggregates_of_the_same_id_independently(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        parcels, parcel_id = _create_parcels(snapshots), uuid4_text()
        dispatcher = _create_dispatcher(parcels, new_uow)
        for grams, each in enumerate(TENANTS, 1):
            with tenant(each):
                async with new_uow() as uow:
                    await parcels.add(_weighed(parcel_id, grams), uow)

        for owner, own in (("north", [1]), ("south", [2]), (None, [])):
            with tenant(owner):
                async with new_uow() as uow:
                    loaded = [
                        await parcels.get(parcel_id, uow),
                        await parcels.load(parcel_id, uow),
                        await parcels.load(parcel_id, uow, version=2),
                        await parcels.get_one(parcel_id, uow) if own else None,
                        *await parcels.list_all([parcel_id], uow),
                        *await parcels.retrieve([parcel_id], uow),
                        *await dispatcher.fetch_domain(Parcel, [parcel_id], uow),
                    ]
                loaded += await dispatcher.fetch_domain(Parcel, [parcel_id])
            assert [each.grams for each in loaded if each is not None] == own * 8

    async def test_every_way_to_save_an_event_sourced_aggregate_keeps_to_the_tenant(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        parcels, parcel_id = _create_parcels(snapshots), uuid4_text()
        dispatcher = _create_dispatcher(parcels, new_uow)
        saves: list[Callable[[Parcel, UnitOfWork], Any]] = [
            parcels.add,
            lambda parcel, uow: parcels.add_many([parcel], uow),
            parcels.persist,
            dispatcher.apply,
        ]
        for grams, (owner, save) in enumerate(zip("abcd", saves, strict=True), 1):
            with tenant(owner):
                async with new_uow() as uow:
                    await save(_weighed(parcel_id, grams), uow)

        for grams, owner in enumerate("abcd", 1):
            with tenant(owner):
                async with new_uow() as uow:
                    found = await parcels.get(parcel_id, uow)
            assert found is not None
            assert (found.version, found.grams) == (2, grams)

    async def test_snapshot_belongs_to_the_tenant_of_the_load_not_of_the_commit(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        parcels, parcel_id = _create_parcels(snapshots), uuid4_text()
        with tenant("north"):
            async with new_uow() as uow:
                await parcels.add(_weighed(parcel_id, 1), uow)

        with tenant("south"):
            async with new_uow() as uow:
                with tenant("north"):
                    await parcels.get(parcel_id, uow)

        stream = StreamId(Parcel.aggregate_type, parcel_id)
        for each, count in (("north", 1), ("south", 0)):
            with tenant(each):
                assert len(await snapshots.load([stream])) == count

    async def test_event_sourced_aggregates_are_not_used_inside_the_system_scope(
        self, new_uow: NewUnitOfWork, snapshots: ISnapshotStore
    ) -> None:
        parcels = _create_parcels(snapshots)
        dispatcher = _create_dispatcher(parcels, new_uow)
        async with new_uow() as uow:
            with system_tenant():
                await assert_rejected(
                    lambda: parcels.add(_weighed("p-1", 1), uow),
                    lambda: parcels.get("p-1", uow),
                    lambda: parcels.load("p-1", uow, version=1),
                    lambda: parcels.list_all(["p-1"], uow),
                    lambda: dispatcher.apply(_weighed("p-1", 1), uow),
                    lambda: dispatcher.fetch_domain(Parcel, ["p-1"], uow),
                )


def _create_parcels(snapshots: ISnapshotStore) -> EventSourcedRepository[Parcel, str]:
    return EventSourcedRepository(
        Parcel, snapshot_store=snapshots, strategy=EveryNEventsStrategy(1)
    )


def _create_dispatcher(
    parcels: EventSourcedRepository[Parcel, str], new_uow: NewUnitOfWork
) -> PersistenceDispatcher:
    registry = PersistenceRegistry()
    registry.register_operation(Parcel, EventSourcedRepository)
    registry.register_retrieval(Parcel, EventSourcedRepository)
    return PersistenceDispatcher({"default": new_uow}, registry, lambda handler: parcels)


def _weighed(parcel_id: str, grams: int) -> Parcel:
    parcel = Parcel.register(parcel_id, "anna")
    parcel.weigh(grams)
    return parcel
