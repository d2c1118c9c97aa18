"""Contract of event stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import count, pairwise
from typing import Any, Protocol

from ...ports.event_store import ExpectedVersion, IEventLog, StoredEvent, StreamId
from ...ports.outbox import OutboxMessage
from ...primitives.exceptions import (
    AmbiguousStreamError,
    DuplicateEventError,
    InvalidOperationError,
    OptimisticConcurrencyError,
    SerializationError,
)
from ...primitives.id_generator import uuid4_text
from ..assertions import EXACT_JSON, UNSTORABLE_IDS, raises
from ..faults import cancel_sweep
from .tenancy import EventStoreTenancyContract


class UnitOfWorkWithEvents(Protocol):
    """Unit of work with an event store that is bound to it."""

    @property
    def event_store(self) -> IEventLog:
        """Event store that appends and reads in this unit of work."""
        ...

    @property
    def committed_position(self) -> int | None:
        """Last global position that this unit of work has committed."""
        ...

    async def commit(self) -> None:
        """Commit the appended events."""
        ...

    async def rollback(self) -> None:
        """Discard the appended events."""
        ...

    async def __aenter__(self) -> UnitOfWorkWithEvents: ...

    async def __aexit__(self, *error: Any) -> None: ...


NewUnitOfWork = Callable[[], UnitOfWorkWithEvents]


class EventStoreContract(EventStoreTenancyContract):
    """Contract of ``IEventLog``, an event store with expected versions and a global order.

    Fixtures:
        event_store: The event store under test.
        new_uow: Returns a new unit of work with an ``event_store`` for the same events.
    """

    async def test_event_store_returns_a_stream_complete_and_in_order(
        self, event_store: IEventLog
    ) -> None:
        stream = new_stream()
        events = [
            event(
                stream,
                version,
                metadata={"user_id": "u-1", "tags": ["a", None]},
                correlation_id="corr-1",
                causation_id=None,
                schema_version=3,
                occurred_at=datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5))),
            )
            for version in (1, 2, 3)
        ]
        await event_store.append(events[0])
        await event_store.append_batch(events[1:])

        found = await event_store.get_events(stream.aggregate_id)

        assert [_drop_position(e) for e in found] == events
        assert [e.version for e in found] == [1, 2, 3]
        assert all(type(e.position) is int and e.position > 0 for e in found)

    async def test_event_at_the_first_or_last_time_is_rejected_and_its_stream_stays_readable(
        self, event_store: IEventLog
    ) -> None:
        stream, tick = new_stream(), timedelta(microseconds=1)
        ends = (datetime.min, datetime.max)
        first, last = (end.replace(tzinfo=timezone.utc) for end in ends)
        before_first = first.replace(tzinfo=timezone(timedelta(hours=1)))
        for end in (first, last, before_first):
            # The constructor of StoredEvent raises, so such a time never reaches a store.
            with raises(SerializationError) as caught:
                await event_store.append(event(stream, 1, occurred_at=end))
            assert caught.error.field == "occurred_at"
        await event_store.append(event(stream, 1, occurred_at=first + tick))
        await event_store.append(event(stream, 2, occurred_at=last - tick))

        found = await event_store.get_events(stream.aggregate_id)

        assert [each.occurred_at for each in found] == [first + tick, last - tick]

    async def test_event_store_rejects_ids_that_some_databases_cannot_store(
        self, event_store: IEventLog
    ) -> None:
        stream = new_stream()
        for bad in UNSTORABLE_IDS:
            # The constructor of StoredEvent raises, so such an id never reaches a store.
            with raises(SerializationError):
                await event_store.append(replace(event(stream, 1), event_id=bad))
            with raises(SerializationError):
                await event_store.append(replace(event(stream, 1), causation_id=bad))
            with raises(SerializationError):
                await event_store.append(event(StreamId("Parcel", bad), 1))
            # StreamId does not check its id, so here the store raises.
            with raises(SerializationError):
                await event_store.append_to_stream(StreamId("Parcel", bad), [event(stream, 1)])

        assert await event_store.get_events(stream.aggregate_id) == []

    async def test_absent_event_stream_is_empty(self, event_store: IEventLog) -> None:
        assert await event_store.get_events(new_stream().aggregate_id) == []

    async def test_event_stream_can_be_read_after_a_version(self, event_store: IEventLog) -> None:
        stream = await _fill_stream(event_store, 4)

        found = await event_store.get_events(stream.aggregate_id, after_version=2)

        assert [e.version for e in found] == [3, 4]
        assert await event_store.get_events(stream.aggregate_id, after_version=4) == []

    async def test_part_of_an_event_stream_can_be_read(self, event_store: IEventLog) -> None:
        stream = await _fill_stream(event_store, 5)
        parts: list[tuple[dict[str, Any], list[int]]] = [
            ({"up_to_version": 3}, [1, 2, 3]),
            ({"up_to_version": 0}, []),
            ({"up_to_version": 9}, [1, 2, 3, 4, 5]),
            ({"after_version": 1, "up_to_version": 3}, [2, 3]),
            ({"limit": 2}, [1, 2]),
            ({"after_version": 3, "limit": 9}, [4, 5]),
            ({"descending": True}, [5, 4, 3, 2, 1]),
            ({"descending": True, "limit": 1}, [5]),
            ({"descending": True, "after_version": 1, "up_to_version": 4, "limit": 2}, [4, 3]),
        ]
        for part, versions in parts:
            for kind in (stream.aggregate_type, None):
                found = await event_store.get_events(
                    stream.aggregate_id, aggregate_type=kind, **part
                )
                assert [e.version for e in found] == versions, part
        for limit in (0, -1):
            with raises(InvalidOperationError):
                await event_store.get_events(stream.aggregate_id, limit=limit)

    async def test_reads_of_events_accept_numbers_beyond_those_of_a_database(
        self, event_store: IEventLog
    ) -> None:
        stream, end = await _fill_stream(event_store, 2), 2**70
        read = event_store.get_events

        assert len(await read(stream.aggregate_id, up_to_version=end, limit=end)) == 2
        assert len(await read(stream.aggregate_id, after_version=-end)) == 2
        assert await read(stream.aggregate_id, after_version=end) == []
        assert await read(stream.aggregate_id, up_to_version=-end) == []
        assert await event_store.get_streams([stream], after_version=end) == {stream: []}
        assert await event_store.get_events_after(end, limit=end) == []
        assert len(await event_store.get_events_after(-end, limit=end)) >= 2
        assert await event_store.get_events_of_types(["MoneyPaidIn"], after=end, limit=end) == []
        assert await event_store.get_first_committed(after=end) is None
        assert not await event_store.wait_for(end, timeout=0)

    async def test_event_payload_and_metadata_are_returned_as_json(
        self, event_store: IEventLog
    ) -> None:
        stream = new_stream()
        payload: dict[str, object] = {
            "decimal": Decimal("0.10"),
            "at": datetime(2026, 1, 1, tzinfo=timezone.utc),
            "tuple": (1, 2),
            "text": "naïve ☃ 𝄞 'quoted' \"twice\" \\ \n",
            "large": 2**70,
            "float": 0.1,
            "nested": {"empty": {}, "null": None, "list": [[], True]},
        }

        await event_store.append(event(stream, 1, payload=payload, metadata={"n": Decimal(3)}))

        (found,) = await event_store.get_events(stream.aggregate_id)
        assert found.payload == {
            **payload,
            "decimal": "0.10",
            "at": "2026-01-01T00:00:00Z",
            "tuple": [1, 2],
        }
        assert found.metadata == {"n": "3"}

    async def test_event_store_returns_json_unchanged(self, event_store: IEventLog) -> None:
        stream = new_stream()

        await event_store.append(event(stream, 1, payload=EXACT_JSON, metadata=EXACT_JSON))

        (found,) = await event_store.get_events(stream.aggregate_id)
        assert repr(found.payload) == repr(found.metadata) == repr(EXACT_JSON)

    async def test_event_store_rejects_the_whole_batch_if_one_event_is_not_json(
        self, event_store: IEventLog
    ) -> None:
        unusable: list[object] = [
            10**4400,
            object(),
            float("nan"),
            float("inf"),
            b"\xff",
            {1: {2: object()}},
        ]
        for value in unusable:
            stream = new_stream()

            with raises(SerializationError):
                await event_store.append_batch(
                    [event(stream, 1), event(stream, 2, payload={"value": value})]
                )

            assert await event_store.get_events(stream.aggregate_id) == []

    async def test_change_to_an_event_after_its_append_does_not_reach_the_event_store(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()
        appended = event(stream, 1, payload={"tags": ["a"]}, metadata={"roles": ["x"]})

        async with new_uow() as uow:
            await uow.event_store.append(appended)
            change_in_place(appended)
            assert values_of(await uow.event_store.get_events(stream.aggregate_id)) == [AS_STORED]
        change_in_place(appended)

        assert values_of(await event_store.get_events(stream.aggregate_id)) == [AS_STORED]

    async def test_change_to_an_event_that_was_read_does_not_reach_the_event_store(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream, kind = new_stream(), uuid4_text()
        before = await event_store.highest_position()
        facts = {"payload": {"tags": ["a"]}, "metadata": {"roles": ["x"]}, "event_type": kind}
        occurred_at = datetime.now(timezone.utc)
        async with new_uow() as uow:
            await uow.event_store.append(event(stream, 1, occurred_at=occurred_at, **facts))
            change_in_place(*await uow.event_store.get_events(stream.aggregate_id))

        for _ in range(2):  # The second round finds what the first one has changed.
            later = occurred_at + timedelta(microseconds=1)
            first = await event_store.get_first_committed(after=before)
            reads = [
                await event_store.get_events(stream.aggregate_id),
                (await event_store.get_streams([stream]))[stream],
                await event_store.get_events_after(before),
                await event_store.get_events_of_types([kind]),
                await event_store.get_events_between(occurred_at, later, after=before),
                [each async for each in event_store.stream_after(before)],
                [first] if first is not None else [],
            ]
            for read in reads:
                found = [each for each in read if each.event_type == kind]
                assert values_of(found) == [AS_STORED]
                change_in_place(*found)

    async def test_event_store_rejects_the_whole_batch_if_one_version_is_stored(
        self, event_store: IEventLog
    ) -> None:
        stream, other = await _fill_stream(event_store, 2), new_stream()

        with raises(OptimisticConcurrencyError) as caught:
            await event_store.append_batch([event(other, 1), event(stream, 2)])

        assert (caught.error.expected, caught.error.actual) == (1, 2)
        assert stream.aggregate_id in str(caught.error)
        assert await event_store.get_events(other.aggregate_id) == []
        assert len(await event_store.get_events(stream.aggregate_id)) == 2

    async def test_event_versions_of_a_stream_ascend(self, event_store: IEventLog) -> None:
        stream, other = new_stream(), new_stream()
        # The stream of an aggregate with its own table has a gap for a save without events.
        await event_store.append_batch([event(stream, 1), event(other, 1), event(stream, 3)])
        await event_store.append(event(stream, 7))

        for version in (2, 5, 7):
            with raises(OptimisticConcurrencyError) as caught:
                await event_store.append_batch([event(other, 2), event(stream, version)])
            assert (caught.error.expected, caught.error.actual) == (version - 1, 7)
            assert caught.error.subject == str(stream)
        for versions in ((9, 8), (8, 8)):
            with raises(InvalidOperationError) as misplaced:
                await event_store.append_batch([event(stream, version) for version in versions])
            assert str(stream) in str(misplaced.error)

        assert [e.version for e in await event_store.get_events(stream.aggregate_id)] == [1, 3, 7]
        assert len(await event_store.get_events(other.aggregate_id)) == 1
        assert await event_store.append_to_stream(stream, [event(stream, 1)]) == (
            8,
            await event_store.latest_position(),
        )

    async def test_event_versions_ascend_within_a_unit_of_work(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()
        with raises(OptimisticConcurrencyError):
            async with new_uow() as uow:
                await uow.event_store.append(event(stream, 2))
                await uow.event_store.append(event(stream, 1))

        assert await event_store.get_events(stream.aggregate_id) == []

    async def test_event_version_outside_its_range_is_rejected(
        self, event_store: IEventLog
    ) -> None:
        unusable: list[dict[str, int]] = [
            {"version": 0},
            {"version": -1},
            {"version": 2**63},
            {"schema_version": 0},
            {"schema_version": 2**31},
        ]
        for fields in unusable:
            with raises(InvalidOperationError):  # Raised by the constructor of StoredEvent.
                await event_store.append(event(new_stream(), **{"version": 1, **fields}))

        stream = new_stream()
        last = event(stream, 2**63 - 1, schema_version=2**31 - 1)
        await event_store.append(last)
        (found,) = await event_store.get_events(stream.aggregate_id)
        assert _drop_position(found) == last

    async def test_batch_with_a_reused_id_and_a_taken_version_is_a_conflict(
        self, event_store: IEventLog
    ) -> None:
        one, two = new_stream(), new_stream()
        stored = [event(one, 1), event(two, 1)]
        await event_store.append_batch(stored)

        with raises(OptimisticConcurrencyError):
            await event_store.append_batch(
                [event(new_stream(), 1, event_id=stored[0].event_id), event(two, 1)]
            )

    async def test_reused_event_id_raises_duplicate_event_error(
        self, event_store: IEventLog
    ) -> None:
        stream = new_stream()
        first = event(stream, 1)
        await event_store.append(first)

        with raises(DuplicateEventError) as caught:
            await event_store.append(event(stream, 2, event_id=first.event_id))
        twins = [event(stream, version, event_id=uuid4_text()) for version in (2, 3)]
        twins[1] = event(stream, 3, event_id=twins[0].event_id)
        with raises(DuplicateEventError):
            await event_store.append_batch(twins)

        assert caught.error.event_id == first.event_id
        assert len(await event_store.get_events(stream.aggregate_id)) == 1

    async def test_appending_an_empty_batch_does_nothing(self, event_store: IEventLog) -> None:
        before = await event_store.latest_position()

        await event_store.append_batch([])

        assert await event_store.latest_position() == before

    async def test_event_store_enforces_each_kind_of_expected_version(
        self, event_store: IEventLog
    ) -> None:
        # Rows: expected versions. Columns: no stream, a stream at version 2, a stream at version 3.
        accepted: dict[ExpectedVersion | int, tuple[bool, bool, bool]] = {
            ExpectedVersion.ANY: (True, True, True),
            ExpectedVersion.NO_STREAM: (True, False, False),
            ExpectedVersion.STREAM_EXISTS: (False, True, True),
            2: (False, True, False),
            0: (True, False, False),
        }
        for expected, columns in accepted.items():
            for actual, is_accepted in zip((0, 2, 3), columns, strict=True):
                stream = await _fill_stream(event_store, actual)
                appended = [event(stream, 1), event(stream, 1)]
                if is_accepted:
                    last = await event_store.append_to_stream(
                        stream, appended, expected_version=expected
                    )
                    assert last.version == actual + 2
                else:
                    with raises(OptimisticConcurrencyError) as caught:
                        await event_store.append_to_stream(
                            stream, appended, expected_version=expected
                        )
                    assert caught.error.expected == expected
                    assert caught.error.actual == (actual or None)

                found = await event_store.get_events(stream.aggregate_id)
                stored = actual + 2 if is_accepted else actual
                assert [e.version for e in found] == list(range(1, stored + 1))

    async def test_appending_no_events_returns_the_version_of_the_stream(
        self, event_store: IEventLog
    ) -> None:
        stream = await _fill_stream(event_store, 2)

        assert await event_store.append_to_stream(stream, []) == (2, None)
        assert await event_store.append_to_stream(new_stream(), []) == (0, None)

    async def test_append_to_a_stream_returns_the_position_once_it_is_committed(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()

        first = await event_store.append_to_stream(stream, [event(stream, 1), event(stream, 1)])
        assert first.position is not None
        assert await event_store.wait_for(first.position, timeout=0)
        async with new_uow() as uow:
            second = await uow.event_store.append_to_stream(stream, [event(stream, 1)])
            read = await uow.event_store.get_events(stream.aggregate_id)
            many = await uow.event_store.get_streams([stream])

        stored = await event_store.get_events(stream.aggregate_id)
        positions = [e.position for e in stored]
        assert (first.version, first.position) == (2, positions[1])
        assert second == (3, None)
        assert [e.position for e in read] == [*positions[:2], None]
        assert many == {stream: read}
        assert uow.committed_position == positions[2]

    async def test_aggregate_types_that_share_an_id_have_separate_streams(
        self, event_store: IEventLog
    ) -> None:
        stream = await _fill_stream(event_store, 1)
        twin = StreamId("Twin", stream.aggregate_id)
        await event_store.append_to_stream(
            twin, [event(twin, 1), event(twin, 2)], expected_version=ExpectedVersion.NO_STREAM
        )

        with raises(AmbiguousStreamError) as caught:
            await event_store.get_events(stream.aggregate_id)

        assert caught.error.aggregate_types == tuple(sorted([stream.aggregate_type, "Twin"]))
        parts: list[dict[str, Any]] = [{"after_version": 9}, {"up_to_version": 0}, {"limit": 1}]
        for part in parts:
            with raises(AmbiguousStreamError):
                await event_store.get_events(stream.aggregate_id, **part)
        found = await event_store.get_events(stream.aggregate_id, aggregate_type="Twin")
        assert [(e.aggregate_type, e.version) for e in found] == [("Twin", 1), ("Twin", 2)]

    async def test_get_streams_reads_several_event_streams_in_one_call(
        self, event_store: IEventLog
    ) -> None:
        one, two, absent = (
            await _fill_stream(event_store, 1),
            await _fill_stream(event_store, 3),
            new_stream(),
        )

        found = await event_store.get_streams([one, two, absent], after_version=1)

        versions = {stream: [e.version for e in events] for stream, events in found.items()}
        assert versions == {one: [], two: [2, 3], absent: []}

    async def test_global_positions_increase_in_commit_order(self, event_store: IEventLog) -> None:
        start = await event_store.latest_position()
        one, two = new_stream(), new_stream()
        for stream, version in ((one, 1), (two, 1), (one, 2)):
            await event_store.append(event(stream, version))

        found = await event_store.get_events_after(start)

        assert [(e.stream, e.version) for e in found] == [(one, 1), (two, 1), (one, 2)]
        _assert_ascending(found)
        assert await event_store.latest_position() == found[-1].position

    async def test_reader_pages_through_all_events_by_position(
        self, event_store: IEventLog
    ) -> None:
        start = await event_store.latest_position()
        stream = await _fill_stream(event_store, 5)

        first = await event_store.get_events_after(start, limit=2)
        rest = await event_store.get_events_after(_get_last_position(first), limit=10)
        streamed = [e.version async for e in event_store.stream_after(start, batch_size=2)]

        assert [e.version for e in first + rest] == streamed == [1, 2, 3, 4, 5]
        assert {e.stream for e in first + rest} == {stream}
        assert await event_store.get_events_after(_get_last_position(rest)) == []
        for limit in (0, -1):
            with raises(InvalidOperationError):
                await event_store.get_events_after(start, limit)

    async def test_first_committed_event_follows_a_position(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        await _fill_stream(event_store, 3)
        events = await event_store.get_events_after(0)
        end = _get_last_position(events)

        assert await event_store.get_first_committed(after=0) == events[0]
        assert await event_store.get_first_committed(after=end - 1) == events[-1]
        assert await event_store.get_first_committed(after=end) is None
        async with new_uow() as uow:
            await uow.event_store.append(event(new_stream(), 1))
            assert await event_store.get_first_committed(after=end) is None
            await uow.rollback()

    async def test_event_store_finds_events_by_type(self, event_store: IEventLog) -> None:
        start = await event_store.latest_position()
        stream, sold, lost = new_stream(), uuid4_text(), uuid4_text()
        kinds = (sold, lost, "Other", sold)
        for version, kind in enumerate(kinds, 1):
            await event_store.append(event(stream, version, event_type=kind))

        both = await event_store.get_events_of_types([sold, lost], after=start)
        page = await event_store.get_events_of_types(
            [sold], after=_get_last_position(both[:1]), limit=1
        )

        assert [e.version for e in both] == [1, 2, 4]
        _assert_ascending(both)
        assert [e.version for e in page] == [4]
        assert await event_store.get_events_of_types([], after=start) == []

    async def test_event_store_finds_events_by_the_time_they_occurred(
        self, event_store: IEventLog
    ) -> None:
        start = await event_store.latest_position()
        stream = new_stream()
        noon = datetime(2001, 1, 1, 12, tzinfo=timezone.utc)
        for version, hours in enumerate((2, 0, 1, 3), 1):
            at = noon + timedelta(hours=hours)
            await event_store.append(event(stream, version, occurred_at=at))

        found = await event_store.get_events_between(noon, noon + timedelta(hours=3), after=start)

        assert [e.version for e in found] == [1, 2, 3]
        _assert_ascending(found)

    async def test_uncommitted_events_are_visible_only_in_their_own_unit_of_work(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()

        async with new_uow() as uow:
            await uow.event_store.append_batch([event(stream, 1), event(stream, 2)])
            own_view = await uow.event_store.get_events(stream.aggregate_id)
            async with new_uow() as other:
                other_view = await other.event_store.get_events(stream.aggregate_id)
            assert uow.committed_position is None
        found = await event_store.get_events(stream.aggregate_id)

        assert [e.version for e in own_view] == [1, 2]
        assert other_view == []
        assert [e.version for e in found] == [1, 2]
        assert uow.committed_position == found[-1].position

    async def test_rolled_back_events_leave_no_trace_in_the_event_store(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        start = await event_store.latest_position()
        stream = new_stream()
        lost = event(stream, 1)

        async with new_uow() as uow:
            await uow.event_store.append(lost)
            await uow.rollback()
        await event_store.append(lost)

        found = await event_store.get_events_after(start)
        assert [_drop_position(e) for e in found] == [lost]
        assert uow.committed_position is None

    async def test_unit_of_work_with_an_append_conflict_can_only_be_rolled_back(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        taken, other = await _fill_stream(event_store, 1), new_stream()

        with raises(InvalidOperationError):
            async with new_uow() as uow:
                await uow.event_store.append(event(other, 1))
                with raises(OptimisticConcurrencyError):
                    await uow.event_store.append(event(taken, 1))
                with raises(InvalidOperationError):
                    await uow.event_store.get_events(other.aggregate_id)

        assert await event_store.get_events(other.aggregate_id) == []

    async def test_reader_of_all_events_never_skips_events_of_a_slow_transaction(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        await self._read_during_a_slow_transaction(event_store, new_uow, commits=True)

    async def test_reader_of_all_events_does_not_wait_for_rolled_back_events(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        await self._read_during_a_slow_transaction(event_store, new_uow, commits=False)

    async def _read_during_a_slow_transaction(
        self, event_store: IEventLog, new_uow: NewUnitOfWork, *, commits: bool
    ) -> None:
        start = await event_store.latest_position()
        slow, fast = new_stream(), new_stream()
        async with new_uow() as uow:
            await uow.event_store.append(event(slow, 1))
            # On a database with one writer at a time, this append waits for the slow transaction.
            overtaking = asyncio.ensure_future(_append_in_new_uow(new_uow, event(fast, 1)))
            await asyncio.wait({overtaking}, timeout=0.2)
            seen = await _read_in_new_uow(new_uow, lambda store: store.get_events_after(start))
            if not commits:
                await uow.rollback()
        await overtaking
        await event_store.append(event(fast, 2))
        seen += await event_store.get_events_after(_get_last_position(seen) or start)

        found = sorted((e.stream, e.version) for e in seen)
        assert found == sorted([(fast, 1), (fast, 2), *([(slow, 1)] if commits else [])])
        _assert_ascending(seen)

    async def test_only_one_concurrent_writer_appends_a_given_version(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()

        answers = await asyncio.gather(
            *(_append_in_new_uow(new_uow, event(stream, 1)) for _ in range(5)),
            return_exceptions=True,
        )

        conflicts = [a for a in answers if isinstance(a, OptimisticConcurrencyError)]
        assert len(conflicts) == 4, answers
        assert len(await event_store.get_events(stream.aggregate_id)) == 1

    async def test_reader_sees_exactly_the_events_that_concurrent_writers_committed(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        start = await event_store.latest_position()
        shared = new_stream()
        committed: list[str] = []
        writing = asyncio.Event()

        async def write(writer: int) -> None:
            own = new_stream()
            for number in range(1, 9):
                mine = [event(own, number), event(shared, 1)]
                uow = new_uow()
                try:
                    async with uow:
                        await uow.event_store.append(mine[0])
                        await asyncio.sleep(0.001 * (writer % 3))
                        await uow.event_store.append_to_stream(shared, mine[1:])
                        if (writer + number) % 4 == 0:
                            await uow.rollback()
                except OptimisticConcurrencyError:
                    continue
                if uow.committed_position is not None:
                    committed.extend(e.event_id for e in mine)

        seen: list[StoredEvent] = []

        async def read() -> None:
            while not writing.is_set():
                seen.extend(
                    await event_store.get_events_after(_get_last_position(seen) or start, limit=7)
                )
                await asyncio.sleep(0.001)

        reader = asyncio.ensure_future(read())
        await asyncio.gather(*(write(writer) for writer in range(6)))
        writing.set()
        await reader
        while page := await event_store.get_events_after(_get_last_position(seen) or start):
            seen += page

        assert sorted(e.event_id for e in seen) == sorted(committed)
        _assert_ascending(seen)
        versions = [e.version for e in seen if e.stream == shared]
        assert versions == list(range(1, len(versions) + 1))
        assert versions

    async def test_cancelled_append_stores_all_events_or_none(
        self, event_store: IEventLog, new_uow: NewUnitOfWork
    ) -> None:
        streams: list[StreamId] = []

        async def work() -> None:
            streams.append(new_stream())
            async with new_uow() as uow:
                await uow.event_store.append(event(streams[-1], 1))
                await uow.event_store.append(event(streams[-1], 2))

        async def check() -> None:
            assert len(await event_store.get_events(streams[-1].aggregate_id)) in (0, 2)

        suspensions = await cancel_sweep(work, check)

        assert suspensions > 0
        assert len(await event_store.get_events(streams[-1].aggregate_id)) == 2

    async def test_wait_for_returns_when_the_position_is_committed(
        self, event_store: IEventLog
    ) -> None:
        position = await event_store.latest_position()

        assert await event_store.wait_for(position, timeout=0)
        assert not await event_store.wait_for(position + 1, timeout=0.01)
        waiting = asyncio.ensure_future(event_store.wait_for(position + 1, timeout=30))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await _fill_stream(event_store, 1)

        assert await waiting


_numbers = count(1)


def new_stream() -> StreamId:
    """Return the id of a stream that no other test uses."""
    return StreamId("Account", f"account-{uuid4_text()}")


def event(stream: StreamId, version: int, **fields: Any) -> StoredEvent:
    """Return an event of the stream.

    Args:
        stream: The stream of the event.
        version: Version of the event within the stream.
        fields: Fields of ``StoredEvent`` that replace the defaults.
    """
    facts: dict[str, Any] = {
        "event_id": uuid4_text(),
        "event_type": "MoneyPaidIn",
        "payload": {"amount": next(_numbers)},
        "occurred_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        **fields,
    }
    return StoredEvent(
        aggregate_id=stream.aggregate_id,
        aggregate_type=stream.aggregate_type,
        version=version,
        **facts,
    )


AS_STORED = {"tags": ["a"]}, {"roles": ["x"]}
"""Payload and metadata of the events and messages that ``change_in_place`` changes."""


def values_of(stored: Sequence[StoredEvent | OutboxMessage]) -> list[tuple[object, object]]:
    """Return the payload and the metadata of each event or message."""
    return [(each.payload, each.metadata) for each in stored]


def change_in_place(*stored: StoredEvent | OutboxMessage) -> None:
    """Change payload and metadata, and the lists in them, in place."""
    for each in stored:
        for facts in (each.payload, each.metadata):
            for value in facts.values():
                assert isinstance(value, list)
                value.append("changed")
            facts["changed"] = ["changed"]


async def _fill_stream(event_store: IEventLog, events: int) -> StreamId:
    stream = new_stream()
    await event_store.append_batch([event(stream, n) for n in range(1, events + 1)])
    return stream


async def _append_in_new_uow(new_uow: NewUnitOfWork, *events: StoredEvent) -> None:
    async with new_uow() as uow:
        await uow.event_store.append_batch(list(events))


async def _read_in_new_uow(
    new_uow: NewUnitOfWork, read: Callable[[IEventLog], Any]
) -> list[StoredEvent]:
    async with new_uow() as uow:
        found: list[StoredEvent] = await read(uow.event_store)
        return found


def _drop_position(stored: StoredEvent) -> StoredEvent:
    facts = {name: getattr(stored, name) for name in StoredEvent.__dataclass_fields__}
    return StoredEvent(**{**facts, "position": None})


def _get_last_position(events: Sequence[StoredEvent]) -> int:
    return (events[-1].position or 0) if events else 0


def _assert_ascending(events: Sequence[StoredEvent]) -> None:
    positions = [stored.position or 0 for stored in events]
    assert all(one < next_ for one, next_ in pairwise(positions)), positions
