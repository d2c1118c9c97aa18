"""How far each projection got, and who may take it further."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cqrs_ddd_core.ports.unit_of_work import UnitOfWork

PROJECTIONS_CHANNEL = "cqrs_ddd_projections"
"""The channel of ``IQueueSignal`` on which waiters are told that a projection got further."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The right of one worker to take a projection on from ``position``.

    ``epoch`` grows with every claim and every replacement, of all projections together: a worker
    that lost its lease, however long it was frozen, cannot advance.
    """

    projection: str
    version: int
    position: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ProjectionPosition:
    """Where a projection stands; ``position`` is None for one that is written inline."""

    projection: str
    version: int
    position: int | None
    worker_id: str | None = None
    """Who holds the lease, if anybody does."""


@runtime_checkable
class IPositionStore(Protocol):
    """A row for each projection. It is run by the workers that claim it, or written inline.

    Of two that exclude each other one waits, or fails with ``ConcurrencyError``, at the latest when
    it commits. Leases are given and ended at once, whichever unit of work is open; ``positions``
    and ``wait_until`` tell what is committed.
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
        """Lease it for ``lease`` seconds; None while another worker has it, or is changing it.

        Who claims again under the same id gets it, and what it had before is lost: it may be a
        process that took the place of another one.

        One that is new begins at position 0, and with ``restart`` any, whichever version it had.
        Otherwise raises ``ProjectionVersionError`` for one of another version, or inline.
        """
        ...

    @abstractmethod
    async def advance(
        self, checkpoint: Checkpoint, position: int, *, lease: float = 30.0, uow: UnitOfWork
    ) -> Checkpoint:
        """In the transaction of the view's change, and before the change: who waits here waits for
        one that is about to commit. Extends the lease. ``position`` may stay, and not go back.

        Raises ``LeaseLostError`` unless epoch and position are still those of the checkpoint; a
        lease that ran out, and that nobody else took, is fine, one that was released is not.
        """
        ...

    @abstractmethod
    async def renew(self, checkpoint: Checkpoint, *, lease: float = 30.0) -> None:
        """Extend the lease of an idle worker; raises ``LeaseLostError``."""
        ...

    @abstractmethod
    async def release(self, checkpoint: Checkpoint) -> None:
        """Let others claim it before the lease ends; one that was lost is fine."""
        ...

    @abstractmethod
    async def positions(
        self, projections: Collection[str] | None = None
    ) -> Sequence[ProjectionPosition]:
        """All, or those named, by name; unknown ones are left out."""
        ...

    @abstractmethod
    async def lock_shared(self, projection: str, *, version: int = 1, uow: UnitOfWork) -> None:
        """Write it inline in this transaction: any number may, but none while it is held.

        To be called before the transaction appends events. The first one to commit makes it an
        inline one.
        Raises ``ProjectionVersionError`` for one of another version, or that workers run.
        """
        ...

    @abstractmethod
    async def lock_exclusive(
        self, projection: str, *, uow: UnitOfWork
    ) -> ProjectionPosition | None:
        """Where it stands, and stays until the transaction ends: no worker advances it, and nobody
        who writes it inline is under way or begins. None for a new one."""
        ...

    @abstractmethod
    async def replace(self, projection: str, by: Checkpoint, *, uow: UnitOfWork) -> None:
        """From the commit on ``projection`` has the version and the position of ``by``, whose row
        is gone. Who ran it cannot advance any more; an inline one stays inline.

        To be called after ``hold``, in its transaction. Raises ``LeaseLostError`` unless ``by``
        still holds.
        """
        ...

    @abstractmethod
    async def wait_until(
        self, position: int, projections: Collection[str], *, timeout: float
    ) -> bool:
        """Whether all of them have got to ``position`` within ``timeout`` seconds.

        One that is written inline is always there. Raises ``UnknownProjectionError`` for one that
        has no row when the time is over.
        """
        ...
