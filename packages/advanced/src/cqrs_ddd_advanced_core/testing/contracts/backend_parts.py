"""Contract of the parts of a backend that implement ports of this package."""

from __future__ import annotations

from cqrs_ddd_core.ports import IBackend, UnitOfWork

from ...adapters import memory
from ...ports import IDeadLetterStore, IPositionStore, IProjectionStore, ISnapshotStore, Snapshot
from ...ports.projections import IProjectionStoreProvider
from .dead_letters import make_dead_letter
from .documents import new_collection
from .snapshots import make_snapshot, new_stream


class BackendPartsContract:
    """Contract of the parts of ``IBackend`` for projections and event sourcing.

    Fixtures:
        backend: The backend under test, open.
    """

    async def test_unit_of_work_commits_the_changes_to_all_parts_of_the_backend(
        self, backend: IBackend
    ) -> None:
        parts = Parts(backend)
        await parts.projections.ensure_collection(parts.name, {})

        async with backend.unit_of_work() as uow:
            await parts.change(uow)

        assert await parts.find() == ALL
        assert await Parts(backend, like=parts).find() == ALL
        assert await Parts(backend.background, like=parts).find() == ALL

    async def test_rollback_leaves_no_change_in_any_part_of_the_backend(
        self, backend: IBackend
    ) -> None:
        parts = Parts(backend)
        await parts.projections.ensure_collection(parts.name, {})

        async with backend.background.unit_of_work() as uow:
            await parts.change(uow)
            await uow.rollback()

        assert await parts.find() == set()

    async def test_unit_of_work_carries_the_projection_store_of_the_backend(
        self, backend: IBackend
    ) -> None:
        parts = Parts(backend)
        await parts.projections.ensure_collection(parts.name, {})

        async with backend.unit_of_work() as uow:
            assert isinstance(uow, IProjectionStoreProvider), "it carries no projection store"
            await uow.projections.upsert(parts.name, "one", {"text": "here"}, uow=uow)
            assert await parts.projections.get(parts.name, "one", uow=uow) == {"text": "here"}

        assert await parts.projections.get(parts.name, "one") == {"text": "here"}


ALL = {"document", "snapshot", "position", "dead letter"}


class Parts:
    """Parts of a backend, and one row in each of them.

    Args:
        backend: backend of the parts.
        like: parts with the same rows.
    """

    def __init__(self, backend: IBackend, like: Parts | None = None) -> None:
        self.projections = backend.part(IProjectionStore, memory.InMemoryProjectionStore)
        self.snapshots = backend.part(ISnapshotStore, memory.InMemorySnapshotStore)
        self.positions = backend.part(IPositionStore, memory.InMemoryPositionStore)
        self.dead_letters = backend.part(IDeadLetterStore, memory.InMemoryDeadLetterStore)
        self.name: str = like.name if like else new_collection()
        self.snapshot: Snapshot = like.snapshot if like else make_snapshot(new_stream(), 1)

    async def change(self, uow: UnitOfWork) -> None:
        """Write the rows in the unit of work."""
        await self.projections.upsert(self.name, "one", {}, uow=uow)
        await self.snapshots.save(self.snapshot, uow)
        await self.positions.lock_shared(self.name, uow=uow)
        await self.dead_letters.add([make_dead_letter(self.name, 1)], uow=uow)

    async def find(self) -> set[str]:
        """Return the kinds of rows that are stored."""
        found: set[str] = set()
        if await self.projections.get(self.name, "one") is not None:
            found.add("document")
        if await self.snapshots.load([self.snapshot.stream]):
            found.add("snapshot")
        if await self.positions.list_positions([self.name]):
            found.add("position")
        if await self.dead_letters.list_dead_letters(self.name):
            found.add("dead letter")
        return found
