"""Dead letters: events that a projection could not process, and events that wait behind them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
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
    """Reference to an event that a projection has not processed; the event store keeps the event.

    Attributes:
        projection: name of the projection.
        position: global position of the event.
        stream: stream of the event.
        event_id: id of the event.
        event_type: stored name of the event.
        state: reason why the event was not processed.
        error: text of the last error, None for an event that waits.
        attempts: number of failed attempts.
        recorded_at: time at which the projection wrote the dead letter.
        is_due: whether an operator requested a retry.
        tenant_id: tenant of the event, "" without one.
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
    tenant_id: str = ""


@dataclass(frozen=True, kw_only=True)
class DeadLetterCount:
    """Numbers of the dead letters of one projection.

    Attributes:
        dead_letters: all dead letters: failed, waiting and skipped ones.
        blocked_streams: streams with a failed or waiting dead letter; their new events wait.
    """

    dead_letters: int = 0
    blocked_streams: int = 0


@runtime_checkable
class IDeadLetterStore(Protocol):
    """Store of the dead letters of all projections, by projection and position.

    The worker that runs a projection writes its dead letters in the transaction of the checkpoint.
    An operator requests a retry, and the worker carries it out. Requests of operators are committed
    at once, in any unit of work.

    Calls cover the dead letters of all tenants inside ``system_tenant``, otherwise those of the own
    tenant; ``blocked_streams`` concerns the tenant of the running request.

    Raises:
        InvalidOperationError: ``blocked_streams`` is inside ``system_tenant``, or a dead letter to
            add is of another tenant than the running request.
    """

    @abstractmethod
    async def add(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Add dead letters, in place of others at the same positions of the same projection.

        A waiting dead letter gets ``is_due`` if its stream has no failed one left. Otherwise it
        would stay behind if an operator retried the stream before the worker added it.
        """
        ...

    @abstractmethod
    async def remove(self, dead_letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Remove processed dead letters; skip missing dead letters."""
        ...

    @abstractmethod
    async def blocked_streams(
        self, projection: str, streams: Collection[StreamId], *, uow: UnitOfWork | None = None
    ) -> set[StreamId]:
        """Return the given streams that have failed or waiting dead letters.

        New events of these streams have to wait behind them.
        """
        ...

    @abstractmethod
    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Return the dead letters with ``is_due``, by position, for a retry.

        A dead letter is left out as long as an earlier one of its stream has failed or waits and is
        does not have ``is_due``.

        Args:
            projection: name of the projection.
            limit: number of dead letters at most.
            uow: unit of work to read in.
        """
        ...

    @abstractmethod
    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Return the dead letters of one projection or of all, by position.

        Args:
            projection: name of the projection, None for all.
            after: position behind which the list begins.
            limit: number of dead letters at most, except that all dead letters of the last position
                are returned together.
        """
        ...

    @abstractmethod
    async def count_dead_letters(self) -> Mapping[str, DeadLetterCount]:
        """Count the committed dead letters; return no item for a projection without them."""
        ...

    @abstractmethod
    async def retry(self, projection: str, position: int) -> None:
        """Request a retry of a dead letter, with all failed and waiting events of its stream.

        A skipped dead letter is retried alone.

        Raises:
            UnknownDeadLetterError: there is no dead letter at the position.
        """
        ...

    @abstractmethod
    async def discard(self, projection: str, position: int) -> None:
        """Delete a dead letter; if it blocked its stream, request a retry of the events behind it.

        Raises:
            UnknownDeadLetterError: there is no dead letter at the position.
        """
        ...

    @abstractmethod
    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """Move the dead letters of ``by`` to ``projection``, in place of its own."""
        ...
