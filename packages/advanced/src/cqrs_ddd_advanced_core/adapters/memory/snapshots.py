"""In-memory store of snapshots."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.ports import StreamId, UnitOfWork
from cqrs_ddd_core.spi.tenancy import get_row_tenant

from ...ports.snapshots import ISnapshotStore, Snapshot

Place = tuple[str, StreamId]
"""Tenant and stream."""


class InMemorySnapshotStore(ISnapshotStore):
    """Fake of a table of snapshots, with transactions."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[Place, Snapshot] = {}

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
        tenant_id = get_row_tenant("save snapshots")
        async with transactions.join_transaction(uow, "save snapshots", writes=True) as active:
            changes = self._changes(active)
            for snapshot in snapshots:
                replaced = (instead_of or {}).get(snapshot.stream)
                changes.save((tenant_id, snapshot.stream), snapshot, replaced)

    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> dict[StreamId, Snapshot]:
        """Return the snapshots that exist, with the changes of this transaction."""
        tenant_id = get_row_tenant("load snapshots")
        async with transactions.join_transaction(uow, "load snapshots") as active:
            read = self._changes(active).read
            found = ((stream, read((tenant_id, stream))) for stream in streams)
            return {stream: snapshot for stream, snapshot in found if snapshot is not None}

    async def delete(self, stream: StreamId, uow: UnitOfWork | None = None) -> None:
        """Delete the snapshot at the commit."""
        place = get_row_tenant("delete a snapshot"), stream
        async with transactions.join_transaction(uow, "delete a snapshot", writes=True) as active:
            self._changes(active).delete(place)

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self._rows))


class _Changes(transactions.ChangeSet):
    """Rows that one transaction has written and deleted."""

    def __init__(self, rows: dict[Place, Snapshot]) -> None:
        self._rows = rows
        self._written: dict[Place, Snapshot] = {}
        self._deleted: set[Place] = set()
        self._instead_of: dict[Place, int] = {}

    def read(self, place: Place) -> Snapshot | None:
        own = self._written.get(place)
        return own if own is not None or place in self._deleted else self._rows.get(place)

    def save(self, place: Place, snapshot: Snapshot, instead_of: int | None) -> None:
        if _is_later(snapshot, self.read(place), instead_of):
            self._written[place] = snapshot
            if instead_of is not None:
                self._instead_of[place] = instead_of

    def delete(self, place: Place) -> None:
        self._written.pop(place, None)
        self._deleted.add(place)

    def apply(self) -> None:
        for place in self._deleted:
            self._rows.pop(place, None)
        for place, snapshot in self._written.items():
            # Another transaction may have committed a later snapshot since `save`.
            if _is_later(snapshot, self._rows.get(place), self._instead_of.get(place)):
                self._rows[place] = snapshot


def _is_later(snapshot: Snapshot, kept: Snapshot | None, instead_of: int | None) -> bool:
    return kept is None or snapshot.version >= kept.version or kept.version == instead_of
