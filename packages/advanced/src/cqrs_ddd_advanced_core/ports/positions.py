"""Positions of projections, and leases on the right to advance them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cqrs_ddd_core import LeaseLostError, UnitOfWork

PROJECTIONS_CHANNEL = "cqrs_ddd_projections"
"""Channel of ``IQueueSignal`` with a wake-up notification when a projection has advanced."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Right of one worker to advance a projection from ``position``.

    ``epoch`` grows with every claim and every replacement, of all projections together: a worker
    that lost its lease, however long it was frozen, cannot advance.
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
    """Position of a projection; ``position`` is None for one that is written inline."""

    projection: str
    version: int
    position: int | None
    worker_id: str | None = None
    """Worker that holds the lease, if any."""


@runtime_checkable
class IPositionStore(Protocol):
    """Store with a row for each projection, which workers claim or transactions write inline.

    Of two calls that exclude each other one waits, or fails with ``ConcurrencyError`` at the commit
    at the latest. Leases begin and end at once, in any unit of work; ``list_positions`` and
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
        """Lease a projection for ``lease`` seconds; return None while another worker has it.

        A claim under the same worker id succeeds and ends the earlier lease of that worker: the
        process may have replaced another one. A new projection begins at position 0, and with
        ``restart`` any projection, of any version.

        Raises:
            ProjectionVersionError: without ``restart``, for a projection of another version, and
                for one that is written inline.
        """
        ...

    @abstractmethod
    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        """Move a projection to ``position`` or confirm its position, and extend the lease.

        Call it in the transaction of the documents, before they change: a second worker then waits
        for one that is about to commit. A lease that ran out is valid until another worker claims
        the projection; a released one is not.

        Raises:
            LeaseLostError: unless epoch and position are those of the checkpoint.
        """
        ...

    @abstractmethod
    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        """Extend the lease of an idle worker; raises ``LeaseLostError``."""
        ...

    @abstractmethod
    async def release(self, checkpoint: Checkpoint) -> None:
        """End the lease early; it is no error if it was lost."""
        ...

    @abstractmethod
    async def list_positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        """Return all positions, or those of the given projections, by name; skip unknown names."""
        ...

    @abstractmethod
    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> None:
        """Let this transaction write a projection inline, beside others, but not during a swap.

        Call it before the transaction appends events. The first commit makes the projection an
        inline one.

        Raises:
            ProjectionVersionError: for a projection of another version, or one that workers run.
        """
        ...

    @abstractmethod
    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        """Stop a projection until the transaction ends; return its position, None for a new one.

        No worker advances it meanwhile, and no transaction that writes it inline is under way or
        begins.
        """
        ...

    @abstractmethod
    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        """Give ``projection`` the version and the position of ``by``, and delete the row of ``by``.

        Call it after ``lock_exclusive``, in its transaction. The worker that ran the projection
        cannot advance it any more; an inline projection stays inline.

        Raises:
            LeaseLostError: unless the lease of ``by`` is valid.
        """
        ...

    @abstractmethod
    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        """Wait until all projections have reached ``position``.

        Return False if ``timeout`` seconds were not enough. An inline projection has always
        reached it.

        Raises:
            UnknownProjectionError: for a projection that has no row after ``timeout`` seconds.
        """
        ...
