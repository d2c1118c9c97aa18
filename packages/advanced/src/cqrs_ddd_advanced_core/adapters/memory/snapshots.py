"""In-memory store of snapshots."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.ports import StreamId, UnitOfWork

from ...ports.snapshots import ISnapshotStore, Snapshot


class InMemorySnapshotStore(ISnapshotStore):
    """Fake of a table of snapshots, with transactions."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[StreamId, Snapshot] = {}

    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        """Store the snapshot at the commit, unless a later version is stored by then."""
        await self.save_many([snapshot], uow)

    async def save_many(
        self,
        snapshots: Collection[Snapshot],
        uow: UnitOfWork | None = None,
        *,
        instead_of: Mapping[StreamId, int] | None = None,
    ) -> None:
        """Store the snapshots at the commit, each unless a later version is stored by then."""
        async with transactions.join_transaction(uow, "save snapshots", writes=True) as active:
            changes = self._changes(active)
            for snapshot in snapshots:
                changes.save(snapshot, (instead_of or {}).get(snapshot.stream))

    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> dict[StreamId, Snapshot]:
        """Return the snapshots that exist, with the changes of this transaction."""
        async with transactions.join_transaction(uow, "load snapshots") as active:
            read = self._changes(active).read
            return {stream: found for stream in streams if (found := read(stream)) is not None}

    async def delete(self, stream: StreamId, uow: UnitOfWork | None = None) -> None:
        """Delete the snapshot at the commit."""
        async with transactions.join_transaction(uow, "delete a snapshot", writes=True) as active:
            self._changes(active).delete(stream)

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._rows))


class _Changes(transactions.ChangeSet):
    """Rows that one transaction has written and deleted."""

    def __init__(self, rows: dict[StreamId, Snapshot]) -> None:
        self._rows = rows
        self._written: dict[StreamId, Snapshot] = {}
        self._deleted: set[StreamId] = set()
        self._instead_of: dict[StreamId, int] = {}

    def read(self, stream: StreamId) -> Snapshot | None:
        own = self._written.get(stream)
        return own if own is not None or stream in self._deleted else self._rows.get(stream)

    def save(self, snapshot: Snapshot, instead_of: int | None) -> None:
        if _is_later(snapshot, self.read(snapshot.stream), instead_of):
            self._written[snapshot.stream] = snapshot
            if instead_of is not None:
                self._instead_of[snapshot.stream] = instead_of

    def delete(self, stream: StreamId) -> None:
        self._written.pop(stream, None)
        self._deleted.add(stream)

    def apply(self) -> None:
        for stream in self._deleted:
            self._rows.pop(stream, None)
        for snapshot in self._written.values():
            # Another transaction may have committed a later snapshot since `save`.
            stream = snapshot.stream
            if _is_later(snapshot, self._rows.get(stream), self._instead_of.get(stream)):
                self._rows[stream] = snapshot


def _is_later(snapshot: Snapshot, kept: Snapshot | None, instead_of: int | None) -> bool:
    return kept is None or snapshot.version >= kept.version or kept.version == instead_of
