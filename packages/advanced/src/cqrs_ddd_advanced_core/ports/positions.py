"""Positions of projections, and leases on the right to advance them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cqrs_ddd_core import LeaseLostError, UnitOfWork

PROJECTIONS_CHANNEL = "cqrs_ddd_projections"
"""Channel of ``IQueueSignal`` that carries a wake-up notification when a projection advances."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Right of one worker to advance a projection from a position.

    Attributes:
        projection: name of the projection.
        version: version of the projection's documents.
        position: global position of the last processed event, 0 for none.
        epoch: number that grows with every claim and every replacement, across all projections, so
            that a worker that lost its lease cannot advance, however long it was frozen.
    """

    projection: str
    version: int
    position: int
    epoch: int

    def lease_ended(self) -> LeaseLostError:
        """Build the error for a worker that no longer holds the lease."""
        return LeaseLostError.lease_ended(
            f"position {self.position} of projection", self.projection, self.epoch
        )


@dataclass(frozen=True, kw_only=True)
class ProjectionPosition:
    """Position of a projection, as operators see it.

    Attributes:
        projection: name of the projection.
        version: version of the live documents.
        position: global position of the last processed event, None for an inline projection.
        worker_id: worker that holds the lease, None for a free one.
    """

    projection: str
    version: int
    position: int | None
    worker_id: str | None = None


@runtime_checkable
class IPositionStore(Protocol):
    """Store with a row for each projection, which workers claim or transactions write inline.

    If two calls exclude each other, one waits or fails with ``ConcurrencyError``, at the latest
    when it commits. Leases begin and end at once, in any unit of work; ``list_positions`` and
    ``wait_until`` see committed positions.
    """

    @abstractmethod
    async def claim(
        self,
        projection: str,
        worker_id: str,
        *,
        version: int = 1,
        lease: float = 30.0,
        restart: bool = False,
    ) -> Checkpoint | None:
        """Lease a projection; return its checkpoint, or None while another worker holds it.

        A claim under the same worker id succeeds and ends the earlier lease of that worker, since a
        restarted process may use the id of the one it replaces. A new projection begins at position
        0.

        Args:
            projection: name of the projection.
            worker_id: name of the worker.
            version: version of the projection's documents.
            lease: seconds until another worker may claim the projection.
            restart: whether to begin at position 0, also if the documents have another version.

        Raises:
            ProjectionVersionError: the projection has another version and ``restart`` is False, or
                it is written inline.
        """
        ...

    @abstractmethod
    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        """Move a projection to ``position`` and extend the lease; return the new checkpoint.

        The present position is accepted, too, which confirms it.

        Call it in the transaction of the documents, before they change: a second worker then waits
        for a transaction that is about to commit. An expired lease stays valid until another worker
        claims the projection; a released lease does not.

        Args:
            checkpoint: the checkpoint that ``claim`` or the last ``advance`` returned.
            position: global position of the last event that this transaction processes.
            lease: seconds until another worker may claim the projection.
            uow: unit of work of the documents.

        Raises:
            LeaseLostError: unless the row still has the epoch and the position of the checkpoint.
        """
        ...

    @abstractmethod
    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        """Extend the lease of a worker that has no events to process.

        Args:
            checkpoint: the checkpoint of the lease.
            lease: seconds until another worker may claim the projection.

        Raises:
            LeaseLostError: the lease was released or another worker has claimed the projection.
        """
        ...

    @abstractmethod
    async def release(self, checkpoint: Checkpoint) -> None:
        """End the lease early; do nothing if it was lost."""
        ...

    @abstractmethod
    async def list_positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        """Return the positions of all or the given projections, by name; skip missing positions."""
        ...

    @abstractmethod
    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> int:
        """Let this transaction write a projection inline until it ends; return the live version.

        Other transactions may do so at the same time; ``lock_exclusive`` waits for all of them.
        Call it before the transaction appends events. The first commit makes the projection an
        inline one, of ``version``; a projection that exists keeps its version.

        Raises:
            ProjectionVersionError: workers run the projection.
        """
        ...

    @abstractmethod
    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        """Stop a projection until the transaction ends; return its position, None for a new one.

        Until then workers cannot advance the projection, and transactions cannot write it inline.
        """
        ...

    @abstractmethod
    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        """Give ``projection`` the version and the position of ``by``, and delete the row of ``by``.

        Call it after ``lock_exclusive``, in the same transaction. Afterwards the worker that ran
        the projection cannot advance it; an inline projection stays inline.

        Raises:
            LeaseLostError: unless the lease of ``by`` is valid.
        """
        ...

    @abstractmethod
    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        """Wait until all projections have reached ``position``; return False after a timeout.

        An inline projection has always reached it.

        Args:
            position: global position of an event.
            projections: names of the projections.
            timeout: seconds to wait at most.

        Raises:
            UnknownProjectionError: a projection has no row after ``timeout`` seconds.
        """
        ...
