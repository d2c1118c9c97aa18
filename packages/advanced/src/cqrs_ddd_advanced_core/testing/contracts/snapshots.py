"""Contract of snapshot stores."""

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
from .tenancy import SnapshotTenancyContract

NewUnitOfWork = Callable[[], UnitOfWork]


class SnapshotStoreContract(SnapshotTenancyContract):
    """Contract of ``ISnapshotStore``.

    Your test class provides two fixtures: ``snapshots``, the store under test, and ``new_uow``, a
    callable that returns a new unit of work.
    """

    async def test_snapshot_state_is_read_back_byte_for_byte(
        self, snapshots: ISnapshotStore
    ) -> None:
        for state in (b'{"naive": "na\xc3\xafve"}', b"", b"\x00\xff no text, no JSON"):
            kept = make_snapshot(new_stream(), 3, state)
            await snapshots.save(kept)

            assert await load_snapshot(snapshots, kept.stream) == kept

    async def test_loading_many_streams_returns_the_snapshots_that_exist(
        self, snapshots: ISnapshotStore
    ) -> None:
        one, two = make_snapshot(new_stream(), 1), make_snapshot(new_stream(), 2)
        await snapshots.save(one)
        await snapshots.save(two)

        found = await snapshots.load([two.stream, new_stream(), one.stream])

        assert found == {one.stream: one, two.stream: two}
        assert await snapshots.load([]) == {}

    async def test_snapshot_of_a_stream_id_that_databases_cannot_store_is_rejected(
        self, snapshots: ISnapshotStore
    ) -> None:
        fine = new_stream()
        for bad in UNSTORABLE_IDS:
            with raises(SerializationError):  # Raised when the snapshot is created.
                await snapshots.save_many(
                    [make_snapshot(fine, 1), make_snapshot(StreamId("Parcel", bad), 1)]
                )

        assert await snapshots.load([fine]) == {}

    async def test_aggregate_types_that_share_an_id_have_separate_snapshots(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        other = StreamId(f"Other {stream.aggregate_type}", stream.aggregate_id)
        await snapshots.save(make_snapshot(stream, 1))
        await snapshots.save(make_snapshot(other, 7))

        assert (await load_snapshot(snapshots, stream)).version == 1
        assert (await load_snapshot(snapshots, other)).version == 7

    async def test_snapshot_of_a_later_version_replaces_an_earlier_one(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        await snapshots.save(make_snapshot(stream, 1, b"early"))
        await snapshots.save(make_snapshot(stream, 2, b"late", schema_hash="another"))

        found = await load_snapshot(snapshots, stream)
        assert (found.version, found.state, found.schema_hash) == (2, b"late", "another")

    async def test_snapshot_of_an_earlier_version_never_replaces_a_later_one(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        await snapshots.save(make_snapshot(stream, 5, b"late"))
        await snapshots.save(make_snapshot(stream, 4, b"early"))

        found = await load_snapshot(snapshots, stream)
        assert (found.version, found.state) == (5, b"late")

    async def test_snapshot_of_the_same_version_replaces_the_stored_one(
        self, snapshots: ISnapshotStore
    ) -> None:
        stream = new_stream()
        await snapshots.save(make_snapshot(stream, 5, b"broken"))
        await snapshots.save(make_snapshot(stream, 5, b"whole"))

        assert (await load_snapshot(snapshots, stream)).state == b"whole"

    async def test_saving_many_snapshots_never_lowers_a_stored_version(
        self, snapshots: ISnapshotStore
    ) -> None:
        new, same, late, twice = (new_stream() for _ in range(4))
        await snapshots.save_many(
            [make_snapshot(same, 5, b"broken"), make_snapshot(late, 5, b"late")]
        )

        await snapshots.save_many(
            [
                make_snapshot(twice, 7),
                make_snapshot(twice, 6),
                make_snapshot(late, 4),
                make_snapshot(same, 5, b"whole"),
                make_snapshot(new, 1),
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

    async def test_earlier_snapshot_replaces_only_the_version_that_instead_of_names(
        self, snapshots: ISnapshotStore
    ) -> None:
        broken, repaired, gone = new_stream(), new_stream(), new_stream()
        await snapshots.save_many([make_snapshot(broken, 7), make_snapshot(repaired, 9)])

        await snapshots.save_many(
            [make_snapshot(stream, 3) for stream in (broken, repaired, gone)],
            instead_of=dict.fromkeys([broken, repaired, gone], 7),
        )

        found = await snapshots.load([broken, repaired, gone])
        assert {stream: found[stream].version for stream in found} == {
            broken: 3,
            repaired: 9,
            gone: 3,
        }

    async def test_snapshot_newer_than_the_version_that_instead_of_names_is_kept(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()
        await snapshots.save(make_snapshot(stream, 7, b"broken"))

        async with new_uow() as uow:
            await snapshots.load([stream], uow)
            await snapshots.delete(stream)
            await snapshots.save(make_snapshot(stream, 9))
            await snapshots.save_many([make_snapshot(stream, 3)], uow, instead_of={stream: 7})

        assert (await load_snapshot(snapshots, stream)).version == 9

    async def test_snapshot_batches_in_opposite_orders_do_not_deadlock(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        first, middle, last = streams = [new_stream() for _ in range(3)]
        await snapshots.save_many([make_snapshot(stream, 1) for stream in streams])

        middle_is_held = asyncio.Event()

        async def write(version: int, *order: StreamId) -> None:
            await snapshots.load(order)  # So that each writer has a connection by then.
            await middle_is_held.wait()
            await snapshots.save_many([make_snapshot(stream, version) for stream in order])

        writing = asyncio.gather(write(3, first, middle, last), write(4, last, middle, first))
        await asyncio.sleep(0.1)
        async with new_uow() as uow:
            await snapshots.save(make_snapshot(middle, 2), uow)
            middle_is_held.set()
            # Both block at the middle stream, and hold a lock that the other needs next.
            await asyncio.sleep(0.2)
        await writing

        found = await snapshots.load(streams)
        assert {snapshot.version for snapshot in found.values()} == {4}

    async def test_concurrent_writers_leave_the_snapshot_of_the_latest_version(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        stream = new_stream()

        async def write(version: int) -> None:
            async with new_uow() as uow:
                await asyncio.sleep(0.001 * (version % 4))
                await snapshots.save(make_snapshot(stream, version), uow)
                await asyncio.sleep(0.001 * (version % 3))

        await asyncio.gather(*(write(version * 7 % 20 + 1) for version in range(20)))

        assert (await load_snapshot(snapshots, stream)).version == 20

    async def test_deleted_snapshot_is_gone_and_can_be_deleted_again(
        self, snapshots: ISnapshotStore
    ) -> None:
        kept, gone = make_snapshot(new_stream(), 5), make_snapshot(new_stream(), 5)
        await snapshots.save(kept)
        await snapshots.save(gone)

        await snapshots.delete(gone.stream)
        await snapshots.delete(gone.stream)

        assert await snapshots.load([kept.stream, gone.stream]) == {kept.stream: kept}
        await snapshots.save(make_snapshot(gone.stream, 1))
        assert (await load_snapshot(snapshots, gone.stream)).version == 1

    async def test_uncommitted_snapshot_is_visible_in_its_transaction_only(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        snapshot = make_snapshot(new_stream(), 1)

        async with new_uow() as uow:
            await snapshots.save(snapshot, uow)
            own = await snapshots.load([snapshot.stream], uow)
            async with new_uow() as other:
                of_others = await snapshots.load([snapshot.stream], other)

        assert (own, of_others) == ({snapshot.stream: snapshot}, {})
        assert await load_snapshot(snapshots, snapshot.stream) == snapshot

    async def test_rolled_back_saves_leave_the_snapshots_unchanged(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        kept, new = make_snapshot(new_stream(), 1), make_snapshot(new_stream(), 1)
        await snapshots.save(kept)

        with raises(LookupError):
            async with new_uow() as uow:
                await snapshots.save(make_snapshot(kept.stream, 2), uow)
                await snapshots.save(new, uow)
                raise LookupError

        assert await snapshots.load([kept.stream, new.stream]) == {kept.stream: kept}

    async def test_cancelled_save_stores_all_snapshots_or_none(
        self, snapshots: ISnapshotStore, new_uow: NewUnitOfWork
    ) -> None:
        streams: list[StreamId] = []

        async def work() -> None:
            streams[:] = [new_stream(), new_stream()]
            async with new_uow() as uow:
                for stream in streams:
                    await snapshots.save(make_snapshot(stream, 1), uow)

        async def work_at_once() -> None:
            streams[:] = [new_stream(), new_stream()]
            await snapshots.save_many([make_snapshot(stream, 1) for stream in streams])

        async def check() -> None:
            assert len(await snapshots.load(streams)) in (0, 2)

        for each in (work, work_at_once):
            assert await cancel_sweep(each, check) > 0


_numbers = count(1)


def new_stream() -> StreamId:
    """Return a stream that no other test of this process uses."""
    return StreamId("Parcel", f"snapshot-{next(_numbers)}")


def make_snapshot(
    stream: StreamId, version: int, state: bytes = b"{}", *, schema_hash: str = "hash"
) -> Snapshot:
    """Build a snapshot of the stream."""
    return Snapshot(stream=stream, version=version, schema_hash=schema_hash, state=state)


async def load_snapshot(snapshots: ISnapshotStore, stream: StreamId) -> Snapshot:
    """Load the snapshot of the stream, asserting that it exists."""
    found = await snapshots.load([stream])
    assert stream in found, f"{stream} has no snapshot"
    return found[stream]
