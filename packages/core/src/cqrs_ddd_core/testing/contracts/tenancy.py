"""Contracts of isolation: two tenants use equal ids in every public call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import Any

from ...context import request_context, system_tenant
from ...ports.blob_storage import IBlobStorage
from ...ports.cache import IVersionedCache
from ...ports.event_store import IEventLog, StoredEvent, StreamId
from ...ports.inbox import IInbox
from ...ports.locking import ILeasedLock
from ...ports.outbox import ILeasedOutbox, OutboxMessage
from ...ports.repository import IBulkRepository
from ...primitives.exceptions import (
    InvalidOperationError,
    LeaseLostError,
    OptimisticConcurrencyError,
)
from ...primitives.id_generator import uuid4_text
from ...spi.querying import AllOf
from ..assertions import raises

TENANTS = ("north", "south")
LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=timezone.utc)

Call = Callable[[], Awaitable[object]]


def tenant(tenant_id: str | None) -> AbstractContextManager[None]:
    """Return the request context of a tenant."""
    return request_context(tenant_id=tenant_id)


async def assert_rejected(*calls: Call) -> None:
    """Assert that the calls raise ``InvalidOperationError``."""
    for call in calls:
        with raises(InvalidOperationError):
            await call()


class EventStoreTenancyContract:
    """Sentences of ``EventStoreContract`` about tenants."""

    async def test_tenants_append_to_and_read_streams_of_the_same_id_independently(
        self, event_store: IEventLog
    ) -> None:
        stream, event_id = StreamId("Parcel", uuid4_text()), uuid4_text()
        for each in TENANTS:
            with tenant(each):
                await event_store.append(_event(stream, 1, each, event_id=event_id))
                await event_store.append_batch([_event(stream, 2, each)])
                last = await event_store.append_to_stream(stream, [_event(stream, 1, each)])
                assert last.version == 3

        for each in TENANTS:
            with tenant(each):
                reads = [
                    await event_store.get_events(stream.aggregate_id),
                    await event_store.get_events(stream.aggregate_id, after_version=1),
                    await event_store.get_events(
                        stream.aggregate_id, aggregate_type=stream.aggregate_type
                    ),
                    (await event_store.get_streams([stream]))[stream],
                ]
            assert [len(events) for events in reads] == [3, 2, 3, 3]
            assert {_owner(event) for events in reads for event in events} == {(each, each)}
        with tenant(None):
            assert await event_store.get_events(stream.aggregate_id) == []
            assert await event_store.get_streams([stream]) == {stream: []}

    async def test_reads_over_all_streams_return_the_events_of_the_own_tenant(
        self, event_store: IEventLog
    ) -> None:
        position = await event_store.highest_position()
        streams = await _append_for_both_tenants(event_store)

        for each in (*TENANTS, None):
            with tenant(each):
                for events in await _read_all(event_store, position):
                    found = [event for event in events if event.stream in streams]
                    assert [_owner(event) for event in found] == ([(each, each)] if each else [])

    async def test_reads_over_all_streams_cover_all_tenants_inside_the_system_scope(
        self, event_store: IEventLog
    ) -> None:
        position = await event_store.highest_position()
        streams = await _append_for_both_tenants(event_store)

        with system_tenant():
            for events in await _read_all(event_store, position):
                found = [event for event in events if event.stream in streams]
                assert [_owner(event) for event in found] == [(each, each) for each in TENANTS]
            first = await event_store.get_first_committed(after=position)
        with tenant("south"):
            own = await event_store.get_first_committed(after=position)
        assert first is not None
        assert own is not None
        assert [_owner(first), _owner(own)] == [(each, each) for each in TENANTS]

    async def test_stream_of_events_keeps_the_tenant_of_its_call(
        self, event_store: IEventLog
    ) -> None:
        position = await event_store.highest_position()
        streams = await _append_for_both_tenants(event_store)
        with tenant("north"):
            reading = event_store.stream_after(position, batch_size=1)

        with tenant("south"):
            found = [event async for event in reading if event.stream in streams]

        assert [_owner(event) for event in found] == [("north", "north")]

    async def test_event_that_names_another_tenant_is_rejected(
        self, event_store: IEventLog
    ) -> None:
        stream = StreamId("Parcel", uuid4_text())
        foreign = _event(stream, 1, "north", metadata={"tenant_id": "north"})
        for each in ("south", None):
            with tenant(each):
                await assert_rejected(
                    lambda: event_store.append(foreign),
                    lambda: event_store.append_batch([foreign]),
                    lambda: event_store.append_to_stream(stream, [foreign]),
                )
                assert await event_store.get_events(stream.aggregate_id) == []
        with tenant("north"):
            await event_store.append(foreign)
            (stored,) = await event_store.get_events(stream.aggregate_id)
        assert stored.metadata == {"tenant_id": "north"}

    async def test_calls_that_name_a_stream_are_rejected_inside_the_system_scope(
        self, event_store: IEventLog
    ) -> None:
        stream = StreamId("Parcel", uuid4_text())
        event = _event(stream, 1, "north")
        with system_tenant():
            await assert_rejected(
                lambda: event_store.append(event),
                lambda: event_store.append_batch([event]),
                lambda: event_store.append_to_stream(stream, [event]),
                lambda: event_store.get_events(stream.aggregate_id),
                lambda: event_store.get_streams([stream]),
            )
            with request_context():
                assert await event_store.get_events(stream.aggregate_id) == []


class OutboxTenancyContract:
    """Sentences of ``OutboxContract`` about tenants; the outbox is empty."""

    async def test_tenants_save_and_publish_messages_of_the_same_id_independently(
        self, outbox: ILeasedOutbox
    ) -> None:
        message_id = await _save_for_both_tenants(outbox)

        with tenant("north"):
            (pending,) = await outbox.get_pending()
            await outbox.mark_failed(message_id, "failed")
            await outbox.mark_published([message_id])
            assert await outbox.get_pending() == []
        with tenant("south"):
            (kept,) = await outbox.get_pending()
            assert (await outbox.get_backlog()).waiting == 1
            assert await outbox.purge(FAR_AHEAD) == 0
        with tenant(None):
            assert await outbox.get_pending() == []
            assert (await outbox.get_backlog()).waiting == 0

        assert (_sender(pending), _sender(kept), kept.retry_count) == ("north", "south", 0)

    async def test_tenants_lease_the_same_partition_key_independently(
        self, outbox: ILeasedOutbox
    ) -> None:
        message_id = await _save_for_both_tenants(outbox)

        with tenant("north"):
            (north,) = await outbox.claim("relay-1")
        with tenant("south"):
            (south,) = await outbox.claim("relay-2")
            with raises(LeaseLostError):
                await outbox.complete(north, [message_id])
            with raises(LeaseLostError):
                await outbox.fail(north, message_id, "not ours", retry_at=None)
            assert await outbox.complete_batch([(north, [message_id])]) == [north]
            await outbox.release(north)
            await outbox.complete(south, [message_id])
        with tenant("north"):
            assert await outbox.claim("relay-3") == []
            await outbox.complete(north, [message_id])
            assert await outbox.get_pending() == []

        assert [_sender(each.messages[0]) for each in (north, south)] == list(TENANTS)

    async def test_dead_letter_of_a_tenant_does_not_block_the_same_key_of_another_tenant(
        self, outbox: ILeasedOutbox
    ) -> None:
        message_id = await _save_for_both_tenants(outbox)
        with tenant("north"):
            (lease,) = await outbox.claim("relay")
            await outbox.fail(lease, message_id, "poison", retry_at=None)

        with tenant("south"):
            assert await outbox.list_dead_letters() == []
            for call in (outbox.retry, outbox.discard):
                with raises(InvalidOperationError):
                    await call(message_id)
            (free,) = await outbox.claim("relay")
            await outbox.fail(free, message_id, "poison", retry_at=None)
            await outbox.discard(message_id)
            assert (await outbox.get_backlog()).dead_letters == 0
        with tenant("north"):
            (dead_letter,) = await outbox.list_dead_letters()
            await outbox.retry(message_id)
            (again,) = await outbox.claim("relay")

        assert (_sender(dead_letter), _sender(again.messages[0])) == ("north", "north")

    async def test_relay_inside_the_system_scope_publishes_for_all_tenants(
        self, outbox: ILeasedOutbox
    ) -> None:
        first = await _save_for_both_tenants(outbox)
        second = await _save_for_both_tenants(outbox)

        with system_tenant():
            assert sorted(map(_sender, await outbox.get_pending())) == [
                *["north"] * 2,
                *["south"] * 2,
            ]
            north, south = sorted(
                await outbox.claim("relay"), key=lambda lease: _sender(lease.messages[0])
            )
            # Each lease marks messages of its own tenant only.
            lost, _ = await outbox.complete_and_claim(
                [(north, [first]), (south, [second])], "relay", limit=1
            )
            assert lost == []
        for each, left in zip(TENANTS, (second, first), strict=True):
            with tenant(each):
                assert [m.message_id for m in await outbox.get_pending()] == [left]

    async def test_operator_inside_the_system_scope_sees_the_dead_letters_of_all_tenants(
        self, outbox: ILeasedOutbox
    ) -> None:
        message_id = await _save_for_both_tenants(outbox)

        with system_tenant():
            for lease in await outbox.claim("relay"):
                await outbox.fail(lease, message_id, "poison", retry_at=None)
            dead_letters = await outbox.list_dead_letters()
            assert (await outbox.get_backlog()).dead_letters == 2
        for each in TENANTS:
            with tenant(each):
                await outbox.retry(message_id)
                await outbox.mark_published([message_id])
        with system_tenant():
            assert await outbox.purge(FAR_AHEAD) == 2

        assert sorted(map(_sender, dead_letters)) == list(TENANTS)

    async def test_message_that_names_another_tenant_is_rejected(
        self, outbox: ILeasedOutbox
    ) -> None:
        foreign = _message(uuid4_text(), metadata={"tenant_id": "north"})
        for each in ("south", None):
            with tenant(each):
                await assert_rejected(lambda: outbox.save_messages([foreign]))
                assert await outbox.get_pending() == []

    async def test_calls_that_name_a_message_are_rejected_inside_the_system_scope(
        self, outbox: ILeasedOutbox
    ) -> None:
        with system_tenant():
            await assert_rejected(
                lambda: outbox.save_messages([_message(uuid4_text())]),
                lambda: outbox.mark_published(["m"]),
                lambda: outbox.mark_failed("m", "failed"),
                lambda: outbox.retry("m"),
                lambda: outbox.discard("m"),
            )


class InboxTenancyContract:
    """Sentences of ``InboxContract`` about tenants."""

    async def test_message_id_of_a_tenant_is_new_for_another_tenant(self, inbox: IInbox) -> None:
        message_id = uuid4_text()
        for each in (*TENANTS, None):
            with tenant(each):
                assert await inbox.register("billing", message_id, f"print of {each}") is None
                await inbox.store_outcome("billing", message_id, each)

        for each in (*TENANTS, None):
            with tenant(each):
                known = await inbox.register("billing", message_id, f"print of {each}")
            assert known is not None
            assert known.outcome == each

    async def test_purge_of_the_inbox_covers_one_tenant_or_all_inside_the_system_scope(
        self, inbox: IInbox
    ) -> None:
        message_id = uuid4_text()
        with system_tenant():
            await inbox.purge(FAR_AHEAD)
        for each in (*TENANTS, None):
            with tenant(each):
                await inbox.register("billing", message_id, "print")

        with tenant("north"):
            assert await inbox.purge(FAR_AHEAD) == 1
            assert await inbox.purge(FAR_AHEAD) == 0
        with tenant("south"):
            assert await inbox.register("billing", message_id, "print") is not None
        with system_tenant():
            assert await inbox.purge(FAR_AHEAD) == 2

    async def test_messages_are_not_registered_inside_the_system_scope(self, inbox: IInbox) -> None:
        with system_tenant():
            await assert_rejected(
                lambda: inbox.register("billing", uuid4_text(), "print"),
                lambda: inbox.store_outcome("billing", uuid4_text(), 1),
            )


class CacheTenancyContract:
    """Sentences of ``CacheContract`` about tenants."""

    async def test_tenants_use_the_same_cache_key_independently(
        self, cache: IVersionedCache
    ) -> None:
        key = uuid4_text()
        for each in TENANTS:
            with tenant(each):
                assert await cache.get(key) is None
                lease = await cache.lease_fill(key, 10)
                assert lease
                assert await cache.lease_many([key], 10) == {}
                assert await cache.fill(key, each, lease)
        with tenant("north"):
            await cache.set(key, "changed")
            await cache.delete_many(["another key"])

        values = {"north": "changed", "south": "south", None: None}
        for owner, value in values.items():
            with tenant(owner):
                assert await cache.get(key) == value
                assert await cache.get_many([key]) == ({key: value} if value else {})
        with tenant("south"):
            await cache.delete(key)
        with tenant("north"):
            assert await cache.get(key) == "changed"

    async def test_clear_deletes_the_values_of_one_tenant_or_of_all_inside_the_system_scope(
        self, cache: IVersionedCache
    ) -> None:
        key = uuid4_text()
        for each in (*TENANTS, None):
            with tenant(each):
                await cache.set(key, each or "none")

        with tenant("north"):
            await cache.clear()
            assert await cache.get(key) is None
        with tenant("south"):
            assert await cache.get(key) == "south"
        with system_tenant():
            await cache.clear()
        for each in ("south", None):
            with tenant(each):
                assert await cache.get(key) is None

    async def test_calls_that_name_a_cache_key_are_rejected_inside_the_system_scope(
        self, cache: IVersionedCache
    ) -> None:
        with system_tenant():
            await assert_rejected(
                lambda: cache.get("key"),
                lambda: cache.get_many(["key"]),
                lambda: cache.set("key", 1),
                lambda: cache.delete("key"),
                lambda: cache.delete_many(["key"]),
                lambda: cache.lease_fill("key", 1),
                lambda: cache.lease_many(["key"], 1),
                lambda: cache.fill("key", 1, "lease"),
                lambda: cache.fill_many({"key": 1}, {"key": "lease"}),
            )


class LockTenancyContract:
    """Sentences of ``LockContract`` about tenants."""

    async def test_tenants_lock_the_same_resource_independently(
        self, lock: ILeasedLock, other_lock: ILeasedLock
    ) -> None:
        name = uuid4_text()
        with tenant("north"):
            assert await lock.acquire(name, timeout=1)
        with tenant("south"):
            assert not await lock.extend(name, 10)
            with raises(LeaseLostError):
                await lock.release(name)
            async with other_lock.hold(name, timeout=1) as lease:
                assert lease.resource == name
                assert not await lock.acquire(name, timeout=0)
        with tenant(None):
            assert await other_lock.acquire(name, timeout=1)
            await other_lock.release(name)
        with tenant("south"):
            assert name not in {each.resource for each in await other_lock.list_held()}
        for scope in (tenant("north"), system_tenant()):
            with scope:
                held = [each for each in await other_lock.list_held() if each.resource == name]
                assert [each.tenant_id for each in held] == ["north"]
        with tenant("north"):
            assert not await other_lock.acquire(name, timeout=0)
            assert await lock.extend(name, 10)
            await lock.release(name)

    async def test_locks_are_not_used_inside_the_system_scope(self, lock: ILeasedLock) -> None:
        async def hold() -> None:
            async with lock.hold(name, timeout=1):
                raise AssertionError("the lock is held")

        name = uuid4_text()
        with system_tenant():
            await assert_rejected(
                lambda: lock.acquire(name, timeout=1),
                lambda: lock.extend(name, 1),
                lambda: lock.release(name),
                hold,
            )


class BlobStorageTenancyContract:
    """Sentences of ``BlobStorageContract`` about tenants."""

    async def test_tenants_use_the_same_blob_key_independently(self, blobs: IBlobStorage) -> None:
        key = uuid4_text()
        for each in TENANTS:
            with tenant(each):
                assert await blobs.load(key) is None
                await blobs.save(key, each.encode())
        with tenant("north"):
            await blobs.delete(key)
        with tenant("south"):
            assert await blobs.load(key) == b"south"
            await blobs.delete(key)

        with system_tenant():
            await assert_rejected(
                lambda: blobs.save(key, b""), lambda: blobs.load(key), lambda: blobs.delete(key)
            )


class RepositoryTenancyContract:
    """Contract of a repository with ``MultitenantMixin``.

    Provide the fixtures ``tenant_repository`` and ``make_owned``, a function from an id to a new
    aggregate without a tenant.
    """

    async def test_tenant_sees_and_changes_its_own_aggregates_only(
        self, tenant_repository: IBulkRepository[Any, Any], make_owned: Callable[[str], Any]
    ) -> None:
        ids = {each: [uuid4_text(), uuid4_text()] for each in TENANTS}
        for each, (first, second) in ids.items():
            with tenant(each):
                await tenant_repository.add(make_owned(first))
                await tenant_repository.add_many([make_owned(second)])
        every, theirs = ids["north"] + ids["south"], ids["north"]

        with tenant("south"):
            assert [await tenant_repository.get(each) for each in theirs] == [None, None]
            for found in (
                await tenant_repository.list_all(),
                await tenant_repository.list_all(every),
                await (await tenant_repository.search(AllOf(()))),
                [each async for each in (await tenant_repository.search(AllOf(()))).stream()],
            ):
                owned = {(each.id, each.tenant_id) for each in found}
                assert owned == {(each, "south") for each in ids["south"]}
            assert await (await tenant_repository.search(AllOf(()))).count() == 2
            for each in theirs:
                await tenant_repository.delete(each)
        with tenant("north"):
            assert {each.id for each in await tenant_repository.list_all()} == set(theirs)

    async def test_aggregate_of_another_tenant_is_neither_saved_nor_replaced(
        self, tenant_repository: IBulkRepository[Any, Any], make_owned: Callable[[str], Any]
    ) -> None:
        entity_id = uuid4_text()
        with tenant("north"):
            await tenant_repository.add(make_owned(entity_id))
            theirs = await tenant_repository.get(entity_id)
            assert theirs is not None

        with tenant("south"):
            await assert_rejected(
                lambda: tenant_repository.add(theirs),
                lambda: tenant_repository.add_many([theirs]),
            )
            with raises(OptimisticConcurrencyError):
                await tenant_repository.add(make_owned(entity_id))
        with tenant("north"):
            kept = await tenant_repository.get(entity_id)
            assert kept is not None
            assert (kept.tenant_id, kept.version) == ("north", theirs.version)

    async def test_repository_of_tenants_needs_a_tenant(
        self, tenant_repository: IBulkRepository[Any, Any], make_owned: Callable[[str], Any]
    ) -> None:
        calls: list[Call] = [
            lambda: tenant_repository.add(make_owned("1")),
            lambda: tenant_repository.add_many([make_owned("1")]),
            lambda: tenant_repository.get("1"),
            lambda: tenant_repository.delete("1"),
            lambda: tenant_repository.list_all(),
            lambda: tenant_repository.search(AllOf(())),
        ]

        await assert_rejected(*calls)
        with system_tenant():
            await assert_rejected(*calls)


def _event(stream: StreamId, version: int, owner: str, **fields: Any) -> StoredEvent:
    facts: dict[str, Any] = {
        "event_id": uuid4_text(),
        "event_type": "ParcelWeighed",
        "version": version,
        "payload": {"owner": owner},
        **stream._asdict(),
        **fields,
    }
    return StoredEvent(**facts)


def _owner(event: StoredEvent) -> tuple[object, object]:
    return event.payload["owner"], event.metadata.get("tenant_id")


async def _append_for_both_tenants(event_store: IEventLog) -> list[StreamId]:
    stream = StreamId("Parcel", uuid4_text())
    for each in TENANTS:
        with tenant(each):
            await event_store.append(_event(stream, 1, each))
    return [stream]


async def _read_all(event_store: IEventLog, position: int) -> Iterable[list[StoredEvent]]:
    """Return the results of all reads over all streams after a position."""
    start, end = datetime.now(timezone.utc) - timedelta(days=1), FAR_AHEAD
    return [
        await event_store.get_events_after(position),
        await event_store.get_events_of_types(["ParcelWeighed"], after=position),
        await event_store.get_events_between(start, end, after=position),
        [event async for event in event_store.stream_after(position)],
    ]


def _message(message_id: str, **fields: Any) -> OutboxMessage:
    facts: dict[str, Any] = {"event_type": "ParcelWeighed", "payload": {}, **fields}
    return OutboxMessage(message_id=message_id, partition_key="Parcel:p-1", **facts)


async def _save_for_both_tenants(outbox: ILeasedOutbox) -> str:
    """Save a message of one id and one partition key for each tenant; return the id."""
    message_id = uuid4_text()
    for each in TENANTS:
        with tenant(each):
            await outbox.save_messages([_message(message_id)])
    return message_id


def _sender(message: OutboxMessage) -> str:
    return str(message.metadata["tenant_id"])
