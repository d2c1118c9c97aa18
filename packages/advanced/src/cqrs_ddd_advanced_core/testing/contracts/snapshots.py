"""What every snapshot store must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import SerializationError
from cqrs_ddd_core.testing.assertions import UNSTORABLE_IDS, raises
from cqrs_ddd_core.testing.faults import cancel_sweep

from ...ports.snapshots import ISnapshotStore, Snapshot

NewUnitOfWork = Callable[[], UnitOfWork]


class SnapshotStoreContract:
    """Fixtures: ``snapshots``, and ``new_uow``, which makes units of work."""

    async def test_a_snapshot_comes_back_byte_by_byte(self, snapshots: ISnapshotStore) -> None:
        for state in (b'{"naive": "na\xc3\xafve"}', b"", b"\x00\xff no text, no JSON"):
            kept = a_snapshot(new_stream(), 3, state)
            await snapshots.save(kept)

            assert await the_snapshot(snapshots, kept.stream) == kept

    async def test_several_come_in_one_read_and_absent_ones_are_left_out(
        self, snapshots: ISnapshotStore
    ) -> None:
        one, two = a_snapshot(new_stream(), 1), a_snapshot(new_stream(), 2)
        await snapshots.save(one)
        await snapshots.save(two)

        found = await snapshots.load([two.stream, new_stream(), one.stream])

        assert found == {one.stream: one, two.stream: two}
        assert await snapshots.load([]) == {}

    async def test_ids_that_not_every_database_keeps_are_refused(
        self, snapshots: ISnapshotStore
    ) -> None:
        fine = new_stream()
        for bad in UNSTORABLE_IDS:
            with raises(SerializationError):  # By the snapshot, when it is made.
                await snapshots.save_many(
                    [a_snapshot(fine, 1), a_snapshot(StreamId("Parcel", bad), 1)]
                )

        assert await snapshots.load([fine]) == {}

    async def test_types_that_share_an_id_are_kept_apart(self, snapshots: ISnapshotStore) -> None:
        stream = new_stream()
        other = StreamId(f"Other {stream.aggregate_type}", stream.aggregate_id)
        await snapshots.save(a_snapshot(stream, 1))
        await snapshots.save(a_snapshot(other, 7))

        assert (await the_snapshot(snapshots, stream)).version == 1
        assert (await the_snapshot(snapshots, other)).version == 7

    async def test_a_later_version_replaces_an_earlier_one(self, snapshots: ISnapshotStore) -> None:
        stream = new_stream()
        await snapshots.save(a_snapshot(stream, 1, b"early"))
        await snapshots.save(a_snapshot(stream, 2, b"late", schema_hash="another"))

        found = await the_snapshot(snapshots, stream)
        assert (found.version, found.state, found.schema_hash) == (2, b"late", "another")

    async def test_an_earlier_version_never_replaces_a_later_one(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        await snapshots.save(a_snapshot(stream, 5, b"late"))
        await snapshots.save(a_snapshot(stream, 4, b"early"))

        found = await the_snapshot(snapshots, stream)
        assert (found.version, found.state) == (5, b"late")

    async def test_one_of_the_same_version_replaces_what_was_unusable(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        await snapshots.save(a_snapshot(stream, 5, b"broken"))
        await snapshots.save(a_snapshot(stream, 5, b"whole"))

        assert (await the_snapshot(snapshots, stream)).state == b"whole"

    async def test_many_are_saved_at_once_and_no_version_goes_back(
        self, snapshots: ISnapshotStore
    ) -> None:
        new, same, late, twice = (new_stream() for _ in range(4))
        await snapshots.save_many([a_snapshot(same, 5, b"broken"), a_snapshot(late, 5, b"late")])

        await snapshots.save_many(
            [
                a_snapshot(twice, 7),
                a_snapshot(twice, 6),
                a_snapshot(late, 4),
                a_snapshot(same, 5, b"whole"),
                a_snapshot(new, 1),
            ]
        )
        await snapshots.save_many([])

        found = await snapshots.load([new, same, late, twice])
        assert {stream: found[stream].version for stream in found} == {
            new: 1,
            same: 5,
            late: 5,
            twice: 7,
        }
        assert (found[same].state, found[late].state) == (b"whole", b"late")

    async def test_an_earlier_one_replaces_the_one_that_was_of_no_use_and_no_other(
        self, snapshots: ISnapshotStore
    ) -> None:
        broken, repaired, gone = new_stream(), new_stream(), new_stream()
        await snapshots.save_many([a_snapshot(broken, 7), a_snapshot(repaired, 9)])

        await snapshots.save_many(
            [a_snapshot(stream, 3) for stream in (broken, repaired, gone)],
            instead_of=dict.fromkeys([broken, repaired, gone], 7),
        )

        found = await snapshots.load([broken, repaired, gone])
        assert {stream: found[stream].version for stream in found} == {
            broken: 3,
            repaired: 9,
            gone: 3,
        }

    async def test_snapshot_committed_meanwhile_is_not_taken_for_the_unusable_one(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()
        await snapshots.save(a_snapshot(stream, 7, b"broken"))

        async with new_uow() as uow:
            await snapshots.load([stream], uow)
            await snapshots.delete(stream)
            await snapshots.save(a_snapshot(stream, 9))
            await snapshots.save_many([a_snapshot(stream, 3)], uow, instead_of={stream: 7})

        assert (await the_snapshot(snapshots, stream)).version == 9

    async def test_writers_of_many_in_any_order_end(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        first, middle, last = streams = [new_stream() for _ in range(3)]
        await snapshots.save_many([a_snapshot(stream, 1) for stream in streams])

        middle_is_held = asyncio.Event()

        async def write(version: int, *order: StreamId) -> None:
            await snapshots.load(order)  # So that each has a connection by then.
            await middle_is_held.wait()
            await snapshots.save_many([a_snapshot(stream, version) for stream in order])

        writing = asyncio.gather(write(3, first, middle, last), write(4, last, middle, first))
        await asyncio.sleep(0.1)
        async with new_uow() as uow:
            await snapshots.save(a_snapshot(middle, 2), uow)
            middle_is_held.set()
            # Both get as far as the middle, and have what the other one needs next.
            await asyncio.sleep(0.2)
        await writing

        found = await snapshots.load(streams)
        assert {snapshot.version for snapshot in found.values()} == {4}

    async def test_of_many_writers_the_one_with_the_latest_version_wins(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()

        async def write(version: int) -> None:
            async with new_uow() as uow:
                await asyncio.sleep(0.001 * (version % 4))
                await snapshots.save(a_snapshot(stream, version), uow)
                await asyncio.sleep(0.001 * (version % 3))

        await asyncio.gather(*(write(version * 7 % 20 + 1) for version in range(20)))

        assert (await the_snapshot(snapshots, stream)).version == 20

    async def test_a_deleted_one_is_gone_and_deleting_again_is_fine(
        self, snapshots: ISnapshotStore
    ) -> None:
        kept, gone = a_snapshot(new_stream(), 5), a_snapshot(new_stream(), 5)
        await snapshots.save(kept)
        await snapshots.save(gone)

        await snapshots.delete(gone.stream)
        await snapshots.delete(gone.stream)

        assert await snapshots.load([kept.stream, gone.stream]) == {kept.stream: kept}
        await snapshots.save(a_snapshot(gone.stream, 1))
        assert (await the_snapshot(snapshots, gone.stream)).version == 1

    async def test_uncommitted_document_is_visible_in_its_transaction_only(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        snapshot = a_snapshot(new_stream(), 1)

        async with new_uow() as uow:
            await snapshots.save(snapshot, uow)
            own = await snapshots.load([snapshot.stream], uow)
            async with new_uow() as other:
                of_others = await snapshots.load([snapshot.stream], other)

        assert (own, of_others) == ({snapshot.stream: snapshot}, {})
        assert await the_snapshot(snapshots, snapshot.stream) == snapshot

    async def test_a_rollback_leaves_what_was_there(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, new = a_snapshot(new_stream(), 1), a_snapshot(new_stream(), 1)
        await snapshots.save(kept)

        with raises(LookupError):
            async with new_uow() as uow:
                await snapshots.save(a_snapshot(kept.stream, 2), uow)
                await snapshots.save(new, uow)
                raise LookupError

        assert await snapshots.load([kept.stream, new.stream]) == {kept.stream: kept}

    async def test_a_cancellation_at_any_point_is_all_or_nothing(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        streams: list[StreamId] = []

        async def work() -> None:
            streams[:] = [new_stream(), new_stream()]
            async with new_uow() as uow:
                for stream in streams:
                    await snapshots.save(a_snapshot(stream, 1), uow)

        async def work_at_once() -> None:
            streams[:] = [new_stream(), new_stream()]
            await snapshots.save_many([a_snapshot(stream, 1) for stream in streams])

        async def check() -> None:
            assert len(await snapshots.load(streams)) in (0, 2)

        for each in (work, work_at_once):
            assert await cancel_sweep(each, check) > 0


_numbers = count(1)


def new_stream() -> StreamId:
    """One that no other test of this process uses."""
    return StreamId("Parcel", f"snapshot-{next(_numbers)}")


def a_snapshot(
    stream: StreamId, version: int, state: bytes = b"{}", *, schema_hash: str = "hash"
) -> Snapshot:
    return Snapshot(stream=stream, version=version, schema_hash=schema_hash, state=state)


async def the_snapshot(snapshots: ISnapshotStore, stream: StreamId) -> Snapshot:
    found = await snapshots.load([stream])
    assert stream in found, f"{stream} has no snapshot"
    return found[stream]
