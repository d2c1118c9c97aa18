"""Port of snapshot stores; a snapshot saves replaying the events before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable

from cqrs_ddd_core import NaiveDatetimeError, StreamId, UnitOfWork
from cqrs_ddd_core.primitives import storable


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Stored state of an aggregate, from which only later events have to be applied.

    A store keeps ``state`` unchanged and never parses it.

    Attributes:
        stream: stream of the aggregate.
        version: version of the aggregate, which is the number of events in ``state``.
        schema_hash: hash of the shape of the class that wrote ``state``.
        state: the fields of the aggregate, as bytes.
        taken_at: time of the snapshot, with a zone.

    Raises:
        NaiveDatetimeError: the time has no zone.
        SerializationError: an id or a name is a text that some databases change or reject.
    """

    stream: StreamId
    version: int
    schema_hash: str
    state: bytes
    taken_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __post_init__(self) -> None:
        if self.taken_at.tzinfo is None:
            raise NaiveDatetimeError.without_zone(
                f"taken_at of the snapshot of {self.stream}", self.taken_at, field="taken_at"
            )
        storable.ensure_storable("a snapshot", *self.stream, self.schema_hash)
        storable.ensure_storable_time("a snapshot", "taken_at", self.taken_at)


@runtime_checkable
class ISnapshotStore(Protocol):
    """Store of the latest snapshot of each stream of the tenant of the running request.

    The unit of work is the argument ``uow``, or else the current one, or else a new one for this
    call.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """

    @abstractmethod
    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        """Store the snapshot unless a later version is stored, whichever writer commits last."""
        ...

    @abstractmethod
    async def save_many(
        self,
        snapshots: Collection[Snapshot],
        uow: UnitOfWork | None = None,
        *,
        instead_of: Mapping[StreamId, int] | None = None,
    ) -> None:
        """Save all snapshots or none; concurrent writers with other orders cannot deadlock.

        Args:
            snapshots: one snapshot for each stream.
            uow: unit of work to write in.
            instead_of: by stream, the version of a stored snapshot that cannot be used. A snapshot
                of exactly this version is replaced even by an earlier one, since it may be later
                than the end of its stream.
        """
        ...

    @abstractmethod
    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> dict[StreamId, Snapshot]:
        """Return the snapshots that exist, by stream, with one query."""
        ...

    @abstractmethod
    async def delete(self, stream: StreamId, uow: UnitOfWork | None = None) -> None:
        """Delete the snapshot if it exists."""
        ...
