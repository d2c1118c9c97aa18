"""States of aggregates, kept to shorten the way through their events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable

from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import NaiveDatetimeError
from cqrs_ddd_core.primitives.storable import ensure_storable


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state after ``version`` events, as the class of the hash ``schema_hash`` writes it.

    A store keeps ``state`` unchanged and never parses it. Raises ``SerializationError`` for ids
    and names that some databases change or reject.
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
        ensure_storable("a snapshot", *self.stream, self.schema_hash)


@runtime_checkable
class ISnapshotStore(Protocol):
    """The latest snapshot of each stream.

    ``uow`` is the unit of work to take part in: the one given, else the open one of the running
    command, else a short one of its own.
    """

    @abstractmethod
    async def save(self, snapshot: Snapshot, uow: UnitOfWork | None = None) -> None:
        """Keep it, unless a later version is kept: whoever writes last, versions never go back."""
        ...

    @abstractmethod
    async def save_many(
        self,
        snapshots: Collection[Snapshot],
        uow: UnitOfWork | None = None,
        *,
        instead_of: Mapping[StreamId, int] | None = None,
    ) -> None:
        """As ``save``, all of them or none, and for writers in any order without a deadlock.

        One that is kept under the version that ``instead_of`` has for its stream is replaced
        whatever comes: it was of no use, and later than its stream.
        """
        ...

    @abstractmethod
    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> dict[StreamId, Snapshot]:
        """Several in one read; a stream without a snapshot is left out."""
        ...

    @abstractmethod
    async def delete(self, stream: StreamId, uow: UnitOfWork | None = None) -> None:
        """Afterwards there is none; that there was none already is fine."""
        ...
