"""Dead letters: events that a projection could not process, and events that wait behind them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Protocol, runtime_checkable

from cqrs_ddd_core.ports import StreamId, UnitOfWork


class DeadLetterState(Enum):
    """Reason why an event is a dead letter."""

    POISON = "failed, and blocks its stream"
    WAITING = "waits behind an event of its stream that failed"
    SKIPPED = "failed, and was skipped"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """Event that a projection has not processed, by its position; the event store keeps the event.

    ``attempts`` counts the failed attempts; ``error`` is that of the last one.
    """

    projection: str
    position: int
    stream: StreamId
    event_id: str
    event_type: str
    state: DeadLetterState
    error: str | None = None
    attempts: int = 0
    recorded_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    is_due: bool = False
    """Whether a retry was requested."""


@runtime_checkable
class IDeadLetterStore(Protocol):
    """Store of the dead letters of all projections, by projection and position.

    The process that runs a projection writes its dead letters in the transaction of the checkpoint.
    An operator requests a retry, and that process carries it out. Requests of operators take effect
    at once, in any unit of work.
    """

    @abstractmethod
    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Add dead letters, in place of those at the same positions of the same projection.

        A waiting dead letter becomes due if no failed one is left in its stream: otherwise it
        would stay behind when an operator was faster.
        """
        ...

    @abstractmethod
    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Remove processed dead letters; it is no error if one is gone already."""
        ...

    @abstractmethod
    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        """Return the given streams with failed or waiting dead letters; their next events wait."""
        ...

    @abstractmethod
    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Return the dead letters to retry, by position.

        A dead letter is left out while an earlier one of its stream failed or waits, and is not
        due.
        """
        ...

    @abstractmethod
    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Return the dead letters of one projection or of all, by position.

        The list begins behind the position ``after``. Dead letters of one position come together,
        even beyond ``limit``.
        """
        ...

    @abstractmethod
    async def retry(self, projection: str, position: int) -> None:
        """Make a dead letter due, with all failed and waiting ones of its stream.

        A skipped dead letter becomes due alone. Raises ``UnknownDeadLetterError``.
        """
        ...

    @abstractmethod
    async def discard(self, projection: str, position: int) -> None:
        """Delete a dead letter; if it blocked its stream, the ones that wait behind it become due.

        Raises ``UnknownDeadLetterError``.
        """
        ...

    @abstractmethod
    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """Give the dead letters of ``by`` to ``projection``, in place of its own."""
        ...
