"""Port of the inbox, which records the messages that were handled and their outcomes."""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from ..primitives.exceptions import DuplicateCommandError
from ..primitives.storable import ensure_storable
from .unit_of_work import UnitOfWork


@dataclass(frozen=True)
class InboxEntry:
    """Record of a message that a consumer has handled.

    Attributes:
        consumer: name of the consumer; each consumer handles a message once.
        message_id: id of the message.
        fingerprint: hash of the message's content.
        outcome: result of the handler as JSON values, or None.

    Raises:
        SerializationError: an id or a name is a text that some databases change or reject.
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
                "different content; give each message its own id",
                command_id=self.message_id,
            )


@runtime_checkable
class IInbox(Protocol):
    """Record of handled messages, written in the transaction of their effects.

    The same message id of two tenants is two messages. Inside ``system_tenant``, ``purge`` covers
    all tenants and the other methods raise an error.

    Raises:
        InvalidOperationError: a message is registered inside ``system_tenant``.
    """

    @abstractmethod
    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        """Record a message; return None the first time, and the earlier entry for a repetition.

        Args:
            consumer: name of the consumer; each consumer handles a message once.
            message_id: id of the message.
            fingerprint: hash of the message's content.
            uow: unit of work to write in, by default the current one, else a new one for this call.

        Raises:
            DuplicateCommandError: the id was recorded with another fingerprint.
        """
        ...

    @abstractmethod
    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None:
        """Store the outcome of a recorded message, as JSON values.

        Raises:
            InvalidOperationError: the message is not recorded.
            SerializationError: the outcome cannot be written as JSON.
        """
        ...

    @abstractmethod
    async def purge(self, registered_before: datetime, *, limit: int = 1000) -> int:
        """Delete at most ``limit`` messages that were registered before a time; return how many.

        A deleted message counts as new if it is delivered again, so keep messages for longer than
        any sender repeats them.
        """
        ...


@runtime_checkable
class IInboxProvider(Protocol):
    """Unit of work that carries an inbox."""

    @property
    @abstractmethod
    def inbox(self) -> IInbox:
        """Inbox that writes in this unit of work."""
        ...
