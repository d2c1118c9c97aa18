"""Events that a projection could not take, and those that wait behind them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Protocol, runtime_checkable

from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork


class DeadLetterState(Enum):
    """Why an event is here."""

    POISON = "failed, and holds its stream"
    WAITING = "waits behind one that failed"
    SKIPPED = "failed, and was passed over"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An event that a projection has not taken, by its place; the event stays where it is stored.

    ``attempts`` counts the tries that failed with ``error``, the last one.
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
    """Whether somebody asked to try again."""


@runtime_checkable
class IDeadLetterStore(Protocol):
    """The letters of each projection, by position.

    Who runs the projection writes them with the checkpoint, in its transaction. An operator asks
    for a retry, and whoever runs the projection does it. What the operator asks for is so at once,
    whichever unit of work is open.
    """

    @abstractmethod
    async def add(self, letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """Instead of those at the same positions of the same projection.

        One that waits, and in whose stream no failed one stays, is due whatever it says: otherwise
        it would be left behind when an operator was faster.
        """
        ...

    @abstractmethod
    async def remove(self, letters: Sequence[DeadLetter], *, uow: UnitOfWork) -> None:
        """They were taken after all; that one is gone already is fine."""
        ...

    @abstractmethod
    async def blocked_streams(
        self,
        projection: str,
        streams: Collection[StreamId],
        *,
        uow: UnitOfWork | None = None,
    ) -> set[StreamId]:
        """Those of the streams with letters that failed or wait: their next events wait as well."""
        ...

    @abstractmethod
    async def retryable(
        self, projection: str, *, limit: int = 100, uow: UnitOfWork | None = None
    ) -> list[DeadLetter]:
        """Those that are to be tried again, by position; none before one that failed or waits in
        its stream and is not due."""
        ...

    @abstractmethod
    async def list_dead_letters(
        self, projection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Of one projection or of all, by position, from after the position ``after``; those at
        one position come together, also beyond ``limit``."""
        ...

    @abstractmethod
    async def retry(self, projection: str, position: int) -> None:
        """Make the letter due, and those that hold its stream or wait in it; a letter that was
        skipped alone.

        Raises ``UnknownDeadLetterError``.
        """
        ...

    @abstractmethod
    async def discard(self, projection: str, position: int) -> None:
        """Give up the event; when it held its stream, those that wait behind it become due.

        Raises ``UnknownDeadLetterError``.
        """
        ...

    @abstractmethod
    async def replace(self, projection: str, by: str, *, uow: UnitOfWork) -> None:
        """The letters of ``by`` become those of ``projection``, instead of the ones it had."""
        ...
