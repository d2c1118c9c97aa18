"""Which messages were handled, and with what outcome."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..primitives.exceptions import (
    DuplicateCommandError,
)
from ..primitives.storable import ensure_storable
from .unit_of_work import UnitOfWork


@dataclass(frozen=True)
class InboxEntry:
    """A message that ``consumer`` has handled; ``outcome`` is its answer, as JSON values.

    Raises ``SerializationError`` for ids and names that some databases change or reject.
    """

    consumer: str
    message_id: str
    fingerprint: str
    outcome: Any = None

    def __post_init__(self) -> None:
        ensure_storable("an inbox entry", self.consumer, self.message_id, self.fingerprint)

    def ensure_same_content(self, fingerprint: str) -> None:
        """Raise ``DuplicateCommandError`` unless the content has the same fingerprint."""
        if self.fingerprint != fingerprint:
            raise DuplicateCommandError(
                f"{self.consumer} has already handled a message with id {self.message_id} and "
                "another content; give each message its own id",
                command_id=self.message_id,
            )


@runtime_checkable
class IInbox(Protocol):
    """Remembers handled messages in the transaction of their effects."""

    @abstractmethod
    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        """None for the first time; the earlier entry for a repetition.

        Raises ``DuplicateCommandError`` when the id came before with another ``fingerprint``.
        """
        ...

    @abstractmethod
    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None: ...


@runtime_checkable
class IInboxProvider(Protocol):
    """A unit of work that carries an inbox."""

    @property
    @abstractmethod
    def inbox(self) -> IInbox: ...
