"""In-memory store of the positions of projections."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from cqrs_ddd_core import ConcurrencyError, IClock, UnitOfWork
from cqrs_ddd_core.adapters.memory import transaction as transactions
from cqrs_ddd_core.spi.system_clock import SystemClock
from cqrs_ddd_core.spi.waiters import Waiters

from ...exceptions import ProjectionVersionError, UnknownProjectionError
from ...ports.positions import PROJECTIONS_CHANNEL, Checkpoint, IPositionStore, ProjectionPosition
from ...spi import checks
from .transaction_locks import TransactionLocks


@dataclass(frozen=True)
class _Row:
    epoch: int
    version: int
    position: int | None
    worker_id: str | None = None
    leased_until: float = 0.0

    def equals_new(self, other: _Row) -> bool:
        return (self.version, self.position) == (other.version, other.position)

    def is_leased_by(self, checkpoint: Checkpoint) -> bool:
        is_valid = self.epoch == checkpoint.epoch and self.worker_id is not None
        return is_valid and self.position == checkpoint.position


class InMemoryPositionStore(IPositionStore):
    """Fake of a table of positions; leases begin and end at once, outside any transaction.

    Args:
        clock: measures the time of leases; by default the system clock.
    """

    def __init__(self, clock: IClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows: dict[str, _Row] = {}
        self._epochs = count(1)
        self._locks = TransactionLocks()
        self._waiters = Waiters()

    async def claim(
        self,
        projection: str,
        worker_id: str,
        *,
        version: int = 1,
        lease: float = 30.0,
        restart: bool = False,
    ) -> Checkpoint | None:
        """Lease a projection at once; return its checkpoint, or None while it is leased."""
        checks.ensure_usable_lease(lease)
        await asyncio.sleep(0)
        position, row = 0, self._rows.get(projection)
        if row is not None:
            if row.position is None:
                raise ProjectionVersionError.written_inline(projection, version, row.version)
            if not restart:
                checks.ensure_live_version(projection, version, row.version)
            if self._holder(row) not in (None, worker_id):
                return None
            position = 0 if restart else row.position
        epoch = next(self._epochs)
        self._rows[projection] = _Row(epoch, version, position, worker_id, self._lease_end(lease))
        return Checkpoint(projection=projection, version=version, position=position, epoch=epoch)

    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        """Move the position at the commit, unless the lease is lost; return the checkpoint."""
        checks.ensure_usable_lease(lease)
        checks.ensure_forward(checkpoint, position)
        async with transactions.join_transaction(
            uow, "advance a projection", writes=True
        ) as active:
            await self._locks.acquire(checkpoint.projection, active, shared=True)
            self._changes(active).advance(checkpoint, position, self._lease_end(lease))
        return replace(checkpoint, position=position)

    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        """Extend the lease at once."""
        checks.ensure_usable_lease(lease)
        await asyncio.sleep(0)
        row = self._rows.get(checkpoint.projection)
        if row is None or row.epoch != checkpoint.epoch or row.worker_id is None:
            raise checkpoint.lease_ended()
        self._rows[checkpoint.projection] = replace(row, leased_until=self._lease_end(lease))

    async def release(self, checkpoint: Checkpoint) -> None:
        """End the lease at once; do nothing if it was lost."""
        await asyncio.sleep(0)
        row = self._rows.get(checkpoint.projection)
        if row is not None and row.epoch == checkpoint.epoch:
            self._rows[checkpoint.projection] = replace(row, worker_id=None, leased_until=0.0)

    async def list_positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        """Return the committed positions, by name."""
        await asyncio.sleep(0)
        names: Iterable[str] = self._rows if projections is None else set(projections)
        return [
            self._describe(name, self._rows[name]) for name in sorted(names) if name in self._rows
        ]

    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> int:
        """Let this transaction write a projection inline, under a shared lock."""
        async with transactions.join_transaction(
            uow, "write a projection inline", writes=True
        ) as active:
            await self._locks.acquire(projection, active, shared=True)
            return self._changes(active).write_inline(projection, version)

    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        """Stop a projection under an exclusive lock; return its position, None for a new one."""
        async with transactions.join_transaction(uow, "lock a projection", writes=True) as active:
            await self._locks.acquire(projection, active)
            row = self._changes(active).read(projection)
            return None if row is None else self._describe(projection, row)

    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        """Give ``projection`` the position of ``by`` at the commit."""
        async with transactions.join_transaction(
            uow, "replace a projection", writes=True
        ) as active:
            await self._locks.acquire(projection, active)
            self._changes(active).replace(projection, by)

    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        """Wait until all projections have reached ``position``; return False after a timeout."""
        checks.ensure_name_list(projections)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            await asyncio.sleep(0)
            found = {name: self._rows.get(name) for name in projections}
            missing = [name for name, row in found.items() if row is None]
            if not missing and all(
                row is None or row.position is None or row.position >= position
                for row in found.values()
            ):
                return True
            if loop.time() >= deadline:
                if missing:
                    raise UnknownProjectionError.never_run(missing, self._rows)
                return False
            await self._waiters.wait(PROJECTIONS_CHANNEL, deadline - loop.time())

    def _changes(self, uow: transactions.InMemoryTransaction) -> _Changes:
        return uow.change_set(self, lambda: _Changes(self))

    def _lease_end(self, lease: float) -> float:
        return self._clock.monotonic() + lease

    def _holder(self, row: _Row) -> str | None:
        return row.worker_id if row.leased_until > self._clock.monotonic() else None

    def _describe(self, projection: str, row: _Row) -> ProjectionPosition:
        return ProjectionPosition(
            projection=projection,
            version=row.version,
            position=row.position,
            worker_id=self._holder(row),
        )


class _Changes(transactions.ChangeSet):
    """Rows that one transaction has changed, and the leases that must be valid at its commit."""

    def __init__(self, store: InMemoryPositionStore) -> None:
        self._store = store
        self._own: dict[str, _Row | None] = {}
        # Only the first checkpoint of each projection has a committed row to compare with.
        self._checkpoints: dict[str, Checkpoint] = {}
        self._new: set[str] = set()

    def read(self, projection: str) -> _Row | None:
        if projection in self._own:
            return self._own[projection]
        return self._store._rows.get(projection)

    def advance(self, checkpoint: Checkpoint, position: int, leased_until: float) -> None:
        row = self._leased_row(checkpoint)
        self._own[checkpoint.projection] = replace(
            row, position=position, leased_until=leased_until
        )

    def write_inline(self, projection: str, version: int) -> int:
        row = self.read(projection)
        if row is None:
            row = self._own[projection] = _Row(next(self._store._epochs), version, None)
            self._new.add(projection)
        if row.position is not None:
            raise ProjectionVersionError.run_by_workers(projection, version, row.version)
        return row.version

    def replace(self, projection: str, by: Checkpoint) -> None:
        found, new = self.read(projection), self._leased_row(by)
        is_inline = found is not None and found.position is None
        self._own[by.projection] = None
        self._own[projection] = _Row(
            next(self._store._epochs), new.version, None if is_inline else new.position
        )
        self._new.discard(projection)

    def check(self) -> None:
        for projection, checkpoint in self._checkpoints.items():
            row = self._store._rows.get(projection)
            if row is None or not row.is_leased_by(checkpoint):
                raise checkpoint.lease_ended()
        for projection in self._new:
            row, own = self._store._rows.get(projection), self._own[projection]
            if row is not None and own is not None and not row.equals_new(own):
                raise ConcurrencyError.changed_concurrently(f"projection {projection}")

    def apply(self) -> None:
        rows = self._store._rows
        for projection, row in self._own.items():
            if row is None:
                rows.pop(projection, None)
            elif projection in self._new:
                rows.setdefault(projection, row)  # Another transaction may have added it first.
            else:
                rows[projection] = row
        self._store._waiters.notify(PROJECTIONS_CHANNEL)

    def _leased_row(self, checkpoint: Checkpoint) -> _Row:
        """Return the row of the checkpoint; the commit checks the lease once more."""
        row = self.read(checkpoint.projection)
        if row is None or not row.is_leased_by(checkpoint):
            raise checkpoint.lease_ended()
        if checkpoint.projection not in self._own:
            self._checkpoints[checkpoint.projection] = checkpoint
        return row
