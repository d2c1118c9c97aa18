"""What every snapshot store must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.testing.expecting import raises
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

    async def test_what_is_not_committed_is_seen_from_inside_only(
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

        async def check() -> None:
            assert len(await snapshots.load(streams)) in (0, 2)

        assert await cancel_sweep(work, check) > 0


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
